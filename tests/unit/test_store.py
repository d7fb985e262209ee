"""Transactions, migrations and the clock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from tests.support.postgres import Cluster
from tests.unit.conftest import People
from toolkit_hub import clock
from toolkit_hub.domain import events, runs
from toolkit_hub.queue.loop import admit_now
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


def test_writers_of_two_processes_take_turns(store_url: str) -> None:
    """Several stores on one database stand for several units: no write is lost, and none fails for a lock."""

    def work() -> None:
        mine = Store(store_url)
        for _ in range(50):
            with mine.begin() as session:
                count = events.last_seq(session)
                assert events.record(session, "test", f"urn{count}") == count + 1
        mine.close()

    in_threads(work, 4)
    with opened(store_url) as store, store.begin(write=False) as session:
        assert session.scalar(select(func.count(func.distinct(Event.urn)))) == 200


def test_several_units_migrate_at_once(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As service and set-up do at a first start."""
    url = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    if backend == "postgresql":
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.url(cluster.create())

    program = "import sys; from toolkit_hub.store import Store; Store(sys.argv[1]).migrate()"
    units = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(3)]
    assert [unit.wait(60) for unit in units] == [0, 0, 0]
    with opened(url) as store:
        present, needed = store.schema()
        assert present == needed is not None


def test_the_schema_comes_in_one_transaction(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Else a second unit would begin between two steps of the first."""
    url = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    if backend == "postgresql":
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.url(cluster.create())
    commits: list[object] = []
    with opened(url) as store:
        event.listen(store.engine, "commit", commits.append)
        store.migrate()
    assert len(commits) == 1


def test_a_reader_sees_one_moment_and_waits_for_nobody(store_url: str) -> None:
    with opened(store_url) as reader, opened(store_url) as writer, writer.begin() as writing:
        with reader.begin(write=False) as session:
            assert events.last_seq(session) == 0
        events.record(writing, "test", "urn")
        with reader.begin(write=False) as session:
            assert events.last_seq(session) == 0
    with opened(store_url) as reader, reader.begin(write=False) as session:
        assert events.last_seq(session) == 1


def test_two_services_never_admit_more_than_there_is(people: People, people_url: str) -> None:
    """Both plan on the same rows at the same moment: the second one plans on what the first one has committed."""
    for _ in range(12):
        people.submit("alice", resources={"cpu": 1})
    together = threading.Barrier(4)
    admitted: list[str] = []

    def admit() -> None:
        with opened(people_url) as mine:
            for _ in range(3):
                together.wait(10)
                with mine.begin() as session:
                    admitted.extend(admit_now(session, people.site).starts)

    in_threads(admit, 4)
    with people.store.begin(write=False) as session:
        assert runs.held(session).cpu == people.site.total.cpu == len(admitted)


def test_jobs_submitted_at_once_have_numbers_of_their_own(people: People) -> None:
    in_threads(lambda: [people.submit("bob") for _ in range(10)], 4)
    with people.store.begin(write=False) as session:
        numbers = list(session.scalars(select(Job.seq)))
        named = dict(session.execute(select(Event.seq, Event.type).where(Event.seq.in_(numbers))).all())
    assert len(set(numbers)) == 40
    assert {named[number] for number in numbers} == {"job.submitted"}


def test_one_key_sent_at_once_gives_one_job(people: People) -> None:
    found: list[str] = []
    in_threads(lambda: found.append(people.submit("bob", key="the key").id), 16)
    assert len(found) == 16
    assert len(set(found)) == 1


def test_watchers_hear_of_writes(store: Store) -> None:
    async def watch() -> None:
        with store.watch() as changed:
            await store.read(events.last_seq)
            assert not changed.is_set()
            await store.write(_record)
            assert changed.is_set()

    asyncio.run(watch())


def in_threads(work: Callable[[], object], count: int) -> None:
    """Run `work` so many times at once; the first failure is the test's."""
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work) for _ in range(count)]:
            future.result(60)


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


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
