"""A job that has put a program of its own in the place of the job server, and collects what its visitors show."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from tests.hub.gate_house import read_head
from tests.support.running_site import RunningSite, wait_until
from toolkit_hub.domain.gate_sessions import create_session
from toolkit_hub.store.tables import User

pytestmark = pytest.mark.engine

OWNER = "thelma"
#: In the place of the job server and on every port that is served: says what it gets, and opens every websocket.
THIEF = """
import base64, hashlib, socketserver
class Thief(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            print(self.server.server_address[1], line.decode("latin-1").rstrip(), flush=True)
            if line.lower().startswith(b"sec-websocket-key:"):
                key = line.split(b":")[1].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                accept = base64.b64encode(hashlib.sha1(key).digest())
            if line.lower().startswith(b"upgrade:"): self.upgrade = True
            if line == b"\\r\\n":
                if getattr(self, "upgrade", False):
                    head = b"HTTP/1.1 101 x\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\nSec-WebSocket-Accept: "
                    self.wfile.write(head + accept + b"\\r\\n\\r\\n")
                else:
                    self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
import threading
socketserver.ThreadingTCPServer.daemon_threads = True
servers = [socketserver.ThreadingTCPServer(("0.0.0.0", port), Thief) for port in (8080, 8888, 9000, 9001)]
print("serving", flush=True)
for server in servers[1:]: threading.Thread(target=server.serve_forever, daemon=True).start()
servers[0].serve_forever()
"""


class Visits:
    """Visits to one job, each with a number that the job gets to see."""

    def __init__(self, site: RunningSite, job: str) -> None:
        self.site, self.job, self.count = site, job, 0
        with site.client(OWNER) as client:
            self.base = "/" + str(client.jobs.get(job).lab_url).split("/", 3)[3].removesuffix("lab")
        urn = site.cli("job", "get", job, "--field", "urn", user=OWNER).stdout.strip()
        site.cli("role", "new", "acme.thelma.guest", "--policy", f"job:get+job:exec@{urn}", user=OWNER)
        self.key = site.cli("role", "key", "new", "acme.thelma.guest", user=OWNER).stdout.strip()
        self.token = site.token(OWNER)
        self.secrets = {self.key, self.token}

    def number(self) -> str:
        self.count += 1
        return f"probe-{self.count}"

    def cookie(self, host: str) -> str:
        with self.site.store().begin() as session:
            user = session.scalars(select(User).where(User.name == OWNER)).one()
            made = create_session(session, user_id=user.id, job_id=self.job, host=host)
        self.secrets.add(made)
        return made

    def ways(self, host: str) -> Iterator[list[str]]:
        """Everything that opens a job to somebody, alone and beside other credentials."""
        cookie, origin = self.cookie(host), f"Origin: http://{host}"
        yield [f"Authorization: Bearer {self.token}"]
        yield [f"Authorization: token {self.key}"]
        yield [f"X-Toolkit-Key: {self.token}", "Authorization: Bearer for-the-app"]
        yield [f"X-Toolkit-Key: {self.key}", f"Authorization: Bearer {self.token}"]
        yield [f"Cookie: toolkit-gate={cookie}; mine=1", origin]
        yield [f"Cookie: a=b; toolkit-gate={cookie}", origin, f"Authorization: Bearer {self.token}"]

    def at_job_host(self, host: str, path: str, shown: list[str], *, upgrade: bool) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"X-Probe: {self.number()}", *shown]
        if upgrade:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA=="]
        with socket.create_connection(("127.0.0.1", self.site.settings.jobs_port), 60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert read_head(connection)[0] == (101 if upgrade else 200), (host, shown)

    def at_hub(self, shown: str) -> None:
        headers = {"Authorization": f"token {shown}", "X-Probe": self.number()}
        assert httpx.get(f"{self.site.url}{self.base}lab", headers=headers, timeout=40).status_code == 200


def test_a_thief_in_the_place_of_the_job_server_gets_no_credential(site: RunningSite) -> None:
    """By cookie, by token, by a role's key, by either beside an `Authorization` for the app; HTTP and websockets; everywhere."""
    spec = {"ports": [{"port": 9000}, {"port": 9001, "public": True}]}
    job = site.submit("python3", "-c", THIEF, user=OWNER, **spec).id
    site.wait_state(job, "RUNNING", user=OWNER)
    wait_until(lambda: b"serving" in site.log_of(job, OWNER), "the thief", 30)
    visits = Visits(site, job)
    lab = f"{visits.base}lab"
    for suffix, path in (("-lab", lab), ("-lab", f"{visits.base}sshd"), ("", "/"), ("-9000", "/x"), ("-9001", "/x")):
        host = f"{job}{suffix}.{site.settings.jobs_domain}"
        for shown in visits.ways(host):
            for upgrade in (False, True):
                visits.at_job_host(host, path, shown, upgrade=upgrade)
    for token in (visits.token, visits.key):
        visits.at_hub(token)

    def seen() -> str | None:
        log = site.log_of(job, OWNER).decode()
        return log if log.lower().count("x-probe: probe-") == visits.count else None

    log = wait_until(seen, "all visits in the thief's log", 20)
    for secret in visits.secrets:
        assert secret not in log
    assert "for-the-app" in log
    assert "mine=1" in log
    with site.client(OWNER) as client:
        client.jobs.kill(job)
