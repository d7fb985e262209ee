"""The store: one database that service, gate and the hub's authenticator open, each in its own process.

A unit of work is a plain function that takes a `Session`; `Store.write` and `Store.read` run it in one transaction. On
SQLite a writer takes the lock when it begins (BEGIN IMMEDIATE), so that no transaction fails half-way for a lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from toolkit_client.errors import ServiceUnavailable

__all__ = ["Store"]

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

#: Seconds that a writer waits for another process's transaction before it says that the database is busy.
BUSY_TIMEOUT_S = 15


class Store:
    """Transactions on the toolkit's database, for threads and for coroutines."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _make_engine(url)
        # One writer: SQLite has one anyway, and a queue of our own is fair where its busy handler is not.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._watchers: set[asyncio.Event] = set()

    def migrate(self) -> None:
        """Bring the schema to this version's (Alembic)."""
        config = AlembicConfig()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Session]:
        """A session in one transaction; it commits at the end, or rolls back when the block raises."""
        options = {"toolkit_write": write}
        with self.engine.connect().execution_options(**options) as connection:
            try:
                with Session(bind=connection, expire_on_commit=False) as session, session.begin():
                    yield session
            except OperationalError as error:
                raise ServiceUnavailable(
                    f"the database does not answer: {error.orig}", "try again; `toolkit admin doctor` checks it"
                ) from error

    async def write(
        self, work: Callable[Concatenate[Session, P], ResultT], *args: P.args, **kwargs: P.kwargs
    ) -> ResultT:
        """Run `work(session, …)` in a transaction of its own, off the event loop; its result is committed on return."""
        result = await asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: self._run(True, work, *args, **kwargs)
        )
        for watcher in self._watchers:
            watcher.set()
        return result

    async def read(
        self, work: Callable[Concatenate[Session, P], ResultT], *args: P.args, **kwargs: P.kwargs
    ) -> ResultT:
        """Run `work(session, …)` on a snapshot, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, lambda: self._run(False, work, *args, **kwargs)
        )

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set after each `write` of this process; whoever waits for it clears it."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _run(
        self, write: bool, work: Callable[Concatenate[Session, P], ResultT], *args: P.args, **kwargs: P.kwargs
    ) -> ResultT:
        with self.begin(write=write) as session:
            return work(session, *args, **kwargs)

    def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self.engine.dispose()


def _make_engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_size=6)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}, pool_size=6)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # pysqlite must not begin transactions behind our back
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("toolkit_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
