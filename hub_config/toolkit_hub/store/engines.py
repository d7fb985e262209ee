"""The two databases that a store may stand on, and what is done so that both behave alike.

Both have one writer at a time, across all processes, from the beginning of a transaction to its end: SQLite by BEGIN
IMMEDIATE, PostgreSQL by an advisory lock. So what a transaction reads holds until it commits (no two services admit the same
CPU twice), and events become visible in the order of their numbers. Readers see one moment of the database and wait for nobody.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from toolkit_client.errors import InvalidRequest, ServiceUnavailable, ToolkitError

__all__ = ["BUSY_TIMEOUT_S", "as_toolkit_error", "database_url", "make_engine", "shown_url", "transaction_options"]

#: Seconds that a writer waits for another process's transaction before it says that the database is busy.
BUSY_TIMEOUT_S = 15

#: Number of the advisory lock that a writer holds on PostgreSQL: "toolkit" in ASCII. Such locks belong to one database.
WRITER_LOCK = int.from_bytes(b"toolkit", "big")

#: Connections that one process keeps: a writer, four readers, and one for whoever asks directly.
POOL_SIZE = 6

#: What libpq is told unless the URL says otherwise: a server that went away without a word is noticed within seconds.
POSTGRESQL_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "application_name": "toolkit",
}

#: SQLSTATEs that tell of the server's condition and not of the statement, where psycopg calls them internal errors:
#: a standby that cannot be written to, a transaction that the server gave up.
_CONDITIONS = frozenset({"25006", "25P03"})

_HINT = "try again in a moment; an administrator can run `toolkit admin doctor`"


def database_url(text: str) -> URL:
    """The URL as SQLAlchemy takes it: `postgresql://` and `postgres://` mean the driver that the toolkit comes with.

    Raises `ValueError` without repeating the text, which may hold a password.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(
            "c.Toolkit.database_url is no database URL; it is written `postgresql://user@host/database` or `sqlite:///FILE`"
        ) from None
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(
            f"c.Toolkit.database_url names {url.get_backend_name()}; the toolkit works on SQLite and PostgreSQL"
        )
    return url


def shown_url(text: str) -> str:
    """The URL for people and logs: without its password, wherever it stands in it."""
    url = database_url(text)
    hidden = {name: "***" for name in url.query if "password" in name.lower() or name == "sslkey"}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def make_engine(text: str) -> Engine:
    """The engine, with its values kept out of error messages: rows hold secrets of runs and hashes of passwords."""
    url = database_url(text)
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    return _sqlite(url)


def transaction_options(engine: Engine, *, write: bool) -> dict[str, Any]:
    """Execution options of a connection that is about to begin a transaction."""
    options: dict[str, Any] = {"toolkit_write": write}
    if engine.dialect.name == "postgresql":
        # A writer reads what was committed before it got its lock; a snapshot would be older than that.
        options["isolation_level"] = "READ COMMITTED" if write else "REPEATABLE READ"
        options["postgresql_readonly"] = not write
    return options


def as_toolkit_error(error: SQLAlchemyError) -> ToolkitError | None:
    """What an error of the database means to whoever asked; None for one that is a mistake of ours."""
    if isinstance(error, DataError):
        # Text with a NUL byte, a number out of range: the request's own values.
        return InvalidRequest(f"the database does not take a value of this request: {_words(error)}", "")
    if isinstance(error, PoolTimeout):
        return ServiceUnavailable("all connections to the database are in use", _HINT)
    if not isinstance(error, DBAPIError):
        return None
    state = getattr(error.orig, "sqlstate", None)
    if state == "55P03":
        return ServiceUnavailable(f"another unit has kept the database busy for {BUSY_TIMEOUT_S} s", _HINT)
    if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated or state in _CONDITIONS:
        return ServiceUnavailable(f"the database does not answer: {_words(error)}", _HINT)
    return None


def _words(error: DBAPIError) -> str:
    """The driver's first line; the others repeat statements."""
    lines = str(error.orig).strip().splitlines()
    return lines[0] if lines else type(error.orig).__name__


# --- PostgreSQL -----------------------------------------------------------------------------------------------------------


def _postgresql(url: URL) -> Engine:
    defaults = {name: value for name, value in POSTGRESQL_DEFAULTS.items() if name not in url.query}
    engine = create_engine(
        url, connect_args=defaults, pool_size=POOL_SIZE, pool_pre_ping=True, pool_recycle=1800, hide_parameters=True
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    """One round trip. The time-out is the transaction's own, so that it also holds behind a pool of connections."""
    if connection.get_execution_options().get("toolkit_write", True):
        connection.exec_driver_sql(
            f"SELECT set_config('lock_timeout', '{BUSY_TIMEOUT_S}s', true), pg_advisory_xact_lock({WRITER_LOCK})"
        )


# --- SQLite ---------------------------------------------------------------------------------------------------------------


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    options = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    engine = create_engine(url, connect_args=options, pool_size=POOL_SIZE, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # pysqlite must not begin transactions behind our back
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("toolkit_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
