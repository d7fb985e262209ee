"""The first rules of access, as decisions and through the store."""

from __future__ import annotations

import pytest

from tests.unit.conftest import People
from toolkit_client.errors import NotFound, PermissionDenied
from toolkit_hub.domain import access, job_list, jobs, users
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.decision import Resource, Subject, decide

OWNER = Subject("owner", "org", admin=False)
OTHER = Subject("other", "org", admin=False)
ADMIN = Subject("admin", "org", admin=True)
STRANGER = Subject("owner", "elsewhere", admin=True)
JOB = Resource("org:account:a:job:j", frozenset({"owner"}))
SERVER = Resource("org:account:a:job:s", frozenset({"owner"}), carries_owner_rights=True)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_owner_may_and_another_organization_may_not(action: str) -> None:
    assert decide(OWNER, action, JOB)
    assert not decide(STRANGER, action, JOB)


@pytest.mark.parametrize("action", ["job:get", "job:set", "job:exec", "job:new"])
def test_another_user_may_not_and_an_administrator_may(action: str) -> None:
    assert not decide(OTHER, action, JOB)
    assert decide(ADMIN, action, JOB)


def test_nobody_else_runs_code_in_a_users_own_server() -> None:
    assert decide(OWNER, "job:exec", SERVER)
    assert not decide(ADMIN, "job:exec", SERVER)
    assert decide(ADMIN, "job:get", SERVER)


def test_an_action_that_was_never_declared_is_an_error() -> None:
    with pytest.raises(KeyError):
        decide(OWNER, "job:fly", JOB)


def test_what_one_may_not_see_does_not_exist(people: People) -> None:
    job = people.submit("alice")
    with people.store.begin() as session:
        bob = people.actor(session, "bob")
        with pytest.raises(NotFound):
            jobs.get_job(session, people.site, bob, job.id)
        with pytest.raises(NotFound):
            jobs.kill_job(session, people.site, bob, job.id)
        assert job_list.list_jobs(session, people.site, bob, job_list.JobFilter())["items"] == []
        assert access.allowed(session, people.actor(session, "admin"), "job:exec", job.urn)


def test_what_one_may_see_but_not_do_is_refused(people: People) -> None:
    with people.store.begin() as session, pytest.raises(PermissionDenied):
        users.create_user(session, people.actor(session, "bob"), people.new_user("eve"))


def test_the_list_is_what_the_decision_allows(people: People) -> None:
    made = {people.submit(name).id for name in ("alice", "bob", "alice")}
    with people.store.begin() as session:
        for name in ("admin", "alice", "bob"):
            actor = people.actor(session, name)
            listed = {
                job["id"] for job in job_list.list_jobs(session, people.site, actor, job_list.JobFilter())["items"]
            }
            by_decision = {
                job_id
                for job_id in made
                if access.allowed(session, actor, "job:get", jobs.find_job(session, actor, job_id).urn)
            }
            assert listed == by_decision
