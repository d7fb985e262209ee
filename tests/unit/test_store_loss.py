"""The database goes away, is busy, or does not like a value: what is said, and that the store recovers by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.support.postgres import PASSWORD, Cluster
from toolkit_client.errors import InvalidRequest, ServiceUnavailable
from toolkit_hub.domain import events
from toolkit_hub.store import Store, engines
from toolkit_hub.store.engines import database_url, shown_url
from toolkit_hub.store.tables import User


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One of its own: it is stopped and started."""
    made = Cluster()
    yield made
    made.close()


def count(store: Store) -> int:
    with store.begin(write=False) as session:
        return events.last_seq(session)


def add(store: Store) -> int:
    with store.begin() as session:
        return events.record(session, "test", "urn")


def test_the_server_stops_and_comes_back(cluster: Cluster) -> None:
    store = Store(cluster.network_url(cluster.create()))
    store.migrate()
    assert add(store) == 1
    cluster.stop()
    for work in (count, add):
        with pytest.raises(ServiceUnavailable, match="the database does not answer") as caught:
            work(store)
        assert PASSWORD not in str(caught.value)
        assert "toolkit admin doctor" in caught.value.hint
    cluster.start()
    assert (count(store), add(store)) == (1, 2)
    store.close()


def test_connections_are_cut_between_and_within_transactions(postgres: Cluster, migrated_template: str) -> None:
    with postgres.database(migrated_template) as name:
        store = Store(postgres.url(name))
        add(store)
        postgres.cut_connections(name)
        add(store)  # a cut idle connection is noticed before it is used

        def cut_within(session: Session) -> None:
            events.record(session, "test", "urn")
            postgres.cut_connections(name)
            events.record(session, "test", "urn")

        with pytest.raises(ServiceUnavailable), store.begin() as session:
            cut_within(session)
        with store.begin(write=False) as session:
            assert len(session.scalars(select(events.Event)).all()) == 2, "half a transaction leaves nothing"
        store.close()


def test_a_busy_database_is_said_in_time(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_S", 1)
    holder, other = Store(store_url), Store(store_url)
    with holder.begin() as session:
        events.record(session, "test", "urn")
        with pytest.raises(ServiceUnavailable, match=r"busy|locked"):
            add(other)
    assert add(other) == 2
    holder.close()
    other.close()


def test_a_reader_may_not_write_on_postgresql(postgres: Cluster, migrated_template: str) -> None:
    """As on a standby: said as the database's condition."""
    with postgres.database(migrated_template) as name:
        store = Store(postgres.url(name))
        with pytest.raises(ServiceUnavailable, match="read-only"), store.begin(write=False) as session:
            session.execute(text("DELETE FROM events"))
        store.close()


def test_a_unit_that_is_killed_frees_the_lock(postgres: Cluster, migrated_template: str) -> None:
    with postgres.database(migrated_template) as name:
        killed, other = Store(postgres.url(name)), Store(postgres.url(name))
        begun, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with pytest.raises(ServiceUnavailable), killed.begin() as session:
                events.record(session, "test", "urn")
                begun.set()
                go_on.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        begun.wait(10)
        postgres.cut_connections(name)
        assert add(other)
        go_on.set()
        thread.join()
        killed.close()
        other.close()


def test_a_value_that_postgresql_does_not_take(postgres: Cluster, migrated_template: str) -> None:
    """It keeps no NUL bytes in text; whoever sends one is told, and nothing is broken."""
    with postgres.database(migrated_template) as name:
        store = Store(postgres.url(name))
        with pytest.raises(InvalidRequest, match="NUL"), store.begin(write=False) as session:
            session.scalar(select(User).where(User.name == "a\0b"))
        assert add(store) == 1
        store.close()


def test_what_was_said_about_a_failed_statement_holds_no_values(store: Store) -> None:
    """Rows hold secrets of runs, and errors end in logs."""
    with pytest.raises(Exception, match="nowhere") as caught, store.begin() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": "the run's own secret"})
    assert "own secret" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls(scheme: str) -> None:
    url = f"{scheme}://me:geheim%40@db.example.org/toolkit?sslmode=require&password=other"
    assert database_url(url).drivername == "postgresql+psycopg"
    shown = shown_url(url)
    assert "geheim" not in shown
    assert "other" not in shown
    assert "db.example.org/toolkit" in shown


@pytest.mark.parametrize("url", ["", "geheim", "mysql://me:geheim@host/x", "postgresql://me:geheim@host:port/x"])
def test_urls_that_are_none_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"c\.Toolkit\.database_url") as caught:
        Store(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
