"""The page as an app of its own: what browsers ask of one, and icons that are the drawing of web/icon.svg."""

import base64
import json

import pytest
from gale_server import ROOT
from gale_ui import GaleUi

WEB = ROOT / "web"
GREEN = "#1f6f63"  # of the drawing
# Pixels a side, and how large the drawing is in it. A mask cuts off up to a fifth; iOS rounds corners by itself.
ICONS = {
    "icon-192.png": (192, 1.0, None),
    "icon-512.png": (512, 1.0, None),
    "icon-maskable-512.png": (512, 0.8, GREEN),
    "apple-touch-icon.png": (180, 1.0, GREEN),
}
COMPARE = """(async () => {
  const {drawing, kept, size, share, ground} = %s;
  const picture = async (kind, data) => {
    const image = new Image();
    image.src = `data:${kind};base64,${data}`;
    await image.decode();
    return image;
  };
  const canvas = (image, part) => {
    const made = Object.assign(document.createElement('canvas'), {width: size, height: size});
    const context = made.getContext('2d');
    if (part < 1 || ground) { context.fillStyle = ground; context.fillRect(0, 0, size, size); }
    context.drawImage(image, size * (1 - part) / 2, size * (1 - part) / 2, size * part, size * part);
    return {png: made.toDataURL('image/png'), pixels: context.getImageData(0, 0, size, size).data};
  };
  const {png, pixels} = canvas(await picture('image/svg+xml', drawing), share);
  if (!kept) return {png};
  const icon = await picture('image/png', kept);
  const others = canvas(icon, 1).pixels;
  const apart = pixels.reduce((sum, value, at) => sum + Math.abs(value - others[at]), 0) / pixels.length;
  return {png, apart, width: icon.naturalWidth, height: icon.naturalHeight};
})()"""


def compare(page, name, kept):
    """What the icon would be if it were drawn now, and how far the one that is kept is from it."""
    size, share, ground = ICONS[name]
    drawing = base64.b64encode((WEB / "icon.svg").read_bytes()).decode()
    kept = base64.b64encode(kept).decode()
    return page.run(
        COMPARE % json.dumps({"drawing": drawing, "kept": kept, "size": size, "share": share, "ground": ground})
    )


@pytest.mark.parametrize("name", ICONS)
def test_icons_are_the_drawing(page, request, name):
    """--update-pictures writes them."""
    path = WEB / "icons" / name
    if request.config.getoption("--update-pictures"):
        path.write_bytes(base64.b64decode(compare(page, name, b"")["png"].partition(",")[2]))
    found = compare(page, name, path.read_bytes())
    assert (found["width"], found["height"]) == (ICONS[name][0], ICONS[name][0])
    assert found["apart"] < 1  # of 255: edges that another browser smooths in another way


def test_the_browser_finds_nothing_that_stands_against_installing(page, ui):
    told = page.call("Page.getAppManifest")
    manifest = json.loads(told["data"])
    assert told["errors"] == [] and manifest["display"] == "standalone" and manifest["start_url"] == "/"
    assert page.call("Page.getInstallabilityErrors")["installabilityErrors"] == []
    folder = told["url"].removeprefix(ui.url).rpartition("/")[0]
    kinds = set()
    for icon in manifest["icons"]:
        response = ui.request("GET", f"{folder}/{icon['src']}")
        assert response.status == 200 and response.headers["Content-Type"] == icon["type"]
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        kinds.add((icon["sizes"], icon["purpose"]))
    assert {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")} <= kinds


def test_the_app_needs_no_password_to_be_installed_and_one_to_be_used(binary, api, browser):
    with GaleUi(binary, api.base_url, "--password", "open sesame") as locked:
        tab = browser.page(locked.url)
        assert tab.call("Page.getAppManifest")["errors"] == []
        assert tab.call("Page.getInstallabilityErrors")["installabilityErrors"] == []
        assert locked.request("GET", "/v1/models").status == 401
        browser.drain()
        tab.close()
        assert tab.troubles == []


def test_nothing_stays_between_page_and_server(page):
    """No service worker: what answers offline is an old page after an upgrade, and without the server it could only
    show what it cannot do."""
    assert page.run("navigator.serviceWorker.getRegistrations().then((all) => all.length)") == 0
