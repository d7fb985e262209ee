"""A real Chromium. A failing test leaves a screenshot under build/screenshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.running_site import REPOSITORY, RunningSite

SCREENSHOTS = REPOSITORY / "build" / "screenshots"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module: while Playwright is there, an event loop runs in this thread, which other tests must not find."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    assert Path(program).exists(), "Chromium is missing: `make test` installs it on Debian and Ubuntu"
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": 1280, "height": 800})
    opened.set_default_timeout(60_000)
    yield opened
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(opened.pages):
        page.screenshot(path=SCREENSHOTS / f"{request.node.name}-{number}.png")
    opened.close()


def sign_in(page: Page, site: RunningSite, user: str, password: str) -> None:
    page.goto(site.url)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.url}/services/toolkit/")
