"""What every test needs: the harness on the path, one hypothesis profile, a browser."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("adam", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("adam")


@pytest.fixture(scope="module")
def browser():
    """Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        message = "Chromium is missing: install it (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=flags)
        yield chromium
        chromium.close()
