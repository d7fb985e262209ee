"""The page of the cluster: who has what, who waits, kept true while it is open. GPUs are SIMULATED."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import sign_in
from tests.conftest import running

pytestmark = [pytest.mark.browser, pytest.mark.engine]


def test_the_page_of_a_waiting_job_says_why_and_starts_it(
    tmp_path_factory: pytest.TempPathFactory, context: BrowserContext
) -> None:
    values = "c.Toolkit.cpus = 4\nc.Toolkit.memory = 4.0\nc.Toolkit.simulated_gpus = 2"
    for site in running(tmp_path_factory.mktemp("waiting") / "state", values):
        asks = {"gpu": 1, "cpu": 0.5, "mem": 0.25}
        holder = site.submit("sleep", "300", resources=asks, maxRunTime=3600)
        site.wait_state(holder.id, "RUNNING")
        waits = site.submit("true", resources={**asks, "gpu": 2})
        page = context.new_page()
        sign_in(page, site, "admin", site.admin_password)
        page.goto(f"{site.url}/services/toolkit/jobs/{waits.id}")
        wait = page.locator("#wait")
        expect(wait).to_contain_text("It asks for 2 GPUs of the kind, and 1 of 2 are free.")
        expect(wait).to_contain_text("at the latest")
        wait.get_by_role("button", name="Change the job: with 1 GPU").click()
        expect(page.locator("#state")).to_have_text("SUCCEEDED", timeout=30_000)
        expect(wait).to_be_hidden(timeout=30_000)


def test_the_cluster(tmp_path_factory: pytest.TempPathFactory, context: BrowserContext) -> None:
    values = "c.Toolkit.cpus = 4\nc.Toolkit.memory = 4.0\nc.Toolkit.simulated_gpus = 2"
    for site in running(tmp_path_factory.mktemp("cluster") / "state", values):
        asks = {"gpu": 2, "cpu": 0.5, "mem": 0.25}
        holder = site.submit("sleep", "300", name="holder", resources=asks)
        site.wait_state(holder.id, "RUNNING")
        waits = site.submit("true", name="waits", resources=asks, bid=3)
        page = context.new_page()
        sign_in(page, site, "admin", site.admin_password)
        page.goto(f"{site.url}/services/toolkit/cluster")
        tiles = page.locator(".tile")
        expect(tiles).to_have_count(2)
        expect(tiles.first).to_contain_text("SIMULATED GPU")
        expect(tiles.first).to_contain_text("holder")
        row = page.locator("tbody tr")
        expect(row).to_contain_text("waiting for 2 GPUs: 2 of 2 in use")
        expect(row).to_contain_text("normal")
        site.client().jobs.kill(holder.id)
        expect(page.locator(".tile.free")).to_have_count(2, timeout=30_000)
        expect(page.locator(".empty")).to_have_text("Nobody waits.")
        site.wait_state(waits.id, "SUCCEEDED")
