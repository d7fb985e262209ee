"""The apps of a job in a bare Debian, as a person uses them: from JupyterLab's launcher, through the gate."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import SCREENSHOTS, sign_in
from tests.support.running_site import PASSWORD, RunningSite
from toolkit_client.models import Job

pytestmark = [pytest.mark.browser, pytest.mark.engine]

IMAGE = "toolkit-base:bookworm"


@pytest.fixture(scope="module")
def job(site: RunningSite) -> Iterator[Job]:
    """It has no Python, no Jupyter, no ssh."""
    site.token("lena")
    job = site.submit("sleep", "600", user="lena", image=IMAGE)
    yield site.wait_state(job.id, "RUNNING", user="lena")
    with site.client("lena") as client:
        client.jobs.kill(job.id)


@pytest.fixture
def page(site: RunningSite, context: BrowserContext) -> Page:
    page = context.new_page()
    sign_in(page, site, "lena", PASSWORD)
    return page


def address(job: Job, app: str) -> str:
    return f"{str(job.lab_url).split('/user/')[0].rstrip('/')}/user/lena/{job.runs[0].server_name}/{app}"


def test_jupyterlab_and_its_tiles(job: Job, page: Page) -> None:
    page.goto(address(job, "lab"))
    page.locator(".jp-Launcher").first.wait_for(timeout=90_000)
    page.locator(".jp-LauncherCard[title='Python 3 (toolkit)']").first.wait_for()
    for title in ("Terminal (ttyd)", "VS Code"):
        expect(page.locator(".jp-LauncherCard", has_text=title)).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "lab-in-a-bare-debian.png")
    with page.expect_popup() as opened:
        page.locator(".jp-LauncherCard", has_text="Terminal (ttyd)").click()
    expect(opened.value).to_have_url(re.compile(r"/ttyd/?$"))


def test_a_notebook_where_the_image_has_no_python(job: Job, page: Page) -> None:
    page.goto(address(job, "lab"))
    page.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=90_000)
    expect(page.get_by_text("Python 3 (toolkit) | Idle")).to_be_visible(timeout=60_000)
    page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    page.keyboard.insert_text("import os; print(6 * 7, os.getuid())")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-Notebook .jp-OutputArea-output pre").first).to_have_text(re.compile("42 13011"))


def test_ttyd(job: Job, page: Page) -> None:
    page.goto(address(job, "ttyd/"))
    page.locator(".xterm-screen").wait_for(timeout=60_000)
    page.locator(".xterm-helper-textarea").focus()
    expect(page.locator("body")).to_be_visible()
    page.wait_for_function("window.term && window.term.buffer.active.getLine(0).translateToString().includes('$')")
    page.keyboard.type("echo $((6*7))-$(id -u); cat /etc/debian_version\n")
    lines = "[...Array(window.term.rows).keys()].map(n => window.term.buffer.active.getLine(n).translateToString())"
    page.wait_for_function(f"{lines}.some(line => line.startsWith('42-13011'))")
    page.screenshot(path=SCREENSHOTS / "ttyd-in-a-bare-debian.png")


def test_code_server_opens_a_file_and_has_a_terminal(job: Job, page: Page) -> None:
    page.goto(address(job, "ttyd/"))
    page.wait_for_function("window.term && window.term.buffer.active.getLine(0).translateToString().includes('$')")
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type("clear; echo 'written in a terminal' > note.txt\n")
    page.goto(address(job, "code-server/"))
    note = page.get_by_role("treeitem", name="note.txt")
    note.first.click(timeout=90_000)
    expect(page.locator(".view-lines").first).to_contain_text("written", timeout=60_000)
    page.keyboard.press("Control+Backquote")
    prompt = page.locator(".terminal .xterm-helper-textarea").first
    prompt.wait_for(state="attached", timeout=60_000)
    page.wait_for_timeout(2000)
    prompt.focus()
    page.keyboard.type("echo $((6*7)) > answer-$(id -u).txt\n")
    expect(page.get_by_role("treeitem", name="answer-13011.txt").first).to_be_visible(timeout=30_000)
    page.screenshot(path=SCREENSHOTS / "code-server-in-a-bare-debian.png")
