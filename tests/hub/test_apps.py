"""``toolkit start``, ``apps``, ``app`` and ``ps`` on the whole site, and what cannot be."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.hub.app_forwards import TOOLKIT, Browser, app
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

#: On 8080 what came in is told, on 7001 bytes come back turned round.
SERVER = """
import json, socket, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Told(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()
def turn(c):
    data = b""
    while piece := c.recv(65536): data += piece
    c.sendall(data[::-1]); c.close()
def serve():
    listener = socket.create_server(("127.0.0.1", 7001))
    while True: threading.Thread(target=turn, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
ThreadingHTTPServer(("0.0.0.0", 8080), Told).serve_forever()
"""


@pytest.fixture(scope="module")
def job(site: RunningSite) -> Iterator[str]:
    made = site.submit("python3", "-c", SERVER, user="tess").id
    site.wait_state(made, "RUNNING", user="tess")
    # The server inside takes a moment.
    address = site.client("tess").jobs.get(made).access_url
    browser = Browser()
    headers = {"Authorization": f"Bearer {site.token('tess')}", "Accept": "*/*"}
    wait_until(lambda: browser.get(address, **headers).status_code == 200, "the job's server")
    yield made
    with site.client("tess") as client:
        client.jobs.kill(made)


def test_the_apps_are_listed(site: RunningSite, job: str) -> None:
    lines = site.cli("apps", job, "--format", "json", user="tess").stdout.splitlines()
    found = {app["name"]: app for app in map(json.loads, lines)}
    assert found["8080"]["needs"] == "job:get"
    assert found["sshd"]["address"].endswith("/sshd")
    table = site.cli("apps", job, user="tess").stdout
    assert table.splitlines()[0].split() == ["name", "needs", "address", "about"]
    assert site.cli("apps", job, user="tom").returncode == 5


def test_links_that_stay(site: RunningSite, job: str) -> None:
    token = {"Authorization": f"Bearer {site.token('tess')}", "Accept": "*/*"}
    browser = Browser()
    for name, end in (
        ("ttyd", "/ttyd/"),
        ("jupyter", "/lab"),
        ("lab", "/lab"),
        ("code-server", "/code-server/"),
        ("web", "/"),
    ):
        answer = browser.get(f"{site.url}/services/toolkit/jobs/{job}/apps/{name}", **token)
        assert answer.headers["Location"].endswith(end)
    assert browser.get(f"{site.url}/services/toolkit/jobs/{job}/apps/nothing", **token).status_code == 404


def test_a_port_is_bytes(site: RunningSite, job: str) -> None:
    with app(site, job, "7001", user="tess") as local:
        assert local.line == f"127.0.0.1:{local.port}"
        with socket.create_connection(("127.0.0.1", local.port), 20) as connection:
            connection.sendall(b"abc")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b"cba"
        assert local.interrupt() == 130


def test_on_another_address_everybody_is_let_in_and_it_is_said(site: RunningSite, job: str) -> None:
    with app(site, "-b", "0.0.0.0:0", job, "7001", user="tess") as local:
        assert local.process.stderr is not None
        assert "everybody who reaches 0.0.0.0 acts as you" in local.process.stderr.readline()
    refused = site.cli("app", "-b", "0.0.0.0:0", job, "ttyd", user="tess")
    assert refused.returncode == 2
    assert "loopback only" in refused.stderr


def test_a_declared_port_for_browsers_and_programs(site: RunningSite, job: str) -> None:
    with app(site, "--browser", job, "8080", user="tess") as local:
        told = local.ask("/a%20b?c=d", headers={"Authorization": "Bearer the-apps-own", "Cookie": "a=b"}).json()
        assert told["path"] == "/a%20b?c=d"
        assert told["headers"]["Authorization"] == "Bearer the-apps-own"
        assert told["headers"]["X-Toolkit-User"] == "tess"
        assert site.token("tess") not in json.dumps(told)
        assert local.ask("/x", "POST", content=b"y" * 5_000_000).status_code == 200
        url, page = Browser().open(f"{local.url}/docs?x=1")
        assert urlsplit(url).netloc.startswith(f"{job}.localhost")
        assert page.json()["path"] == "/docs?x=1"
        assert _is_page_refused(local.port)
        # What follows in the same connection is nobody's request, and whoever sends it at once gets nothing for it.
        text = f"GET /1 HTTP/1.1\r\nHost: localhost:{local.port}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", local.port), 20) as connection:
            connection.sendall(text.encode() + text.replace("/1", "/2").encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert b'"/2"' not in answer


def _is_page_refused(port: int) -> bool:
    """Whether a page that makes its visitor's browser ask gets nothing."""
    sent = [f"GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n" for host, more in HOSTILE]
    for text in sent:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(text.replace("PORT", str(port)).encode())
            if not connection.recv(100).startswith(b"HTTP/1.1 403"):
                return False
    return True


HOSTILE = [
    ("evil.example:PORT", ""),
    ("localhost:PORT", "Origin: http://evil.example\r\n"),
    ("localhost:PORT", "Origin: null\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
    ("localhost:PORT", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n"),
    ("127.0.0.1:PORT", "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"),
]


def test_other_users_of_the_machine_do_not_ride_along(site: RunningSite, job: str) -> None:
    script = (
        "import os, socket, sys, encodings.idna; os.setuid(65534); "
        "c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "c.send(b'GET / HTTP/1.1\\r\\nHost: localhost:' + sys.argv[1].encode() + b'\\r\\n\\r\\n'); print(c.recv(9))"
    )
    with app(site, "--browser", job, "8080", user="tess") as local:
        done = subprocess.run(
            [sys.executable, "-c", script, str(local.port)], capture_output=True, text=True, check=False
        )
        assert "ConnectionResetError" in done.stderr or done.stdout == "b''\n"
        assert local.ask().status_code == 200


def test_it_survives_restarts(site: RunningSite, job: str) -> None:
    with app(site, "--browser", job, "8080", user="tess") as local:
        assert local.ask("/1").status_code == 200
        site.unit("stop", "service")
        try:
            assert local.ask("/2").status_code == 200
        finally:
            site.unit("start", "service")
        for unit in ("hub", "proxy"):
            site.unit("restart", unit)
            assert local.ask("/3").status_code == 200
        assert Browser().open(local.url)[1].status_code == 200
        assert local.interrupt() == 130


def test_who_loses_the_right_is_told_and_it_ends(site: RunningSite, job: str) -> None:
    site.token("tom")
    urn = site.cli("job", "get", job, "--field", "urn", user="tess").stdout.strip()
    policy = site.cli("user", "policy", "new", "acme.tom", f"job:get+job:exec@{urn}", "--field", "id").stdout.strip()
    try:
        with app(site, "--browser", job, "8080", user="tom") as local:
            assert Browser().open(local.url)[1].status_code == 200
            assert site.cli("user", "policy", "rm", "acme.tom", policy).returncode == 0
            assert Browser().get(local.url).status_code == 404
            assert local.process.wait(20) == 5
    finally:
        site.cli("user", "policy", "rm", "acme.tom", policy)


def test_bad_input(site: RunningSite, job: str) -> None:
    def said(*words: str, code: int, user: str = "tess") -> str:
        done = site.cli(*words, user=user)
        assert done.returncode == code, done.stderr
        return done.stderr

    assert "no such job" in said("app", "nothing", "ttyd", code=5)
    assert "there are: jupyter, ttyd, code-server, sshd, 8080" in said("app", job, "tensorboard", code=5)
    assert "there are: jupyter" in said("app", "--browser", job, "7001", code=5)
    assert "which app" in said("app", job, code=2)
    assert "1 to 65535" in said("app", job, "70000", code=2)
    for bad in ("x", "a:b:1", "70000", "example.org:80", "::1:80"):
        assert "-b takes PORT" in said("app", "-b", bad, job, "ttyd", code=2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"local port {port} cannot be had" in said("app", "-b", str(port), job, "ttyd", code=1)

    urn = site.cli("job", "get", job, "--field", "urn", user="tess").stdout.strip()
    site.token("tom")
    policy = site.cli("user", "policy", "new", "acme.tom", f"job:get@{urn}", "--field", "id").stdout.strip()
    with app(site, job, "ttyd", user="tom") as local:
        refused = Browser().get(local.url)
        assert refused.status_code == 403
        assert "job:exec" in refused.text
        assert job in refused.text
        assert local.process.wait(20) == 4
    site.cli("user", "policy", "rm", "acme.tom", policy)

    ended = site.submit("true", user="tess").id
    site.wait_state(ended, "SUCCEEDED", user="tess")
    assert "it has ended" in said("app", ended, "ttyd", code=1)


def test_a_job_that_waits(site: RunningSite) -> None:
    # Nobody's job ends for it: it asks for more than is free.
    blockers = [site.submit("sleep", "600", user="tess", resources={"cpu": 14}).id]
    waiting = site.submit("sleep", "600", user="tess", resources={"cpu": 15}).id
    done = site.cli("app", waiting, "ttyd", user="tess")
    assert done.returncode == 1
    assert "QUEUING" in done.stderr
    assert "--wait" in done.stderr
    process = subprocess.Popen(
        [TOOLKIT, "app", "--wait", waiting, "ttyd"],
        env={**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token("tess")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        assert "QUEUING" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        for each in (*blockers, waiting):
            site.cli("job", "kill", each, user="tess")


def test_start_and_ps(site: RunningSite) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = site.cli(*words, user="uma")
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    wishes = ("--no-wait", "--shareable", "-t", "s1", "-r", "cpu=0.5,mem=512m", "-e", "A=b")
    made = run("start", *wishes, "python", "sleep", "300").strip()
    job = json.loads(run("job", "get", made, "--format", "json"))
    assert (job["shareable"], job["command"], job["environmentVars"]) == (True, ["sleep", "300"], ["A=b"])
    assert (job["resources"]["cpu"], job["resources"]["mem"]) == (0.5, 0.5)
    run("data", "new", "images")
    second = run("start", "--no-wait", "-m", "images", "python").strip()
    assert json.loads(run("job", "get", second, "--format", "json"))["data"] == ["images:/home/work/images"]
    rest = [run("start", "--no-wait", "python").strip() for _ in range(2)]
    refused = run("start", "--no-wait", "python", code=1)
    assert "the site allows 4" in refused
    assert f"s1 ({made})" in refused
    lines = run("ps", "--no-header", "--fields", "id,state").splitlines()
    assert {line.split()[0] for line in lines} == {made, second, *rest}
    assert "which image" in run("start", "-t", "x", code=2)
    assert "cpu=2" in run("start", "-r", "disk=2", "python", code=2)
    run("job", "kill", made, second, *rest)
    wait_until(lambda: run("ps", "--no-header") == "", "their ends", 30)
