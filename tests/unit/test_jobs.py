"""Submitting, the life of a run, and killing, on the rows alone."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.models import Job, JobSpec, JobState
from toolkit_hub.domain import events, job_changes, job_list, jobs, launch, runs
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store.tables import Run


def admit(people: People) -> list[str]:
    with people.store.begin() as session:
        return list(admit_now(session, people.site).starts)


def read(people: People, job: Job) -> Job:
    with people.store.begin(write=False) as session:
        return jobs.get_job(session, people.site, people.actor(session, "admin"), job.id)


def start(people: People, job: Job) -> None:
    with people.store.begin() as session:
        runs.mark_started(session, job.runs[-1].server_name, "c" * 64, "10.0.0.2", "sha256:1", "node")


def end(people: People, job: Job, **ending: Any) -> bool:
    with people.store.begin() as session:
        return runs.mark_ended(session, job.runs[-1].id, runs.Ending(**ending))


def kill(people: People, job: Job, user: str = "alice") -> Job:
    with people.store.begin() as session:
        return job_changes.kill_job(session, people.site, people.actor(session, user), job.id)


def test_the_life_of_a_run(people: People) -> None:
    job = people.submit("alice", name="sample")
    assert (job.state, job.account, job.creator) == ("QUEUING", "acme.alice", "acme.alice")
    assert admit(people) == [job.runs[0].id]
    assert read(people, job).state == "QUEUED"
    start(people, job)
    assert read(people, job).state == "RUNNING"
    assert end(people, job, exit_code=3)
    ended = read(people, job)
    assert (ended.state, ended.state_info, ended.runs[0].exit_code) == ("FAILED", "exit code 3", 3)
    assert ended.runs[0].ip is None
    assert not end(people, job, exit_code=0), "an ended run never changes again"
    with people.store.begin() as session:
        told = [event.type for event in events.since(session, 0, job.urn)]
    assert told == ["job.submitted", "run.queued", "run.running", "run.failed"]


def test_ended_before_the_start_was_told(people: People) -> None:
    """A short command ends before the spawner's `started` arrives."""
    job = people.submit("alice")
    admit(people)
    end(people, job, exit_code=0)
    start(people, job)
    assert read(people, job).state == "SUCCEEDED"


def test_an_address_belongs_to_one_run(people: People) -> None:
    """Between a container's death and the record of it, its address may be the next container's."""
    first, second = people.submit("alice"), people.submit("bob")
    admit(people)
    start(people, first)
    assert read(people, first).runs[0].ip
    start(people, second)
    assert read(people, first).runs[0].ip is None
    assert read(people, second).runs[0].ip


@pytest.mark.parametrize(
    ("ending", "state", "info"),
    [
        ({"exit_code": 0}, "SUCCEEDED", ""),
        ({"exit_code": 127}, "FAILED", "exit code 127: command not found"),
        ({"exit_code": 139}, "FAILED", "exit code 139: ended by SIGSEGV (segmentation fault)"),
        ({"exit_code": 137, "oom_killed": True}, "FAILED", "killed: out of memory (limit 1.0 GiB, peak 1.0 GiB)"),
        ({"exit_code": None, "interrupted": True, "info": "removed"}, "INTERRUPTED", "removed"),
    ],
)
def test_how_it_ended_in_words(people: People, ending: dict[str, Any], state: str, info: str) -> None:
    job = people.submit("alice")
    admit(people)
    start(people, job)
    end(people, job, **ending)
    seen = read(people, job)
    assert (seen.state, seen.state_info) == (state, info)


def test_what_does_not_fit_waits_and_says_why(people: People) -> None:
    first = people.submit("alice", resources={"cpu": 3})
    second = people.submit("bob", resources={"cpu": 2})
    assert len(admit(people)) == 1
    assert read(people, second).state_info == "waiting for 2 CPUs: 3 of 4 in use"
    end(people, first, exit_code=0)
    assert len(admit(people)) == 1


@pytest.mark.parametrize("resources", [{"cpu": 5}, {"mem": 9}])
def test_what_can_never_fit_is_refused(people: People, resources: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="can never start here: it asks for"):
        people.submit("alice", resources=resources)


