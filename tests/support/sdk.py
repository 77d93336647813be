"""Client libraries that some tests need. ./check installs all of them and insists; elsewhere their tests are
skipped."""

import importlib
import os

import pytest


def sdk(name):
    if os.environ.get("TESTS_INSIST_ON_SDKS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)
