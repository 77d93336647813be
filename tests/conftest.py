import sys
from pathlib import Path

import openai
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))

from gale_server import ROOT, GaleServer  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run the long tests, too")
    parser.addoption("--update-pictures", action="store_true", help="write the pictures that documents show")
    parser.addoption("--allocations", help="FIRST:LAST: the tests that let each allocation fail begin and end there")
    parser.addoption("--gale-binary", default=str(ROOT / "build" / "bin" / "gale"), help="the program under test")


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes long; runs with --full")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--full"):
        return
    long_ones = [item for item in items if item.get_closest_marker("full")]
    if long_ones:
        config.hook.pytest_deselected(items=long_ones)
        items[:] = [item for item in items if item not in long_ones]


@pytest.fixture(scope="session")
def promised(request):
    """The most seconds that something may take: as promised with --full, where the machine is ours, else tenfold."""
    return lambda seconds: seconds if request.config.getoption("--full") else 10 * seconds


@pytest.fixture(scope="session")
def binary(request):
    path = Path(request.config.getoption("--gale-binary"))
    assert path.exists(), f"{path} is not built"
    return path


@pytest.fixture(scope="session")
def server(binary):
    with GaleServer(binary) as running:
        yield running
        assert running.process.poll() is None, f"the server died:\n{running.log_text()}"


@pytest.fixture(scope="session")
def client(server):
    return openai.OpenAI(base_url=server.base_url + "/v1", api_key="unused", max_retries=0, timeout=120)