@pytest.mark.parametrize(
    "spec",
    [
        {"resources": {"mem": 0}},
        {"resources": {"mem": -1}},
        {"resources": {"cpu": "nan"}},
        {"name": "Bad Name"},
        {"command": []},
        {"command": ["a\0b"]},
        {"environmentVars": ["novalue"]},
        {"environmentVars": ["TOOLKIT_JOB_ID=1"]},
        {"workdir": "relative"},
        {"unknown": 1},
    ],
)
def test_a_spec_that_is_not_valid(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobSpec.model_validate(spec)


def test_one_key_one_job(people: People) -> None:
    first = people.submit("alice", key="k")
    assert people.submit("alice", key="k").id == first.id
    assert people.submit("bob", key="k").id != first.id, "keys belong to their user"
    with pytest.raises(Conflict, match="another request"):
        people.submit("alice", key="k", name="other")


def test_a_name_is_free_when_its_job_has_ended(people: People) -> None:
    job = people.submit("alice", name="same")
    with pytest.raises(Conflict, match=job.id):
        people.submit("alice", name="same")
    people.submit("bob", name="same")
    kill(people, job)
    assert people.submit("alice", name="same").id != job.id


def test_interactive_jobs_are_limited(people: People) -> None:
    for _ in range(2):
        people.submit("alice", interactive=True)
    with pytest.raises(Conflict, match="2 interactive jobs"):
        people.submit("alice", interactive=True)
    people.submit("bob", interactive=True)


def test_killing_while_it_waits(people: People) -> None:
    job = people.submit("alice")
    assert kill(people, job).state == "CANCELLED"
    assert admit(people) == []
    with pytest.raises(Conflict, match="ended already"):
        kill(people, job)


def test_killing_while_it_starts(people: People) -> None:
    job = people.submit("alice")
    admit(people)
    assert kill(people, job).state == "CANCELLING"
    assert kill(people, job).state == "CANCELLING", "asking twice is the same as once"
    with people.store.begin() as session:
        run = session.get_one(Run, job.runs[0].id)
        assert not launch.wanted(session, run.server_name)
        with pytest.raises(Conflict, match="not to be started"):
            launch.launch_spec(session, people.site, people.places, "alice", run.server_name)
    start(people, job)
    assert read(people, job).state == "CANCELLING"
    end(people, job, exit_code=143)
    seen = read(people, job)
    assert (seen.state, seen.state_info) == ("CANCELLED", "killed by acme.alice")


def test_only_admitted_runs_are_launched_and_only_for_their_owner(people: People) -> None:
    job = people.submit("alice")
    server = job.runs[0].server_name

    def launched(session: Session, owner: str) -> launch.LaunchSpec:
        return launch.launch_spec(session, people.site, people.places, owner, server)

    with people.store.begin() as session, pytest.raises(Conflict):
        launched(session, "alice")
    admit(people)
    with people.store.begin() as session:
        spec = launched(session, "alice")
        assert spec.command == ["true"]
        assert spec.environment["TOOLKIT_JOB_ID"] == spec.environment["EAI_JOB_ID"] == job.id
        with pytest.raises(Conflict, match="no run"):
            launched(session, "bob")
        with pytest.raises(Conflict, match="no run"):
            launch.launch_spec(session, people.site, people.places, "alice", "anything")


def test_the_own_server_is_one(people: People) -> None:
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        first, new = jobs.own_server(session, people.site, alice)
        again, new_again = jobs.own_server(session, people.site, alice)
    assert new
    assert not new_again
    assert first.id == again.id
    assert first.interactive


def test_jobs_are_found_by_id_full_name_and_bare_name(people: People) -> None:
    job = people.submit("alice", name="sample")
    with people.store.begin() as session:
        alice, admin = people.actor(session, "alice"), people.actor(session, "admin")
        for actor, reference in ((alice, job.id), (alice, "sample"), (alice, "acme.alice.sample"), (admin, job.id)):
            assert jobs.get_job(session, people.site, actor, reference).id == job.id


def test_pages_of_a_list(people: People) -> None:
    made = [people.submit("alice").id for _ in range(5)]
    seen: list[str] = []
    cursor = None
    with people.store.begin(write=False) as session:
        while True:
            wanted = job_list.JobFilter(limit=2, cursor=cursor)
            page = job_list.list_jobs(session, people.site, people.actor(session, "alice"), wanted)
            seen += [job["id"] for job in page["items"]]
            if page["next"] is None:
                break
            cursor = page["next"]
    assert seen == made[::-1]


def test_server_names_fit_the_hub_and_never_repeat() -> None:
    names = {runs.server_name_for(runs.new_id()) for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == 27 and name.isalnum() and name.islower() and name[0] == "j" for name in names)


def test_states_know_whether_they_are_final() -> None:
    assert {state for state in JobState if not state.alive} == {"SUCCEEDED", "FAILED", "CANCELLED", "INTERRUPTED"}
