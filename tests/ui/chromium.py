"""A headless Chromium that tests speak to over its DevTools pipe; no driver and no library in between."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--mute-audio",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--force-color-profile=srgb",
    "--lang=en-US",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",  # a name that is not ours and leads here
]
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
    "ArrowLeft": (37, ""),
    "ArrowRight": (39, ""),
}
MODIFIERS = {"Alt": 1, "Control": 2, "Meta": 4, "Shift": 8}


class ChromiumError(Exception):
    pass


class Browser:
    """A running Chromium with an empty profile; use as a context manager."""

    def __init__(self):
        self.binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        assert self.binary, "chromium is not installed: ./check installs it"
        self.profile = tempfile.mkdtemp(prefix="gale-chromium-")
        self.pages = {}
        self.trace_events, self.is_traced = [], False
        self.next_id = 0
        self.answers = {}

    def __enter__(self):
        to_browser, self.write_fd = os.pipe()
        self.read_fd, from_browser = os.pipe()

        def place():  # the pipe has fixed places; move both away first, so that neither is overwritten
            high = [os.dup(to_browser), os.dup(from_browser)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [self.binary, *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.pending = b""
        self.call("Browser.getVersion")
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close", timeout=5)
        except (ChromiumError, OSError):
            pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.write_fd)
        os.close(self.read_fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def call(self, method, params=None, session=None, timeout=120):
        self.next_id += 1
        wanted = self.next_id
        message = {"id": wanted, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.write_fd, data) :]
        deadline = time.monotonic() + timeout
        while wanted not in self.answers:
            self.pump(deadline - time.monotonic(), method)
        answer = self.answers.pop(wanted)
        if "error" in answer:
            raise ChromiumError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def pump(self, seconds, why):
        """Reads what Chromium has to say; raises after `seconds`."""
        if seconds <= 0 or not select.select([self.read_fd], [], [], seconds)[0]:
            raise ChromiumError(f"no answer to {why}")
        data = os.read(self.read_fd, 1 << 20)
        if not data:
            raise ChromiumError("chromium has left")
        *messages, self.pending = (self.pending + data).split(b"\0")
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self.answers[message["id"]] = message
            elif message["method"] == "Tracing.dataCollected":
                self.trace_events += message["params"]["value"]
            elif message["method"] == "Tracing.tracingComplete":
                self.is_traced = True
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].note(message["method"], message["params"])

    def drain(self):
        while select.select([self.read_fd], [], [], 0)[0]:
            self.pump(1, "events")

    def page(self, url="about:blank", **size):
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session, target)
        self.pages[session] = page
        page.start()
        page.resize(**size)
        if url != "about:blank":
            page.open(url)
        return page


class Page:
    """One tab. Notes every request, every error on its console and every violation of its content security policy."""

    def __init__(self, browser, session, target):
        self.browser, self.session, self.target = browser, session, target
        self.requests, self.troubles, self.dialogs = [], [], []

    def start(self):
        for domain in ("Page", "Runtime", "Network", "Log", "Audits"):
            self.call(f"{domain}.enable")

    @contextlib.contextmanager
    def trace(self):
        """Notes what the browser does meanwhile, as DevTools' performance panel does; yields the list of events."""
        self.browser.trace_events, self.browser.is_traced = [], False
        categories = ["devtools.timeline", "disabled-by-default-devtools.timeline", "v8.execute"]
        config = {"includedCategories": categories, "recordMode": "recordAsMuchAsPossible"}
        self.call("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
        events = []
        yield events
        self.call("Tracing.end")
        while not self.browser.is_traced:
            self.browser.pump(120, "Tracing.end")
        events += self.browser.trace_events

    def call(self, method, params=None, timeout=120):
        return self.browser.call(method, params, self.session, timeout)

    def note(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.troubles.append("exception: " + details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.troubles.append(f"log: {params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Audits.issueAdded" and params["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.troubles.append(f"csp: {json.dumps(params['issue']['details'])}")
        elif method == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])

    def open(self, url):
        self.run("delete document.documentElement.dataset.ready")  # of the page that is left
        error = self.call("Page.navigate", {"url": url}).get("errorText")
        if error:
            raise ChromiumError(f"{url}: {error}")
        self.wait(
            "document.documentElement.dataset.ready === 'yes' || document.getElementById('login')?.hidden === false"
        )

    def reload(self):
        self.run("delete document.documentElement.dataset.ready")
        self.call("Page.reload")
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def resize(self, width=1280, height=800, is_phone=False, scale=1):
        self.call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone},
        )
        self.call("Emulation.setTouchEmulationEnabled", {"enabled": is_phone})

    def prefer(self, **features):
        """prefer(prefers_color_scheme="dark")"""
        self.call(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]},
        )

    def run(self, script, timeout=120):
        """The value of a JavaScript expression, awaited."""
        answer = self.call(
            "Runtime.evaluate",
            {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True},
            timeout,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise ChromiumError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, script, timeout=120):
        """Until the expression is true."""
        deadline = time.monotonic() + timeout
        value = None
        while time.monotonic() < deadline:
            try:
                value = self.run(f"Promise.resolve({script}).then(Boolean)")
            except ChromiumError as error:
                if "navigat" not in str(error) and "destroyed" not in str(error) and "null" not in str(error):
                    raise
            if value:
                return
            time.sleep(0.03)
        place = self.run("JSON.stringify([location.href, document.readyState, {...document.documentElement.dataset}])")
        raise ChromiumError(
            f"still not true after {timeout} s: {script}; the page is {place}, its troubles {self.troubles}, its last "
            f"requests {[url[:100] for url in self.requests[-8:]]}"
        )

    def click(self, selector):
        """A real click in the middle of the first element that matches, once it has come to rest there."""
        at = f"JSON.stringify(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        self.wait(
            f"document.querySelector({json.dumps(selector)}) && new Promise((done) => {{ const before = {at};"
            f" setTimeout(() => done({at} === before), 40); }})"
        )
        x, y = self.run(
            f"""(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'nearest'}});
                            const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def type(self, text):
        self.call("Input.insertText", {"text": text})

    def press(self, keys):
        """press("Control+Shift+O")"""
        *held, key = keys.split("+")
        code, text = KEYS.get(key, (ord(key.upper()[0]), key if not held or held == ["Shift"] else ""))
        event = {
            "modifiers": sum(MODIFIERS[one] for one in held),
            "key": key,
            "code": key if key in KEYS else f"Key{key.upper()}",
            "windowsVirtualKeyCode": code,
        }
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **event})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def screenshot(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", {"format": "png"})["data"])
        Path(path).write_bytes(data)
        return data

    def close(self):
        self.browser.call("Target.closeTarget", {"targetId": self.target})
        self.browser.pages.pop(self.session, None)
