"""As a person does it: sign in, start the server, run a cell, stop, start again, find the files."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in
from tests.support.running_site import PASSWORD, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]


def open_lab(page: Page) -> None:
    """From the page of the starting server to JupyterLab, which opens by itself on the job's own host."""
    page.wait_for_url(re.compile(r"^http://[0-9a-f-]{36}-lab\.localhost:\d+/user/lena/.*/lab"), timeout=90_000)
    page.locator(".jp-Launcher, .jp-NotebookPanel").first.wait_for(timeout=90_000)


def run_cell(page: Page, code: str) -> str:
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click()
    # JupyterLab drops what is run before its kernel has said that it is there.
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=60_000)
    cell = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-Notebook .jp-OutputArea-output pre").first
    output.wait_for(timeout=60_000)
    return output.inner_text()


def test_sign_in_start_run_a_cell_and_keep_files(site: RunningSite, context: BrowserContext) -> None:
    site.token("lena")  # the user exists
    page = context.new_page()
    sign_in(page, site, "lena", PASSWORD)
    expect(page.get_by_text("acme.lena", exact=True)).to_be_visible()
    page.get_by_role("button", name="Start my server").click()
    open_lab(page)
    code = "import os, pathlib; pathlib.Path.home().joinpath('kept.txt').write_text('still here'); print(6 * 7, os.getuid())"
    assert run_cell(page, code).strip() == "42 13011"

    page.goto(f"{site.url}/services/toolkit/")
    page.get_by_role("button", name="Stop my server").click()
    expect(page.locator("#state")).to_have_text("CANCELLED")
    page.goto(f"{site.url}/services/toolkit/")
    page.get_by_role("button", name="Start my server").click()
    open_lab(page)
    expect(page.locator(".jp-DirListing-item", has_text="kept.txt")).to_be_visible()
    page.goto(f"{site.url}/services/toolkit/")
    page.get_by_role("button", name="Stop my server").click()
    expect(page.locator("#state")).to_have_text("CANCELLED")


def test_the_hubs_own_pages_lead_to_ours(site: RunningSite, context: BrowserContext) -> None:
    site.token("lena")
    page = context.new_page()
    sign_in(page, site, "lena", PASSWORD)
    for path in ("/hub/home", "/hub/spawn", "/hub/spawn/lena", "/hub/"):
        page.goto(f"{site.url}{path}")
        expect(page).to_have_url(re.compile(r"/services/toolkit/(\?start=1)?$"))


def test_a_jobs_page_shows_state_and_output_live(site: RunningSite, context: BrowserContext) -> None:
    site.token("lena")
    page = context.new_page()
    sign_in(page, site, "lena", PASSWORD)
    job = site.submit("sh", "-c", "echo first; until [ -e ~/go ]; do sleep 0.1; done", user="lena", name="shown")
    page.goto(f"{site.url}/services/toolkit/jobs/{job.id}")
    expect(page.locator("#log")).to_contain_text("first")
    expect(page.locator("#state")).to_have_text("RUNNING")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_have_text("CANCELLED")
    expect(page.locator("#info")).to_have_text("killed by acme.lena")
