"""What the tests of the gate stand on: a site on free ports, a real store, a program of a user's own, and a hub's one answer.

The gate runs in a thread with an event loop of its own, as it does in its process. The hub is only asked whose a token is;
`Hub` gives that one answer, and the tests with the whole hub are elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import delete
from sqlalchemy.orm import Session
from traitlets.config import Config

from tests.hub.gate_programs import App, Hub, Thread
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain import defaults
from toolkit_hub.domain.access import Actor, actor_by_id
from toolkit_hub.domain.administrators import predefined_role
from toolkit_hub.domain.gate_sessions import create_session
from toolkit_hub.domain.memberships import join
from toolkit_hub.gate.server import Gate
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import Membership
from toolkit_hub.store.tables import Job, Run, User, new_id

#: Loopback addresses stand for those of containers: here nothing listens, and each house's programs have one of their own.
NOBODYS_IP = "127.18.0.1"
_addresses = (f"127.{os.getpid() % 200 + 20}.1.{number}" for number in range(1, 255))

#: What a browser sends when a person opens an address.
BROWSER = {
    "Accept": "text/html,*/*",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


def free_base_port() -> int:
    """The first of six free ports in a row; another process of tests begins to look elsewhere."""
    begin = os.getpid() % 180 * 10
    for base in (18100 + (begin + step) % 1800 for step in range(0, 1800, 10)):
        try:
            for port in range(base, base + 6):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no six free ports in a row")


def eventually(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


class House:
    """A site with an organization, three users and as many jobs as a test makes."""

    def __init__(self, folder: Path, recheck_s: float = 0.3, **more: Any) -> None:
        settings = {"state_dir": str(folder), "base_port": free_base_port(), **more}
        self.site = Toolkit(config=Config({"Toolkit": settings}))
        self.store = Store(self.site.database_url)
        self.store.migrate()
        self.hub = Hub(self.site.base_port + 5)
        self.thread, self.apps = Thread(), Thread()
        self.ip = next(_addresses)
        self.app = App(self.ip)
        self.apps.run(self.app.start())
        self._people()
        self._gates: list[Gate] = [self.thread.run(self._start(recheck_s))]

    async def _start(self, recheck_s: float) -> Gate:
        gate = Gate(self.site, recheck_s=recheck_s)
        await gate.start()
        return gate

    def stop_gate(self) -> None:
        """End the gate in this process; a test starts another one as a process."""
        if self._gates:
            self.thread.run(self._gates.pop().close())

    def stop(self) -> None:
        self.stop_gate()
        self.apps.run(self.app.stop())
        self.hub.stop()
        self.thread.stop()
        self.apps.stop()
        self.store.close()

    def _people(self) -> None:
        now = clock.now()
        self.users: dict[str, str] = {}
        with self.store.begin() as session:
            organization = defaults.add_organization(session, "acme", "tests")
            for name in ("alice", "bob", "root"):
                account = defaults.add_account(session, organization, None, name, "tests")
                user = User(
                    id=new_id(),
                    organization_id=organization.id,
                    home_account_id=account.id,
                    name=name,
                    hub_name=name,
                    created=now,
                )
                session.add(user)
                session.flush()
                home = predefined_role(session, account.id, "admin")
                join(session, ("role", home.id), ("user", user.id), "tests")
                self.users[name] = user.id
            self.administrators = predefined_role(session, organization.id, "admin").id
        self.administrator("root", True)

    def administrator(self, name: str, holds: bool) -> None:
        """Make somebody an administrator of the organization, or not one any more."""
        group, member = ("role", self.administrators), ("user", self.users[name])
        with self.store.begin() as session:
            if holds:
                join(session, group, member, "tests")
            else:
                session.execute(
                    delete(Membership).where(Membership.group_id == group[1], Membership.member_id == member[1])
                )

    def actor(self, session: Session, name: str) -> Actor:
        """The user as whoever makes a request."""
        actor = actor_by_id(session, self.users[name])
        assert actor is not None
        return actor

    def job(
        self,
        *,
        owner: str = "alice",
        ip: str | None = "own",
        state: str = "RUNNING",
        spec: dict[str, Any] | None = None,
        **values: Any,
    ) -> str:
        """A job with one run; its id."""
        with self.store.begin() as session:
            user = session.get_one(User, self.users[owner])
            job = Job(
                id=new_id(),
                seq=time.monotonic_ns(),
                account_id=user.home_account_id,
                creator_id=user.id,
                state=state,
                cpu=1,
                mem=1,
                image="toolkit-lab",
                spec=spec or {},
                created=clock.now(),
                **values,
            )
            session.add(job)
        self.run(job.id, owner=owner, ip=ip, state=state)
        return job.id

    def run(self, job_id: str, *, owner: str = "alice", ip: str | None = "own", state: str = "RUNNING") -> str:
        """One more run of the job; its server's name."""
        with self.store.begin() as session:
            job = session.get_one(Job, job_id)
            name = f"j{base64.b32encode(hashlib.sha256(new_id().encode()).digest()).decode().lower()[:26]}"
            run = Run(
                id=new_id(),
                job_id=job_id,
                index=len(job.runs),
                server_name=name,
                owner=owner,
                state=state,
                secret=hashlib.sha256(name.encode()).hexdigest()[:40],
                ip=self.ip if ip == "own" else ip,
                created=clock.now(),
            )
            session.add(run)
        return name

    def secret(self, server_name: str) -> str:
        with self.store.begin(write=False) as session:
            return next(run.secret for run in session.query(Run) if run.server_name == server_name)

    def server_name(self, job_id: str) -> str:
        with self.store.begin(write=False) as session:
            return session.get_one(Job, job_id).runs[-1].server_name

    def host(self, job_id: str, lab: bool = False) -> str:
        return f"{job_id}{'-lab' if lab else ''}.{self.site.jobs_domain}"

    def cookie(self, user: str, job_id: str, *, lab: bool = False) -> str:
        """The Cookie header of a browser that this user has signed in with at one of the job's hosts."""
        host = self.host(job_id, lab)
        with self.store.begin() as session:
            key = create_session(session, user_id=self.users[user], job_id=job_id, host=host)
        return f"toolkit-gate={key}"

    def token(self, user: str = "alice") -> dict[str, str]:
        scopes = (f"access:servers!user={user}", "access:services!service=toolkit")
        return {"Authorization": f"token {self.hub.token(user, *scopes)}"}

    def token_line(self, user: str = "alice") -> str:
        """The same, as a line of a request."""
        return f"Authorization: {self.token(user)['Authorization']}"

    def ask(self, host: str, target: str = "/", method: str = "GET", **arguments: Any) -> httpx.Response:
        """A request at the job hosts' listener."""
        headers = {"Host": host, **arguments.pop("headers", {})}
        url = f"http://127.0.0.1:{self.site.jobs_port}{target}"
        with httpx.Client(timeout=40) as client:
            return client.request(method, url, headers=headers, **arguments)

    def ask_proxy_side(self, target: str, method: str = "GET", **arguments: Any) -> httpx.Response:
        with httpx.Client(timeout=40) as client:
            return client.request(method, f"{self.site.gate_url}{target}", **arguments)

    @contextmanager
    def connect(self, request: str, port: int | None = None, *, small_buffers: bool = False) -> Iterator[socket.socket]:
        """A connection on which this request has been sent, byte for byte."""
        with socket.socket() as connection:
            if small_buffers:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.settimeout(15)
            connection.connect(("127.0.0.1", port or self.site.jobs_port))
            connection.sendall(request.encode("latin-1"))
            yield connection

    def upgrade(self, job_id: str, path: str, *more: str) -> str:
        """The request that opens a websocket at the job's own host."""
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {self.host(job_id)}",
            "Connection: keep-alive, Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            *more,
        ]
        return "\r\n".join([*lines, "", ""])


def read_head(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, head and what came behind it."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), head.decode("latin-1"), rest


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection; reads on until then."""
    connection.settimeout(0.05)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def frame(text: str) -> bytes:
    """A short text as a client's websocket frame; the mask of zeros leaves it readable."""
    data = text.encode()
    assert len(data) < 126
    return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data
