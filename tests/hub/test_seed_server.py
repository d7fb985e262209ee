"""“How to run a python server in toolkit”, as people are told to do it: a real server in a job, called with a role's key."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Api(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"sum": sum(asked["numbers"]), "headers": dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Api).serve_forever()
"""


def call(url: str, numbers: list[int], key: str = "") -> httpx.Response:
    """From anywhere: by the address that `job info` shows, and nothing but the key."""
    address = urlsplit(url)
    headers = {"Host": address.netloc, **({"Authorization": f"Bearer {key}"} if key else {})}
    with httpx.Client(trust_env=False, timeout=40) as http:
        return http.post(f"http://127.0.0.1:{address.port}/v1/sum", json={"numbers": numbers}, headers=headers)


def answered(url: str, key: str) -> httpx.Response:
    return wait_until(lambda: (found := call(url, [1, 2, 3], key)).status_code == 200 and found, "the server's answer")


@pytest.fixture
def words(site: RunningSite):  # type: ignore[no-untyped-def]
    def run(*line: str, code: int = 0) -> str:
        done = site.cli(*line, user="rita")
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    return run


def test_how_to_run_a_python_server(site: RunningSite, words) -> None:  # type: ignore[no-untyped-def]
    job = words("job", "submit", "--restartable", "--bid", "10", "--field", "id", "--", "python3", "-c", SERVER, "8080")
    role = "acme.rita.job_access"
    words("role", "new", role)
    words("role", "policy", "new", role, f"job:get@{words('job', 'get', '--field', 'urn', job)}")
    key = words("role", "key", "new", role)
    assert re.fullmatch(r"tkr_[A-Za-z0-9_-]{20,}", key)
    site.wait_state(job, "RUNNING", user="rita")
    url = yaml.safe_load(words("job", "info", job))["accessUrl"]
    answer = answered(url, key).json()
    assert answer["sum"] == 6
    assert key not in json.dumps(answer)
    assert answer["headers"]["X-Toolkit-User"] == role

    # The key is good for nothing else, and for nothing at all when it is gone.
    assert call(url, [1]).status_code == 401
    other = words("job", "submit", "--field", "id", "--", "sleep", "60")
    assert call(url.replace(job, other), [1], key).status_code == 404
    assert call(url.replace(job, f"{job}-lab"), [1], key).status_code == 403
    key_id = words("role", "key", "ls", role, "--field", "id")
    words("role", "key", "rm", role, key_id)
    assert call(url, [1], key).status_code == 401

    def told() -> bool:
        """The gate writes of refusals a moment later."""
        lines = words("audit", "ls", "--since", "1h", "--format", "json").splitlines()
        return any("revoked" in line for line in lines if role in line)

    wait_until(told, "the refusal in the audit log", 20)
    for each in (job, other):
        words("job", "kill", each)


def test_ports_that_are_declared(site: RunningSite, words) -> None:  # type: ignore[no-untyped-def]
    declared = ("--port", "9000", "--port", "9001:public")
    line = (
        "import subprocess, sys\n"
        "for port in sys.argv[2:]: last = subprocess.Popen([sys.executable, '-c', sys.argv[1], port])\n"
        "last.wait()"
    )
    job = words(
        "job", "submit", *declared, "--field", "id", "--", "python3", "-c", line, SERVER, "9000", "9001", "9002"
    )
    site.wait_state(job, "RUNNING", user="rita")
    urls = yaml.safe_load(words("job", "info", job))["portUrls"]
    assert list(urls) == ["9000", "9001"]
    token = site.token("rita")
    assert answered(urls["9000"], token).json()["sum"] == 6
    assert call(urls["9000"], [1]).status_code == 401
    public = answered(urls["9001"], "").json()
    assert "X-Toolkit-User" not in public["headers"]
    assert call(urls["9000"].replace("-9000", "-9002"), [1], token).status_code == 404
    words("job", "kill", job)
