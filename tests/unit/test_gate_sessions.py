"""Codes and sessions of the job hosts: once, for one host, for one browser, for their time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.unit.conftest import People
from toolkit_hub import clock
from toolkit_hub.domain import gate_sessions

HOST = "0b0e2f8a-55b1-4b57-9a1d-0a3c7f1f9a10.localhost:8001"
STATE = "state-of-the-browser"


@pytest.fixture
def later() -> Iterator[list[float]]:
    """Seconds by which the clock is ahead."""
    ahead = [0.0]
    clock.set_clock(lambda: time.time() + ahead[0])
    yield ahead
    clock.set_clock()


class Visitor:
    """Alice on the way to a job of hers."""

    def __init__(self, people: People) -> None:
        self.store = people.store
        self.job_id = people.submit("alice").id
        with people.store.begin() as session:
            self.user_id = people.actor(session, "alice").user_id

    def code(self) -> str:
        with self.store.begin() as session:
            return gate_sessions.create_code(session, user_id=self.user_id, job_id=self.job_id, host=HOST, state=STATE)

    def take(self, code: str, host: str = HOST, state: str = STATE) -> tuple[str, str] | None:
        with self.store.begin() as session:
            return gate_sessions.take_code(session, code, host, state)

    def key(self, host: str = HOST) -> str:
        with self.store.begin() as session:
            return gate_sessions.create_session(session, user_id=self.user_id, job_id=self.job_id, host=host)

    def user_at(self, key: str, host: str = HOST) -> str | None:
        with self.store.begin(write=False) as session:
            return gate_sessions.session_user(session, key, host)


@pytest.fixture
def visitor(people: People) -> Visitor:
    return Visitor(people)


def test_a_code_works_once(visitor: Visitor) -> None:
    code = visitor.code()
    assert visitor.take(code, host=HOST.upper()) == (visitor.user_id, visitor.job_id)
    assert visitor.take(code) is None


@pytest.mark.parametrize("wrong", [{"host": "other.localhost:8001"}, {"state": "another browser"}, {"state": ""}])
def test_a_code_shown_in_the_wrong_place_is_refused_and_used_up(visitor: Visitor, wrong: dict[str, str]) -> None:
    code = visitor.code()
    assert visitor.take(code, **wrong) is None
    assert visitor.take(code) is None


def test_a_code_lives_for_thirty_seconds(visitor: Visitor, later: list[float]) -> None:
    code = visitor.code()
    later[0] = 31
    assert visitor.take(code) is None


def test_a_session_opens_its_host_for_a_day(visitor: Visitor, later: list[float]) -> None:
    key = visitor.key()
    assert visitor.user_at(key) == visitor.user_id
    assert visitor.user_at(key, "other.localhost:8001") is None
    assert visitor.user_at("guessed") is None
    later[0] = 86401
    assert visitor.user_at(key) is None


def test_signing_out_ends_one_session_and_the_hubs_log_out_all(visitor: Visitor) -> None:
    first, second, code = visitor.key(), visitor.key(), visitor.code()
    with visitor.store.begin() as session:
        gate_sessions.end_session(session, first, HOST)
    assert visitor.user_at(first) is None
    assert visitor.user_at(second) == visitor.user_id
    with visitor.store.begin() as session:
        gate_sessions.end_sessions(session, visitor.user_id)
    assert visitor.user_at(second) is None
    assert visitor.take(code) is None


def test_the_store_holds_only_hashes_and_drops_what_has_expired(visitor: Visitor, later: list[float]) -> None:
    key, code = visitor.key(), visitor.code()
    with visitor.store.begin(write=False) as session:
        rows = [
            *session.execute(text("SELECT * FROM gate_sessions")),
            *session.execute(text("SELECT * FROM login_codes")),
        ]
    assert len(rows) == 2
    assert not any(secret in str(rows) for secret in (key, code, STATE))
    later[0] = 2 * 86400
    visitor.key(), visitor.code()
    with visitor.store.begin(write=False) as session:
        assert session.scalar(text("SELECT count(*) FROM gate_sessions")) == 1
        assert session.scalar(text("SELECT count(*) FROM login_codes")) == 1
