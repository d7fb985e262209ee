"""What is due at the hub, on both databases: names follow, names that are still in use are kept, nothing is done twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import update

from tests.unit.conftest import People
from toolkit_hub import clock
from toolkit_hub.domain.hub_users import HubChange, hub_changes, mark_changed, sign_in_name, signs_in, wanted_hub_name
from toolkit_hub.queue.hub_api import HubApi, HubRefused, HubUnavailable
from toolkit_hub.queue.hub_mirror import HubMirror
from toolkit_hub.store.access_tables import Lock
from toolkit_hub.store.tables import Job, Run, User


def change_user(people: People, hub_name: str, **values: object) -> str:
    with people.store.begin() as session:
        id_ = people.actor(session, hub_name).user_id
        session.execute(update(User).where(User.id == id_).values(**values))
        return id_


def due(people: People) -> list[HubChange]:
    with people.store.begin(write=False) as session:
        return hub_changes(session)


def end_jobs(people: People, *, removed: bool) -> None:
    with people.store.begin() as session:
        session.execute(update(Job).values(state="SUCCEEDED"))
        session.execute(update(Run).values(state="SUCCEEDED", server_removed=removed))


def test_nothing_is_due_at_first(people: People) -> None:
    assert due(people) == []


def test_a_rename_waits_for_the_last_server(people: People) -> None:
    people.submit("alice")
    alice = change_user(people, "alice", name="alicia")
    assert due(people) == []
    end_jobs(people, removed=False)
    assert due(people) == [], "the hub still has the server, under the old name"
    end_jobs(people, removed=True)
    assert due(people) == [HubChange(alice, "alice", "alicia")]
    assert due(people)[0].verb == "rename"


def test_a_rename_takes_runs_along_that_were_submitted_meanwhile(people: People) -> None:
    alice = change_user(people, "alice", name="alicia")
    change = due(people)[0]
    people.submit("alice")
    with people.store.begin() as session:
        mark_changed(session, change)
    with people.store.begin() as session:
        mark_changed(session, change)  # as after a crash: it changes nothing more
    with people.store.begin(write=False) as session:
        assert session.get_one(User, alice).hub_name == "alicia"
        assert {run.owner for run in session.query(Run)} == {"alicia"}
    assert due(people) == []


@pytest.fixture
def moved_clock() -> Iterator[None]:
    yield
    clock.set_clock()


def test_a_name_that_was_just_given_up_is_nobodys(people: People, moved_clock: None) -> None:
    """For some seconds a token of the one before may still pass for it."""
    alice = change_user(people, "alice", name="alicia")
    with people.store.begin() as session:
        mark_changed(session, hub_changes(session)[0])
        assert wanted_hub_name(session, "alice", "0123456789") == "alice-012345"
        assert wanted_hub_name(session, "alice", alice) == "alice", "its own it may take back"
        clock.set_clock(lambda: time.time() + 90)
        assert wanted_hub_name(session, "alice", "0123456789") == "alice"


def test_names_change_hands_in_order(people: People, moved_clock: None) -> None:
    """alice → bob while bob → carol: nobody ever has a name at the hub that is somebody else's there."""
    alice, bob = change_user(people, "alice", name="x"), change_user(people, "bob", name="carol")
    change_user(people, "alice", name="bob")
    seen = {"admin", "alice", "bob"}
    for minute in range(5):
        clock.set_clock(lambda later=90 * minute: time.time() + later)
        for change in due(people):
            assert change.to not in seen
            seen = (seen - {change.name}) | {str(change.to)}
            with people.store.begin() as session:
                mark_changed(session, change)
    assert due(people) == []
    with people.store.begin(write=False) as session:
        assert (session.get_one(User, alice).hub_name, session.get_one(User, bob).hub_name) == ("bob", "carol")


def test_who_may_not_sign_in_goes_and_comes_back(people: People) -> None:
    alice = change_user(people, "alice", disabled=clock.now())
    assert due(people) == [HubChange(alice, "alice", None)]
    assert due(people)[0].verb == "remove"
    with people.store.begin() as session:
        assert sign_in_name(session, "alice") is None
        assert not signs_in(session, "alice")
        mark_changed(session, due(people)[0])
    assert due(people) == []
    with people.store.begin() as session:
        session.execute(update(User).where(User.id == alice).values(disabled=None))
        assert sign_in_name(session, "alice") == "alice", "before the mirror has given the name back"
        assert signs_in(session, "alice")
    assert due(people) == [HubChange(alice, None, "alice")]


def test_a_name_that_the_hub_still_uses_is_not_given_to_another(people: People) -> None:
    people.submit("alice")
    alice = change_user(people, "alice", archived=clock.now(), disabled=clock.now())
    with people.store.begin() as session:
        assert wanted_hub_name(session, "alice", "0123456789") == "alice-012345"
        bob = people.actor(session, "bob").user_id
        made = wanted_hub_name(session, "alice", bob)
        session.execute(update(User).where(User.id == bob).values(name="alice", hub_name=made))
        assert sign_in_name(session, "alice") == made
        assert not signs_in(session, "alice")
    assert due(people) == []
    end_jobs(people, removed=True)
    assert due(people)[0] == HubChange(alice, "alice", None)


def test_who_is_locked_does_not_sign_in(people: People) -> None:
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        session.add(
            Lock(
                resource_id=alice.user_id,
                resource_type="user",
                urn=session.get_one(User, alice.user_id).urn,
                level="organization",
                created=clock.now(),
                created_by="acme.admin",
            )
        )
        session.flush()
        assert sign_in_name(session, "alice") is None
        assert not signs_in(session, "alice")


@pytest.mark.parametrize("problem", [HubUnavailable("away"), HubRefused(409, "alice has servers")])
def test_the_mirror_tries_again_what_the_hub_did_not_take(people: People, problem: Exception) -> None:
    change_user(people, "alice", name="alicia")
    gone = change_user(people, "bob", disabled=clock.now())
    asked: list[tuple[str, str, str | None]] = []

    class Hub(HubApi):
        """Another machine, which does not answer at first."""

        async def change_user(self, verb: str, name: str, to: str | None = None) -> None:
            asked.append((verb, name, to))
            if len(asked) == 1:
                raise problem

    async def twice() -> None:
        hub = Hub("http://127.0.0.1:9", "token")
        mirror = HubMirror(people.store, hub)
        await mirror.run_once()
        await mirror.run_once()
        await mirror.run_once()
        await hub.close()

    asyncio.run(twice())
    assert asked == [
        ("remove", "bob", None),
        ("rename", "alice", "alicia"),
        ("remove", "alice", None),  # whoever came in by the old name meanwhile
        ("remove", "bob", None),
    ]
    with people.store.begin(write=False) as session:
        assert session.get_one(User, gone).hub_name is None
    assert due(people) == []
