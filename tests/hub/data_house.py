"""What the tests of the data host stand on: the gate's house, with data in it, and a line that can be cut."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hub.gate_house import House
from toolkit_client.access_models import NewData, NewPolicy
from toolkit_client.transfer.link import DataLink
from toolkit_hub.domain import data as domain_data
from toolkit_hub.domain import policies
from toolkit_hub.volumes.layout import Volumes

#: Lies beside the volumes, and must never be seen in an answer, or change.
SECRET = b"TOP-SECRET-OF-THE-SITE"


class DataHouse(House):
    """Alice has data `images`; nobody else may see it until a test says so."""

    def __init__(self, folder: Path, recheck_s: float = 0.3, **more: Any) -> None:
        super().__init__(folder, recheck_s, **{"disk_floor": 0.0, **more})
        self.volumes = Volumes(self.site.data_root)
        # Nothing but our care keeps anybody from it: every user may read and write there.
        self.outside = Path(tempfile.mkdtemp(prefix="outside-", dir="/tmp"))
        (self.outside / "inner").mkdir()
        for path in (self.outside / "secret", self.outside / "inner" / "f"):
            path.write_bytes(SECRET)
            path.chmod(0o666)
        for path in (self.outside, self.outside / "inner"):
            path.chmod(0o777)
        self.data_id, self.urn = self.new_data("images")
        self.volumes.ensure(self.data_id)
        self.live = self.volumes.live(self.data_id)
        self.staging = self.volumes.staging(self.data_id)

    @property
    def made_connections(self) -> int:
        """Requests that the gate has begun to answer."""
        return sum(server.requests_count for server in self._gates[0]._servers)

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.outside)

    def new_data(self, name: str, owner: str = "alice") -> tuple[str, str]:
        with self.store.begin() as session:
            made, _ = domain_data.create_data(session, self.actor(session, owner), NewData(name=name))
        return made.id, made.urn

    def grant(self, user: str, *actions: str) -> str:
        """A policy on the data; its id."""
        new = NewPolicy(policy=f"{'+'.join(actions)}@{self.urn}")
        with self.store.begin() as session:
            return policies.add_policy(session, self.actor(session, "root"), "user", self.users[user], new)[0].id

    def revoke(self, user: str, policy_id: str) -> None:
        with self.store.begin() as session:
            policies.remove_policy(session, self.actor(session, "root"), "user", self.users[user], policy_id)

    def link(self, user: str = "alice", url: str = "") -> DataLink:
        token = self.token(user)["Authorization"].split()[1]
        return DataLink("http://127.0.0.1:1", token, url or self.site.data_url)

    def at(
        self, what: str, method: str = "GET", user: str | None = "alice", ref: str = "", **more: Any
    ) -> httpx.Response:
        """A request at the data host."""
        headers = {**(self.token(user) if user else {}), **more.pop("headers", {})}
        target = f"/v1/data/{ref or self.data_id}/{what}"
        return self.ask(f"data.{self.site.jobs_domain}", target, method, headers=headers, **more)

    def fingerprint(self) -> dict[str, tuple[int, int, str]]:
        """All that lies outside of the volume, as it must stay."""
        found: dict[str, tuple[int, int, str]] = {}
        for top, folders, files in os.walk(self.outside):
            for name in [*folders, *files]:
                path = os.path.join(top, name)
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode):
                    found[path] = (status.st_mode, status.st_mtime_ns, "")
                    continue
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
                found[path] = (status.st_mode, status.st_mtime_ns, content)
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[DataHouse]:
    """For one test."""
    made = DataHouse(tmp_path / "state")
    try:
        yield made
    finally:
        made.stop()


class CuttingLine:
    """Stands between client and gate, and cuts connections after so many bytes of one direction."""

    def __init__(self, port: int, cuts: list[int], most: int | None = None) -> None:
        """`cuts`: bytes after which each next connection that carries content breaks, if it comes so far; those behind the last
        one live, and all when `most` have broken."""
        self._target, self._cuts, self._most = port, list(cuts), len(cuts) if most is None else most
        self.made = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://data.localhost:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):  # the other side has gone first
            self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as gate:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            content = b"/push" in head.split(b"\r\n")[0] or b"/pull" in head.split(b"\r\n")[0]
            cut = content and self._cuts and self.made < self._most
            budget = self._cuts.pop(0) if cut else None
            # The gate knows itself by its own name and port.
            head = head.replace(f"localhost:{self.port}".encode(), f"localhost:{self._target}".encode())
            gate.sendall(head)
            passed = 0
            while True:
                ready, _, _ = select.select([client, gate], [], [], 30)
                for source in ready:
                    piece = source.recv(65536)
                    if not piece:
                        return
                    if budget is not None:
                        piece = piece[: max(budget - passed, 0)]
                        passed += len(piece)
                    if piece:
                        (gate if source is client else client).sendall(piece)
                    if budget is not None and passed >= budget:
                        self.made += 1
                        return
                if not ready:
                    return
