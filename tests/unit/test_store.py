"""Transactions, migrations and the clock."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_hub import clock
from toolkit_hub.domain import events
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Base, Event, Job


def test_migrations_give_the_tables_of_the_code(store: Store) -> None:
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_migrating_again_does_nothing(people: People) -> None:
    people.submit("alice")
    people.store.migrate()
    with people.store.begin(write=False) as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_an_exception_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.begin() as session:
        events.record(session, "test", "urn")
        raise RuntimeError
    with store.begin(write=False) as session:
        assert events.last_seq(session) == 0


def test_writers_of_two_processes_take_turns(tmp_path: Path) -> None:
    """Two stores on one file stand for two units: no write is lost, and none fails for a lock."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    Store(url).migrate()

    def work() -> None:
        mine = Store(url)
        for _ in range(50):
            with mine.begin() as session:
                count = events.last_seq(session)
                assert events.record(session, "test", f"urn{count}") == count + 1
        mine.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(url).begin(write=False) as session:
        assert session.scalar(select(func.count(func.distinct(Event.urn)))) == 200


def test_watchers_hear_of_writes(store: Store) -> None:
    async def watch() -> None:
        with store.watch() as changed:
            await store.read(events.last_seq)
            assert not changed.is_set()
            await store.write(_record)
            assert changed.is_set()

    asyncio.run(watch())


def _record(session: Session) -> int:
    return events.record(session, "test", "urn")


def test_times_are_utc_and_can_be_moved(store: Store) -> None:
    clock.set_clock(lambda: 1_000_000_000.0)
    try:
        with store.begin() as session:
            events.record(session, "test", "urn")
    finally:
        clock.set_clock()
    with store.begin(write=False) as session:
        assert session.scalars(select(Event)).one().time == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert clock.now().tzinfo is UTC
