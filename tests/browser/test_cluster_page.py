"""The pages of the queue: who has what, who waits and why, kept true while they are open. GPUs are SIMULATED."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in
from tests.conftest import running
from tests.support.running_site import RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]

ASKS = {"gpu": 1, "cpu": 0.5, "mem": 0.25}


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site with two simulated GPUs."""
    values = "c.Toolkit.cpus = 4\nc.Toolkit.memory = 4.0\nc.Toolkit.simulated_gpus = 2"
    yield from running(tmp_path_factory.mktemp("cluster") / "state", values)


@pytest.fixture
def page(gpus: RunningSite, context: BrowserContext) -> Page:
    page = context.new_page()
    sign_in(page, gpus, "admin", gpus.admin_password)
    return page


def test_the_page_of_a_waiting_job_says_why_and_starts_it(gpus: RunningSite, page: Page) -> None:
    holder = gpus.submit("sleep", "300", resources=ASKS, maxRunTime=3600)
    gpus.wait_state(holder.id, "RUNNING")
    waits = gpus.submit("true", resources={**ASKS, "gpu": 2})
    page.goto(f"{gpus.url}/services/toolkit/jobs/{waits.id}")
    wait = page.locator("#wait")
    expect(wait).to_contain_text("It asks for 2 GPUs of the kind, and 1 of 2 are free.")
    expect(wait).to_contain_text("at the latest")
    wait.get_by_role("button", name="Change the job: with 1 GPU").click()
    expect(page.locator("#state")).to_have_text("SUCCEEDED", timeout=30_000)
    expect(wait).to_be_hidden(timeout=30_000)
    gpus.client().jobs.kill(holder.id)
    gpus.wait_state(holder.id, "CANCELLED")


def test_the_cluster(gpus: RunningSite, page: Page) -> None:
    holder = gpus.submit("sleep", "300", name="holder", resources={**ASKS, "gpu": 2})
    gpus.wait_state(holder.id, "RUNNING")
    waits = gpus.submit("true", name="waits", resources={**ASKS, "gpu": 2}, bid=3)
    page.goto(f"{gpus.url}/services/toolkit/cluster")
    tiles = page.locator(".tile")
    expect(tiles).to_have_count(2)
    expect(tiles.first).to_contain_text("SIMULATED GPU")
    expect(tiles.first).to_contain_text("holder")
    row = page.locator("tbody tr")
    expect(row).to_contain_text("waiting for 2 GPUs: 2 of 2 in use")
    expect(row).to_contain_text("normal")
    gpus.client().jobs.kill(holder.id)
    expect(page.locator(".tile.free")).to_have_count(2, timeout=30_000)
    expect(page.locator(".empty")).to_have_text("Nobody waits.")
    gpus.wait_state(waits.id, "SUCCEEDED")
