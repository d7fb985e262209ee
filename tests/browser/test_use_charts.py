"""The charts on a job's page: drawn from real readings, with their values for those who do not see them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in
from tests.support.running_site import PASSWORD, RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]

HOLD = "held = bytearray(150 * 2**20); held[::4096] = b'1' * len(held[::4096])\nwhile True: pass"


@pytest.fixture
def page(site: RunningSite, context: BrowserContext) -> Page:
    site.token("uma")
    opened = context.new_page()
    sign_in(opened, site, "uma", PASSWORD)
    return opened


def test_the_charts_of_a_job(site: RunningSite, page: Page) -> None:
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    job = site.submit("/opt/lab/bin/python3", "-c", HOLD, user="uma", resources={"cpu": 1, "mem": 0.5})
    site.wait_state(job.id, "RUNNING", user="uma")
    page.goto(f"{site.url}/services/toolkit/jobs/{job.id}")
    memory = page.get_by_role("img", name=re.compile(r"^Memory: 1[5-9]\d MiB of 512 MiB$"))
    expect(memory).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"^CPU: [\d.]+ of 1 core$"))).to_be_visible()
    assert len(page.locator("#charts figure").all()) == 4, "there is no GPU"
    lines = page.locator("#charts path.line").first
    expect(lines).to_have_attribute("d", re.compile(r"L[\d.]+ [\d.]+"))
    assert page.locator("#charts line.limit").count() >= 1
    page.get_by_text("The values as a table").click()
    table = page.get_by_role("region", name="Values").get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(
        ["time (UTC)", "CPU", "Memory", "Disks read", "Disks write", "Network in", "Network out"]
    )
    expect(table.locator("tbody tr").first).to_contain_text(re.compile(r"1[5-9]\d MiB"))
    page.get_by_label("Window").select_option("1 day")
    expect(page.locator("#use-note")).to_contain_text("mean of 5 min")
    with site.client("uma") as uma:
        uma.jobs.kill(job.id)
    site.wait_state(job.id, "CANCELLED", user="uma")
    page.reload()
    expect(page.get_by_role("img", name=re.compile("^Memory: "))).to_be_visible()
    assert problems == []


def test_a_job_that_has_not_run_says_that_nothing_was_measured(site: RunningSite, page: Page) -> None:
    held = [site.submit("sleep", "300", user="uma", resources={"cpu": 8, "mem": 0.1}) for _ in range(3)]
    waiting = site.wait_state(held[-1].id, "QUEUING", user="uma")
    page.goto(f"{site.url}/services/toolkit/jobs/{waiting.id}")
    expect(page.locator("#use-note")).to_have_text("Nothing was measured in this time.")
    expect(page.locator("#values")).to_be_hidden()
    with site.client("uma") as uma:
        for job in held:
            uma.jobs.kill(job.id)
