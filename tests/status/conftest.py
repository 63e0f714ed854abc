"""Chromium, and pages for it to look at. It is Debian's (package ``chromium``), and talks to loopback only."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from status.surf import Site, Visitor
from tasklock_operator import page as page_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

PROGRAM = "chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium once; within this module only, since its event loop would be in other tests' way."""
    program = shutil.which(PROGRAM)
    if program is None:
        why = f"the page cannot be looked at: install Debian's package {PROGRAM}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def running() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Show what stands still unless the visitor does something."""
    monkeypatch.setitem(page_module._ENVIRONMENT.globals, "refresh", 60)
    running.released.clear()
    running.fakes.__init__()  # type: ignore[misc] # everything as at first
    return running


@pytest.fixture
def live(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Show what changes by itself."""
    monkeypatch.setitem(page_module._ENVIRONMENT.globals, "refresh", 0.2)
    return site


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    made = Visitor(browser)
    yield made
    made.close()
