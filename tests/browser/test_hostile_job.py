"""A job's page is its owner's to write. Whoever opens it must lose nothing by it."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import sign_in
from tests.support.running_site import RunningSite

pytestmark = [pytest.mark.browser, pytest.mark.engine]

#: What a page would try on its visitor at the hub. Everything that comes back is written into the page.
ATTACK = """<!doctype html><title>hostile</title><pre id=out>working</pre><script>
const hub = %(hub)s, found = {};
const attempt = async (name, path, options) => {
  try {
    const reply = await fetch(hub + path, {credentials: "include", ...options});
    found[name] = reply.type + " " + reply.status + " " + (await reply.text()).slice(0, 80);
  } catch (error) { found[name] = "refused"; }
};
(async () => {
  await attempt("read home", "/hub/home");
  await attempt("read user", "/hub/api/user");
  await attempt("read jobs", "/services/toolkit/api/v1/jobs");
  await attempt("make token", "/hub/api/users/admin/tokens",
                {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: "{}"});
  await attempt("start server", "/services/toolkit/server", {method: "POST", mode: "no-cors"});
  await attempt("submit job", "/services/toolkit/api/v1/jobs",
                {method: "POST", mode: "no-cors", body: '{"command": ["true"]}'});
  found.cookies = document.cookie;
  document.getElementById("out").textContent = JSON.stringify(found);
})();
</script>"""

SERVE = """
import http.server, sys
page = sys.argv[1].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("X-Seen-Headers", ",".join(self.headers.keys()))
        self.end_headers()
        self.wfile.write(page)
print("serving", flush=True)
http.server.HTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


def test_a_page_of_a_job_cannot_act_as_its_visitor_at_the_hub(site: RunningSite, context: BrowserContext) -> None:
    page_text = ATTACK % {"hub": json.dumps(site.url)}
    job = site.submit("/opt/lab/bin/python3", "-c", SERVE, page_text, user="mallory")
    job = site.wait_state(job.id, "RUNNING", user="mallory")
    with site.client("mallory") as client:
        next(iter(client.jobs.logs(job.id, follow=True)))
    admin = {"Authorization": f"token {site.admin_token}"}
    tokens = f"{site.url}/hub/api/users/admin/tokens"
    page = context.new_page()
    sign_in(page, site, "admin", site.admin_password)
    before = {token["id"] for token in httpx.get(tokens, headers=admin).json()["api_tokens"]}
    with site.client() as client:
        jobs_before = len(client.jobs.list(limit=1000))

    page.goto(job.access_url)
    out = page.locator("#out")
    expect(out).not_to_have_text("working")
    found = json.loads(out.inner_text())

    assert {name: found[name] for name in ("read home", "read user", "read jobs")} == dict.fromkeys(
        ("read home", "read user", "read jobs"), "refused"
    )
    assert found["cookies"] == "", "the gate's cookie is not for scripts"
    after = {token["id"] for token in httpx.get(tokens, headers=admin).json()["api_tokens"]}
    # Log-ins of pages make short OAuth tokens of their own; what counts are tokens that a caller asked for.
    notes = [t for t in httpx.get(tokens, headers=admin).json()["api_tokens"] if t["id"] in after - before]
    assert not [token for token in notes if not token["oauth_client"].startswith("JupyterHub")] or not notes
    with site.client() as client:
        assert len(client.jobs.list(limit=1000)) == jobs_before

    # On the hub's own origin the same job is never shown to a browser: it is led to the job's host.
    run = job.runs[0]
    reply = httpx.get(
        f"{site.url}/user/mallory/{run.server_name}/proxy/8080/",
        headers={"Accept": "text/html"},
        follow_redirects=False,
    )
    assert reply.status_code == 302
    assert urlsplit(reply.headers["Location"]).netloc == urlsplit(job.lab_url).netloc
    with site.client("mallory") as client:
        client.jobs.kill(job.id)


def test_the_jobs_own_server_gets_no_credential(site: RunningSite) -> None:
    job = site.submit("/opt/lab/bin/python3", "-c", SERVE, "hello", user="mallory")
    job = site.wait_state(job.id, "RUNNING", user="mallory")
    with site.client("mallory") as client:
        next(iter(client.jobs.logs(job.id, follow=True)))
        host = urlsplit(job.access_url).netloc
        reply = httpx.get(
            f"http://127.0.0.1:{site.port + 1}/",
            headers={"Host": host, "Authorization": f"token {site.admin_token}", "X-Forwarded-For": "1.2.3.4"},
        )
        assert reply.text == "hello"
        seen = reply.headers["X-Seen-Headers"].lower().split(",")
        assert "x-toolkit-user" in seen
        assert not {"authorization", "cookie", "x-toolkit-run-secret", "x-forwarded-for"} & set(seen)
        stranger = httpx.get(
            f"http://127.0.0.1:{site.port + 1}/",
            headers={"Host": host, "Authorization": f"token {site.token('bob')}"},
        )
        assert stranger.status_code == 404
        client.jobs.kill(job.id)
