import json
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from answers import ANSWERS  # noqa: E402
from chromium import Browser  # noqa: E402
from gale_server import NANO_FLASH, GaleServer  # noqa: E402
from gale_ui import GaleUi  # noqa: E402


def script_of(tokenizer, answers, **more):
    """A script for the engine: a message that is exactly a key of `answers` gets its answer, any other a short one."""

    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    requests = [
        {"prompt_contains": ids(key), "tokens": ids(text), **({"delay_ms": delay} if delay else {})}
        for key, (text, delay) in answers.items()
    ]
    return {
        "model_name": "scripted",
        "vocab_size": tokenizer.get_vocab_size(),
        "max_model_len": 32768,
        "step_ms": 1,
        "default": {"tokens": ids("Let me see.</think>A short answer.")},
        "requests": requests,
        **more,
    }


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    """The file of a script with every answer of answers.py."""
    path = tmp_path_factory.mktemp("script") / "script.json"
    path.write_text(json.dumps(script_of(Tokenizer.from_file(str(NANO_FLASH / "tokenizer.json")), ANSWERS)))
    return path


@pytest.fixture(scope="session")
def api(binary, script):
    with GaleServer(
        binary, "--scripted", script, "--engine-beat-timeout", 60
    ) as server:  # a busy machine is no dead engine
        yield server


@pytest.fixture(scope="session")
def ui(binary, api):
    with GaleUi(binary, api.base_url) as page:
        yield page


@pytest.fixture(scope="session")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture
def page(browser, ui):
    """A fresh page with nothing kept; at the end nothing may have gone wrong on it unseen."""
    tab = browser.page()
    # Before the page is there: it would take up streams that a test before this one left.
    tab.call("Storage.clearDataForOrigin", {"origin": ui.url, "storageTypes": "indexeddb,local_storage"})
    tab.open(ui.url + "/")
    yield tab
    browser.drain()
    tab.close()  # first, or what it keeps would stand in the way of the next one
    assert tab.troubles == [] and tab.dialogs == []
