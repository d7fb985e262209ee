"""The output on a job's page: as it comes, with what is missing said, across a restart of the service and into the next run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import sign_in
from tests.conftest import running
from tests.support.running_site import RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]

#: Of 1 MiB that are kept, 512 KiB are for the head and 256 KiB for each segment of the tail.
SEGMENT = 256 * 1024
#: What is missing when so much more than the head was written: all but the newest segments, the last of which is begun.
WRITTEN = 2 * SEGMENT + 5 * SEGMENT + 30_000
MISSING = 4 * SEGMENT
SCRIPT = f"""
[ $TOOLKIT_RUN_INDEX = 0 ] || {{ echo second; exit; }}
yes 'line of output' | head -c {WRITTEN}
echo; echo first part
until [ -e ~/more ]; do sleep 0.1; done
printf 'no line end'
until [ -e ~/end ]; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    yield from running(tmp_path_factory.mktemp("page") / "state", "c.Toolkit.log_quota = 1")


def test_the_output_of_a_job(small: RunningSite, context: BrowserContext) -> None:
    job = small.submit("bash", "-c", SCRIPT, restartable=True)
    run = small.wait_state(job.id, "RUNNING").runs[0]
    home = small.settings.runs_dir / run.id / "home"
    page = context.new_page()
    sign_in(page, small, "admin", small.admin_password)
    page.goto(f"{small.url}/services/toolkit/jobs/{job.id}")
    log = page.locator("#log")
    expect(log).to_contain_text("first part")
    text = log.evaluate("element => element.textContent")
    assert text.count("line of output") * 15 > SEGMENT
    if "are not kept here" in text:  # the page came later than the gap
        assert f"[… {MISSING} bytes of output are not kept here …]" in text
    small.unit("restart", "service")
    (home / "more").touch()
    expect(log).to_contain_text("first part\nno line end")
    assert log.evaluate("element => element.textContent").count("first part") == 1
    [container] = [found for found in small.containers() if found.running]
    small.engine_call(lambda engine: engine.remove(container.id))
    expect(log).to_contain_text("no line end\n[… run 1 …]\nsecond\n")
    expect(page.locator("#state")).to_have_text("SUCCEEDED")
