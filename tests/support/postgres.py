"""A PostgreSQL of the tests' own: Debian's programs, a temporary folder, loopback and a Unix socket, nothing on disk for long."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from toolkit_hub.host.processes import die_with_parent

ROLE = "toolkit"
#: With characters that a URL must escape: it must come through whole, and stand nowhere in a log.
PASSWORD = "pg/secret:word@tests"
START_TIMEOUT_S = 30


class Cluster:
    """A server whose databases are made and dropped in milliseconds. `stop()` and `start()` are its faults."""

    def __init__(self) -> None:
        self._programs = _programs()
        self._account = "postgres" if os.geteuid() == 0 else None
        # Short, for the socket's path, and not below pytest's folders, which the server's account may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix="toolkit-pg-"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        if self._account:
            known = pwd.getpwnam(self._account)
            os.chown(self.folder, known.pw_uid, known.pw_gid)
        self._initialise()
        self.start()

    def url(self, database: str) -> str:
        """By the socket, without a password: the fast way."""
        return f"postgresql://{ROLE}@/{database}?host={self.folder}&port={self.port}"

    def network_url(self, database: str) -> str:
        """By TCP on loopback, with the password in the URL."""
        return f"postgresql://{ROLE}:pg%2Fsecret%3Aword%40tests@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template0") -> str:
        """A new database's name; a copy of `template`, which nobody may be using."""
        self._made += 1
        name = f"test{self._made}"
        # Copied as files, for the write-ahead log of each page takes four times as long; older versions know no other way.
        strategy = "STRATEGY FILE_COPY" if _version(self._programs) >= 15 else ""
        self._administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}')
        return name

    def drop(self, name: str) -> None:
        self._administer(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        name = self.create(template)
        try:
            yield name
        finally:
            self.drop(name)

    def cut_connections(self, name: str) -> None:
        """End every connection to a database, as an administrator or a fail-over does."""
        self._administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")

    def start(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 100,
            "shared_buffers": "32MB",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "autovacuum": "off",
            # Another zone than UTC, to show that none is taken for granted.
            "timezone": "Asia/Kolkata",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", user=self._account,
                preexec_fn=die_with_parent, start_new_session=True,
            )  # fmt: skip
        self._await_answer()

    def stop(self) -> None:
        """At once: whoever is connected is cut off."""
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: fast shutdown
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(PASSWORD + "\n")
        subprocess.run(
            [
                str(self._programs / "initdb"), "--no-sync", "--username", ROLE, "--pwfile", str(password_file),
                "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C",
                "-D", str(self.folder / "data"),
            ],
            check=True, stdout=subprocess.DEVNULL, cwd="/", user=self._account,
        )  # fmt: skip
        password_file.unlink()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._administer("SELECT 1")
                return
            except psycopg.OperationalError:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "server.log").read_text()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log}") from None
                time.sleep(0.02)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One server for all tests of the session."""
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.close()


def _programs() -> Path:
    found = sorted((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")), key=_version)
    if not found:
        pytest.skip("PostgreSQL is not installed: `make setup` for tests does it, or apt-get install postgresql")
    return found[-1]


def _version(programs: Path) -> float:
    return float(programs.parts[4])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
