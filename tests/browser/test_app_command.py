"""`toolkit app`, and a real browser that opens the address that it prints."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.hub.app_forwards import app
from tests.support.running_site import RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]


def test_code_server_is_at_the_jobs_own_address(site: RunningSite, context: BrowserContext) -> None:
    """Without any log-in before: the command is who lets the browser in."""
    job = site.submit("sleep", "600", user="mona", image="toolkit-base:bookworm")
    site.wait_state(job.id, "RUNNING", user="mona")
    lab_host = urlsplit(job.lab_url).netloc
    page = context.new_page()
    with app(site, job.id, "code-server", user="mona") as local:
        page.goto(f"{local.url}/?folder=/home/toolkit", timeout=90_000)
        expect(page).to_have_url(
            re.compile(rf"^http://{re.escape(lab_host)}/user/mona/[a-z0-9]+/code-server/\?folder=")
        )
        page.locator(".monaco-workbench").first.wait_for(timeout=90_000)
        assert {each["domain"] for each in context.cookies()} <= {lab_host.partition(":")[0]}

        # A page of somebody else's cannot use the local port: neither read it nor act by it.
        other = context.new_page()
        other.goto(f"{site.url}/hub/login")
        script = f"fetch('{local.url}/api', {{mode: 'no-cors'}}).then(a => a.type, e => 'failed')"
        assert other.evaluate(script) in ("opaque", "failed")
        answer = other.evaluate(f"fetch('{local.url}/api').then(a => a.status, e => 'refused')")
        assert answer == "refused"
        # The one-time address is used up, and the session is the browser's own.
        page.reload()
        page.locator(".monaco-workbench").first.wait_for(timeout=90_000)
        assert local.interrupt() == 130
    with site.client("mona") as client:
        client.jobs.kill(job.id)
