"""Every app of a job by every kind of connection and every visitor, through a whole site."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest

from tests.hub.gate_house import is_closed, read_head
from tests.support.running_site import PASSWORD, RunningSite, wait_until
from toolkit_client.hub_tokens import new_token
from toolkit_hub.store.tables import Job

pytestmark = pytest.mark.engine

#: A page and an echo by websocket on three ports, and an echo of bytes on loopback.
SERVER = """
import asyncio, tornado.tcpserver, tornado.web, tornado.websocket
class Page(tornado.web.RequestHandler):
    def get(self): self.write({"headers": dict(self.request.headers.get_all())})
class Echo(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin): return True
    def on_message(self, message): self.write_message(message)
class Bytes(tornado.tcpserver.TCPServer):
    async def handle_stream(self, stream, address):
        while True: await stream.write(await stream.read_bytes(65536, partial=True))
async def main():
    app = tornado.web.Application([("/", Page), ("/ws", Echo)])
    for port in (8080, 9000, 9001): app.listen(port, "0.0.0.0")
    Bytes().listen(7001, "127.0.0.1")
    print("serving", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

OWNER, STRANGER = "petra", "quirin"
#: Statuses by visitor: nobody, another user, the owner, a role's key with `job:get`.
EXEC, PORT = (401, 404, 200, 403), (401, 404, 200, 200)
EVERYBODY = (200, 200, 200, 200)
NOTE = "to be revoked"
VISITORS = ("nobody", "stranger", "owner", "key")


@dataclass(frozen=True)
class Row:
    """One app by one kind of connection: at which of the job's hosts, below which path."""

    app: str
    kind: str
    host: str
    path: str
    statuses: tuple[int, int, int, int] = EXEC

    def __str__(self) -> str:
        return f"{self.app}-{self.kind}"


ROWS = (
    Row("jupyter", "http", "-lab", "api/status"),
    Row("jupyter", "websocket", "-lab", "api/events/subscribe"),
    Row("ttyd", "http", "-lab", "ttyd/"),
    Row("ttyd", "websocket", "-lab", "ttyd/ws"),
    Row("code-server", "http", "-lab", "code-server/healthz"),
    Row("code-server", "websocket", "-lab", "code-server/?type=Management&reconnectionToken=1&reconnection=false"),
    Row("accessUrl", "http", "", "", PORT),
    Row("accessUrl", "websocket", "", "ws", PORT),
    Row("accessUrl", "h2c", "", "", PORT),
    Row("declared", "http", "-9000", "", PORT),
    Row("declared", "websocket", "-9000", "ws", PORT),
    Row("public", "http", "-9001", "", EVERYBODY),
    Row("public", "websocket", "-9001", "ws", EVERYBODY),
    Row("sshd", "http", "-lab", "sshd/host-key"),
    Row("sshd", "websocket", "-lab", "sshd"),
    Row("tcp", "websocket", "-lab", "tcp/7001"),
    Row("tcp", "toolkit-tcp", "-lab", "tcp/7001"),
    Row("exec", "toolkit-exec", "-lab", "exec"),
)
#: What stays open until somebody ends it.
LIVING = tuple(row for row in ROWS if row.kind not in ("http", "h2c"))


class Place:
    """A running job of the owner's, and the credentials of all who come."""

    def __init__(self, site: RunningSite) -> None:
        self.site = site
        site.token(STRANGER)
        spec = {"ports": [{"port": 9000}, {"port": 9001, "public": True}]}
        self.job = site.submit("python3", "-c", SERVER, user=OWNER, **spec).id
        site.wait_state(self.job, "RUNNING", user=OWNER)
        wait_until(lambda: b"serving" in site.log_of(self.job, OWNER), "the job's servers", 30)
        with site.client(OWNER) as client:
            found = client.jobs.get(self.job)
        assert found.lab_url is not None
        self.base = "/" + found.lab_url.split("/", 3)[3].removesuffix("lab")
        self.urn = self.words("job", "get", self.job, "--field", "urn")
        self.key = self.new_key("reader")

    def words(self, *line: str) -> str:
        done = self.site.cli(*line, user=OWNER)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def new_key(self, role: str) -> str:
        """A key of a new role that may see the job and no more."""
        self.words("role", "new", f"acme.petra.{role}", "--policy", f"job:get@{self.urn}")
        return self.words("role", "key", "new", f"acme.petra.{role}")

    def credential(self, visitor: str) -> str:
        make: dict[str, Callable[[], str]] = {
            "nobody": lambda: "",
            "stranger": lambda: self.site.token(STRANGER),
            "owner": lambda: self.site.token(OWNER),
            "key": lambda: self.key,
        }
        return make[visitor]()

    def host(self, row: Row) -> str:
        return f"{self.job}{row.host}.{self.site.settings.jobs_domain}"

    @contextmanager
    def connect(self, row: Row, credential: str) -> Iterator[tuple[socket.socket, int, str]]:
        """The connection, its status and its head, as a client sends and sees them."""
        path = self.base + row.path if row.host == "-lab" else f"/{row.path}"
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.host(row)}"]
        if credential:
            lines.append(f"Authorization: Bearer {credential}")
        if row.kind != "http":
            lines += ["Connection: Upgrade", f"Upgrade: {row.kind}"]
        if row.kind == "websocket":
            lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        with socket.create_connection(("127.0.0.1", self.site.settings.jobs_port), 60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            status, head, _ = read_head(connection)
            yield connection, status, head

    def status(self, row: Row, credential: str) -> int:
        with self.connect(row, credential) as (_, status, _):
            return status


@pytest.fixture(scope="module")
def place(site: RunningSite) -> Iterator[Place]:
    made = Place(site)
    yield made
    with site.client(OWNER) as client:
        client.jobs.kill(made.job)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_who_comes_in(place: Place, row: Row) -> None:
    for visitor, wanted in zip(VISITORS, row.statuses, strict=True):
        with place.connect(row, place.credential(visitor)) as (_, status, head):
            opened = row in LIVING and wanted == 200
            assert status == (101 if opened else wanted), (visitor, head)


@pytest.mark.parametrize("visitor", ["owner", "key"])
def test_what_is_open_is_cut_when_the_credential_is_revoked(place: Place, visitor: str) -> None:
    """A token of the owner's own, or a role's key. What is open by another one, or to everybody, stays."""
    at = VISITORS.index(visitor)
    mine = place.new_key("leaver") if visitor == "key" else new_token(place.site.url, OWNER, PASSWORD, note=NOTE)
    with ExitStack() as stack:
        living = []
        for row in LIVING:
            if row.statuses[at] == 200:
                connection, status, head = stack.enter_context(place.connect(row, mine))
                assert status == 101, (str(row), head)
                living.append((row, connection))
        other = stack.enter_context(place.connect(LIVING[0], place.credential("owner")))[0]
        # code-server hangs up on who does not go on as its page does.
        living = [
            (row, connection) for row, connection in living if row.app == "code-server" or not is_closed(connection)
        ]
        assert len(living) == sum(row.statuses[at] == 200 for row in LIVING)
        revoke(place, visitor, mine)
        began = time.monotonic()
        leaving = [(row, connection) for row, connection in living if row.app != "public"]
        for row, connection in leaving:
            left = 15 - (time.monotonic() - began)
            wait_until(lambda connection=connection: is_closed(connection), f"{row} to be cut", max(left, 0.1))
        assert not is_closed(other)
        for row, connection in living:
            if row.app == "public":
                assert not is_closed(connection)
    for row in ROWS:
        if row.statuses[at] == 200 and row.app != "public":
            wait_until(lambda row=row: place.status(row, mine) == 401, f"{row} to refuse the next request", 6)


def revoke(place: Place, visitor: str, credential: str) -> None:
    if visitor == "key":
        found = place.words("role", "key", "ls", "acme.petra.leaver", "--field", "id")
        place.words("role", "key", "rm", "acme.petra.leaver", found)
        return
    headers = {"Authorization": f"token {credential}"}
    with httpx.Client(base_url=f"{place.site.url}/hub/api", headers=headers, timeout=20) as hub:
        name = hub.get("/user").json()["name"]
        tokens = hub.get(f"/users/{name}/tokens").json()["api_tokens"]
        found = next(token["id"] for token in tokens if token["note"] == NOTE)
        assert hub.delete(f"/users/{name}/tokens/{found}").status_code == 204


def test_streams_into_a_job_are_in_the_audit_log(place: Place) -> None:
    """Who, which job, what kind of stream, by which request; and never the words of a command."""
    rows = {str(row): row for row in ROWS}
    for name in ("exec-toolkit-exec", "tcp-toolkit-tcp", "tcp-websocket", "sshd-websocket"):
        assert place.status(rows[name], place.site.token(OWNER)) == 101
    with place.site.client(OWNER) as client:
        assert client.jobs.commands(place.job).run(["echo", "a-secret-word"]).code == 0

    def entries() -> list[dict[str, object]]:
        lines = place.words("audit", "ls", "--urn", place.urn, "--action", "job:exec", "--format", "json").splitlines()
        found = [json.loads(line) for line in lines]
        return [entry for entry in found if entry["outcome"] == "done"]

    wanted = [{"stream": "exec"}, {"stream": "tcp", "port": 7001}, {"stream": "ssh"}]
    kinds = wait_until(
        lambda: (found := entries()) and all(kind in [each["data"] for each in found] for kind in wanted) and found,
        "the entries",
    )
    assert "a-secret-word" not in json.dumps(kinds)
    assert {entry["actor"] for entry in kinds} == {"acme.petra"}
    for entry in kinds:
        assert entry["urn"] == place.urn
        assert entry["requestId"]
        assert entry["reason"]


# --- a server as people start it ------------------------------------------------------------------------------------------


def test_a_plain_jupyter_server_on_loopback_works_at_the_jobs_address(site: RunningSite) -> None:
    """`jupyter lab --port=8080` listens on localhost and serves no other ``Host``."""
    command = ("jupyter", "lab", "--port=8080", "--no-browser", "--IdentityProvider.token=the-apps-own")
    job = site.submit(*command, user=OWNER).id
    site.wait_state(job, "RUNNING", user=OWNER)
    netloc = f"{job}.{site.settings.jobs_domain}"
    with httpx.Client(base_url=f"http://127.0.0.1:{site.settings.jobs_port}", timeout=40) as http:
        app = {"Host": netloc, "X-Toolkit-Key": site.token(OWNER), "Authorization": "token the-apps-own"}

        def up() -> httpx.Response | None:
            answer = http.get("/api/status", headers=app)
            return answer if answer.status_code == 200 else None

        wait_until(up, "jupyter", 40, lambda: site.log_of(job, OWNER).decode())
        assert (
            http.get("/api/status", headers={"Host": netloc, "Authorization": app["X-Toolkit-Key"]}).status_code == 401
        )
        page = http.get("/lab", headers=app)
        assert "jupyter-config-data" in page.text
        origin = {"Origin": f"http://{netloc}"}
        made = http.post("/api/terminals", headers={**app, **origin})
        assert made.status_code == 200, made.text
        name = made.json()["name"]
    lines = [
        f"GET /terminals/websocket/{name} HTTP/1.1",
        *(f"{key}: {value}" for key, value in {**app, **origin}.items()),
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    with socket.create_connection(("127.0.0.1", site.settings.jobs_port), 20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        status, _, received = read_head(connection)
        assert status == 101
        while b"setup" not in received:
            piece = connection.recv(65536)
            assert piece
            received += piece
    with contextlib.suppress(Exception), site.client(OWNER) as client:
        client.jobs.kill(job)


# --- who listens in a job -------------------------------------------------------------------------------------------------

#: Of what listens in a container: job-init's two programs and the job server want the run's secret, the rest is the job's own.
OURS, ITS_OWN = {8886, 8887, 8888}, {8080, 9000, 9001}

SCAN = """
import concurrent.futures, json, socket, sys
def is_open(port):
    try: socket.create_connection((sys.argv[1], port), 3).close()
    except OSError: return False
    return True
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    ports = [int(port) for port in sys.argv[2:]]
    print(json.dumps([port for port, found in zip(ports, pool.map(is_open, ports)) if found]))
"""


def address(site: RunningSite, job: str) -> str:
    with site.store().begin(write=False) as session:
        return str(session.get_one(Job, job).runs[-1].ip)


def listening(ip: str) -> set[int]:
    """All ports of the address that take a connection, from this machine."""

    def is_open(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex((ip, port)) == 0

    return {port for port in range(1, 65536) if is_open(port)}


def test_only_what_must_listens_and_for_its_gate_only(place: Place) -> None:
    """With every app of the job in use."""
    owner = place.credential("owner")
    with ExitStack() as stack:
        for row in ROWS:
            assert stack.enter_context(place.connect(row, owner))[1] in (101, 200)
        ip = address(place.site, place.job)
        assert listening(ip) == OURS | ITS_OWN
    with httpx.Client(timeout=20, trust_env=False) as http:
        for path in ("api", "lab", "ttyd/", "code-server/", "sshd/host-key", "tcp/7001"):
            forged = {"X-Toolkit-User": OWNER, "X-Toolkit-Run-Secret": "guessed"}
            assert http.get(f"http://{ip}:8888{place.base}{path}", headers=forged).status_code == 403
    for port, line in (
        (8887, {"secret": "guessed", "do": "start-job-server"}),
        (8886, {"secret": "guessed", "user": OWNER, "port": 7001}),
        (8886, {"secret": "guessed", "user": OWNER, "port": 0}),
    ):
        with socket.create_connection((ip, port), 5) as connection:
            connection.sendall(json.dumps(line).encode() + b"\n")
            answer = connection.recv(1000)
            assert b"ok" not in answer
            assert b"running" not in answer
    # From another job of the same owner's, nothing at all.
    ports = [str(port) for port in sorted(OURS | ITS_OWN | {22, 80, 2222, 7001})]
    second = place.site.submit("python3", "-c", SCAN, ip, *ports, user=OWNER).id
    place.site.wait_state(second, "SUCCEEDED", user=OWNER)
    assert json.loads(place.site.log_of(second, OWNER)) == []
