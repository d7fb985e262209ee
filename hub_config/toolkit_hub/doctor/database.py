"""The databases: reachable, writable, whole, and with the tables of this version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from toolkit_client.admin_models import Finding
from toolkit_client.errors import ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.doctor.check import Patient, ok, problem, warning
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Organization

__all__ = ["check_database", "check_hub_database"]

#: Seconds after which the look through a large SQLite file is given up.
LOOK_THROUGH_S = 12.0
#: A write-ahead log of this size means that a reader has kept it from being folded in.
LARGE_WAL = 256 * 2**20
OLDEST_POSTGRESQL = 13
RESTORE = "stop the units, keep a copy of the file, and restore the last good one (docs/operations.md says how to copy)"


class _Undo(Exception):
    """Ends a transaction without a trace."""


def check_database(patient: Patient) -> Iterator[Finding]:
    store, url = patient.store, patient.store.engine.url
    sqlite_file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if sqlite_file is not None and not sqlite_file.is_file():
        yield problem("database", f"there is no {sqlite_file}", "`make run` makes it; or restore it from a copy")
        return
    try:
        present, needed = store.schema()
        if present == needed:
            _write_and_undo(store)
    except ServiceUnavailable as error:
        yield problem(
            "database", error.message, f"is {url.render_as_string(hide_password=True)} in reach, and not full?"
        )
        return
    if present != needed:
        yield _schema(present, needed)
        return
    yield ok("database", f"schema {present}, can be written")
    yield from _sqlite(store, sqlite_file) if sqlite_file is not None else _postgresql(store)


def _schema(present: str | None, needed: str | None) -> Finding:
    if present is None:
        return problem("database", "the database is empty", "`make run`, or a start of the service, makes the tables")
    return problem(
        "database",
        f"the tables are at {present}, this version needs {needed}",
        "restart the service, which brings them forward; a database of a newer version needs that version",
    )


def _write_and_undo(store: Store) -> None:
    try:
        with store.begin() as session:
            session.execute(update(Organization).values(name=Organization.name))
            raise _Undo
    except _Undo:
        return


# --- SQLite ---------------------------------------------------------------------------------------------------------------


def _sqlite(store: Store, file: Path) -> Iterator[Finding]:
    with store.begin(write=False) as session:
        mode = str(session.scalar(text("PRAGMA journal_mode")))
    if mode != "wal":
        yield problem(
            "database: mode", f"the journal mode is {mode}, not WAL: readers block writers", "restart the units"
        )
    log = file.with_name(f"{file.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > LARGE_WAL:
        words = f"the write-ahead log has {size / 2**20:.0f} MiB: something keeps it from being folded in"
        yield warning("database: mode", words, "restart the service; it is folded in when nobody reads an old state")
    yield _whole("database: content", file)


def check_hub_database(patient: Patient) -> Iterator[Finding]:
    """JupyterHub's own: users' tokens and servers."""
    file = patient.site.state / "hub.sqlite"
    if not file.is_file():
        yield problem("database: hub", f"there is no {file}", "the hub makes it when it starts")
        return
    yield _whole("database: hub", file)


def _whole(name: str, file: Path) -> Finding:
    deadline = clock.monotonic() + LOOK_THROUGH_S
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    try:
        connection.set_progress_handler(lambda: clock.monotonic() > deadline, 10_000)
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return warning(name, f"{file} is too large to look through in {LOOK_THROUGH_S:.0f} s", _by_hand(file))
        return problem(name, f"{file} cannot be read: {error}", RESTORE)
    except sqlite3.DatabaseError as error:
        return problem(name, f"{file} is damaged: {error}", RESTORE)
    finally:
        connection.close()
    if found != ["ok"]:
        return problem(name, f"{file} is damaged: {'; '.join(found)[:300]}", RESTORE)
    return ok(name, f"{file.name} is whole ({file.stat().st_size / 2**20:.1f} MiB)")


def _by_hand(file: Path) -> str:
    return f"look through it at a quiet hour: sqlite3 {file} 'PRAGMA quick_check'"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------------


def _postgresql(store: Store) -> Iterator[Finding]:
    with store.begin(write=False) as session:
        number = int(session.scalar(text("SHOW server_version_num")) or 0)
        version = str(session.scalar(text("SHOW server_version")))
        yield _version(number // 10000, version)
        yield from _durability(session)
        yield _connections(session)
        yield from _encryption(session)


def _version(major: int, version: str) -> Finding:
    if major < OLDEST_POSTGRESQL:
        return problem("database: version", f"PostgreSQL {version} is older than {OLDEST_POSTGRESQL}", "update it")
    return ok("database: version", f"PostgreSQL {version}")


def _durability(session: Session) -> Iterator[Finding]:
    off = [name for name in ("fsync", "full_page_writes") if session.scalar(text(f"SHOW {name}")) == "off"]
    if off:
        words = f"{' and '.join(off)} is off at the server: a power cut can lose or damage what was acknowledged"
        yield warning("database: durability", words, f"set {off[0]} = on in postgresql.conf, and reload it")


def _connections(session: Session) -> Finding:
    used = int(session.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")) or 0)
    most = int(session.scalar(text("SHOW max_connections")) or 0)
    if most and used > 0.8 * most:
        words = f"{used} of {most} connections of the server are in use; the units need about 30"
        return warning("database: connections", words, "raise max_connections, or find out who else holds them")
    return ok("database: connections", f"{used} of {most} connections in use")


def _encryption(session: Session) -> Iterator[Finding]:
    address = session.scalar(text("SELECT host(inet_server_addr())"))
    encrypted = session.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    if address and not str(address).startswith(("127.", "::1")) and not encrypted:
        words = (
            f"the connection to {address} is not encrypted: run secrets and password hashes cross the network in clear"
        )
        yield warning("database: encryption", words, "add ?sslmode=verify-full to c.Toolkit.database_url")
