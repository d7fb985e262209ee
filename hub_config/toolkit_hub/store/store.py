"""The store: one database that service, gate and the hub's authenticator open, each in its own process.

A unit of work is a plain function that takes a `Session`; `Store.write` and `Store.read` run it in one transaction. A writer
takes its lock when it begins (see `engines`), so that no transaction fails half-way for a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from toolkit_hub.store.engines import as_toolkit_error, make_engine, transaction_options

__all__ = ["Store"]

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


class Store:
    """Transactions on the toolkit's database, for threads and for coroutines."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)
        # One writer: the database has one anyway, and a queue of our own is fair where its lock is not.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._watchers: set[asyncio.Event] = set()

    def migrate(self) -> None:
        """Bring the schema to this version's (Alembic), in one transaction: all of it or nothing, and one unit at a time.

        The transaction is ours, as Alembic itself ends one after each step on SQLite.
        """
        config = _alembic_config()
        with self.engine.connect() as connection, _tables_may_be_remade(connection), connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            _check_foreign_keys(connection)

    def schema(self) -> tuple[str | None, str | None]:
        """The revision that the database is at (None: it is empty), and the one that this version needs."""
        with self.begin(write=False) as session:
            present = MigrationContext.configure(session.connection()).get_current_revision()
        return present, ScriptDirectory.from_config(_alembic_config()).get_current_head()

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Session]:
        """A session in one transaction; it commits at the end, or rolls back when the block raises.

        Raises `ServiceUnavailable` when the database does not answer or is busy for too long, `InvalidRequest` when it does
        not take a value.
        """
        options = transaction_options(self.engine, write=write)
        try:
            with (
                self.engine.connect().execution_options(**options) as connection,
                Session(bind=connection, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session
        except SQLAlchemyError as error:
            meant = as_toolkit_error(error)
            if meant is None:
                raise
            raise meant from error

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


@contextmanager
def _tables_may_be_remade(connection: Connection) -> Iterator[None]:
    """On SQLite a changed table is made anew under the old one's name, which checks of foreign keys would not let happen.

    The switch does nothing within a transaction, so it stands around it; the keys are checked before the commit instead.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        connection.rollback()
        driver.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: Connection) -> None:
    """Raises `RuntimeError` for a row that a migration has left without what it refers to."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise RuntimeError(f"the migration left a broken reference in the table {broken[0]}; nothing was changed")


def _alembic_config() -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
