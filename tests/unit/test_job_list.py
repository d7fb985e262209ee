"""Lists of jobs: who sees which, filters, and the same JSON as for one job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_core import to_json

from tests.unit.conftest import People
from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_client.models import Job, Run
from toolkit_hub import clock
from toolkit_hub.domain import job_changes, job_list, jobs


@pytest.fixture(autouse=True)
def still() -> Any:
    """Run times do not go on between two answers."""
    clock.set_clock(lambda: 1_800_000_000.0)
    yield
    clock.set_clock()


def listed(people: People, user: str, **wanted: Any) -> list[str]:
    with people.store.begin(write=False) as session:
        page = job_list.list_jobs(session, people.site, people.actor(session, user), job_list.JobFilter(**wanted))
    return [job["id"] for job in page["items"]]


def test_one_job_and_a_list_say_the_same(people: People) -> None:
    spec = {
        "name": "all",
        "tags": ["a=b", "c"],
        "ports": ["6006:public"],
        "environmentVars": ["A=1"],
        "resources": {"cpu": 0.5, "mem": 0.25},
        "restartable": True,
        "bid": 3,
    }
    made = people.submit("alice", **spec)
    with people.store.begin(write=False) as session:
        alice = people.actor(session, "alice")
        one = jobs.get_job(session, people.site, alice, made.id)
        page = job_list.list_jobs(session, people.site, alice, job_list.JobFilter())
    in_list = json.loads(to_json(page["items"][0]))
    assert in_list == json.loads(one.model_dump_json(by_alias=True))
    assert set(in_list) == {field.alias for field in Job.model_fields.values()}
    assert set(in_list["runs"][0]) == {field.alias for field in Run.model_fields.values()}
    assert Job.model_validate(in_list) == one


def test_filters(people: People) -> None:
    first = people.submit("alice", name="first", tags=["k=v", "only"])
    second = people.submit("alice", tags=["k=v2", "K=v"])
    other = people.submit("bob", tags=["k=v"])
    with people.store.begin() as session:
        job_changes.kill_job(session, people.site, people.actor(session, "bob"), other.id)
    assert listed(people, "alice") == [second.id, first.id]
    assert listed(people, "admin") == [other.id, second.id, first.id]
    assert listed(people, "admin", mine=True) == []
    assert listed(people, "admin", account="acme.alice") == [second.id, first.id]
    assert listed(people, "alice", account="acme.alice", mine=True) == [second.id, first.id]
    assert listed(people, "alice", name="first") == [first.id]
    assert listed(people, "admin", tag="k=v") == [other.id, first.id]
    assert listed(people, "admin", tag="k") == [other.id, second.id, first.id]
    assert listed(people, "admin", tag="only") == [first.id]
    assert listed(people, "admin", tag="k=%") == []
    for user in ("admin", "bob"):
        assert listed(people, user, states=frozenset({"CANCELLED"})) == [other.id]
        assert other.id not in listed(people, user, states=frozenset({"QUEUING", "RUNNING"}))
    assert listed(people, "bob", states=frozenset({"QUEUING", "CANCELLED"}), mine=True) == [other.id]
    assert listed(people, "bob", states=frozenset({"QUEUING"}), mine=True) == []


def test_anothers_account_reads_like_one_that_is_not_there(people: People) -> None:
    words = set()
    for account in ("acme.alice", "acme.nobody", "odd\0name"):
        with pytest.raises(NotFound) as caught:
            listed(people, "bob", account=account)
        words.add((caught.value.message, caught.value.hint))
    assert len(words) == 1


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 30, "1.5"])
def test_what_is_no_cursor(people: People, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="no cursor"):
        listed(people, "alice", cursor=cursor)
