"""Time limits, on the rows and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.conftest import People
from toolkit_client.errors import Conflict
from toolkit_client.models import Job, JobPatch
from toolkit_hub import clock
from toolkit_hub.domain import events, job_changes, jobs, runs, time_limits, wording
from toolkit_hub.domain.queue_state import read_state
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.queue.planning.plan import plan
from toolkit_hub.store.tables import Run

HOUR = 3600


def started(people: People, **spec: Any) -> Job:
    job = people.submit("alice", **spec)
    with people.store.begin() as session:
        admit_now(session, people.site)
    with people.store.begin() as session:
        runs.mark_started(session, job.runs[0].server_name, "c" * 64, None, "sha256:1", "node")
    return read(people, job)


def read(people: People, job: Job) -> Job:
    with people.store.begin(write=False) as session:
        return jobs.get_job(session, people.site, people.actor(session, "admin"), job.id)


def enforce(people: People) -> list[str]:
    with people.store.begin(write=False) as session:
        due = time_limits.something_due(session)
    with people.store.begin() as session:
        before = events.last_seq(session)
        ended = time_limits.enforce(session)
        assert due == (events.last_seq(session) > before), "what is due is what is done"
        return ended


def change(people: People, job: Job, **patch: Any) -> Job:
    with people.store.begin() as session:
        return job_changes.change_job(session, people.site, people.actor(session, "alice"), job.id, JobPatch(**patch))


def warnings(people: People, job: Job) -> int:
    with people.store.begin(write=False) as session:
        return [event.type for event in events.since(session, 0, job.urn)].count("run.deadline_near")


@pytest.mark.parametrize(
    ("spec", "limit"),
    [
        ({}, 48 * HOUR),
        ({"restartable": True}, 48 * HOUR),
        ({"preemptable": True}, 0),
        ({"interactive": True}, 0),
        ({"preemptable": True, "maxRunTime": 60}, 60),
        ({"maxRunTime": 0}, 0),
    ],
)
def test_the_limit_of_a_job_that_names_none(people: People, spec: dict[str, Any], limit: int) -> None:
    assert people.submit("alice", **spec).max_run_time == limit


def test_it_warns_once_and_then_ends(people: People, move: Callable[[float], None]) -> None:
    job = started(people)
    run = job.runs[0]
    assert run.started is not None
    assert run.deadline == run.started + timedelta(hours=48)
    move(48 * HOUR - 901)
    assert enforce(people) == []
    assert warnings(people, job) == 0
    move(2)
    assert enforce(people) == []
    assert enforce(people) == []
    assert warnings(people, job) == 1
    move(900)
    assert enforce(people) == [run.id]
    assert enforce(people) == []
    seen = read(people, job)
    assert (seen.state, seen.state_info) == ("CANCELLING", "time limit 48 h: being ended")
    with people.store.begin() as session:
        assert job_changes.kill_job(session, people.site, people.actor(session, "alice"), job.id).state == "CANCELLING"
        runs.mark_ended(session, run.id, runs.Ending(143, ended=clock.now()))
    seen = read(people, job)
    assert (seen.state, seen.state_info, seen.runs[0].exit_code) == ("FAILED", "time limit 48 h", 143)


def test_a_tenth_of_a_short_limit_is_warning_enough(people: People, move: Callable[[float], None]) -> None:
    job = started(people, maxRunTime=600)
    move(539)
    enforce(people)
    assert warnings(people, job) == 0
    move(2)
    enforce(people)
    assert warnings(people, job) == 1


def test_who_ended_in_time_is_not_blamed_when_nobody_looked(people: People, move: Callable[[float], None]) -> None:
    """The service was down at the deadline; the command had ended by itself before."""
    job = started(people, maxRunTime=600)
    move(300)
    ended = clock.now()
    move(400)
    enforce(people)
    with people.store.begin() as session:
        runs.mark_ended(session, job.runs[0].id, runs.Ending(0, ended=ended))
    assert read(people, job).state == "SUCCEEDED"


def test_a_limit_can_be_moved_while_it_runs(people: People, move: Callable[[float], None]) -> None:
    job = started(people, maxRunTime=600)
    move(550)
    enforce(people)
    assert warnings(people, job) == 1
    change(people, job, max_run_time=1200)
    move(100)
    assert enforce(people) == []
    move(500)
    enforce(people)
    assert warnings(people, job) == 2, "a new deadline is warned of anew"
    assert change(people, job, max_run_time=0).runs[0].deadline is None
    move(10**6)
    assert enforce(people) == []
    change(people, job, max_run_time=10)
    assert enforce(people) == [job.runs[0].id]


def test_a_time_limit_does_not_restart(people: People, move: Callable[[float], None]) -> None:
    job = started(people, maxRunTime=60, restartable=True)
    move(61)
    enforce(people)
    with people.store.begin() as session:
        runs.mark_ended(session, job.runs[0].id, runs.Ending(None, "removed", interrupted=True, ended=clock.now()))
    seen = read(people, job)
    assert (seen.state, len(seen.runs)) == ("FAILED", 1)


def test_an_interrupted_restartable_job_waits_again(people: People) -> None:
    job = started(people, restartable=True)
    with people.store.begin() as session:
        runs.mark_ended(session, job.runs[0].id, runs.Ending(None, "its container was removed", interrupted=True))
    seen = read(people, job)
    assert (seen.state, [run.state for run in seen.runs]) == ("QUEUING", ["INTERRUPTED", "QUEUING"])
    assert seen.runs[0].server_name != seen.runs[1].server_name
    with people.store.begin() as session:
        assert admit_now(session, people.site).starts == (seen.runs[1].id,)
        assert session.get_one(Run, seen.runs[1].id).job.image_digest == "sha256:1"


def test_a_killed_restartable_job_stays_dead(people: People) -> None:
    job = started(people, restartable=True)
    with people.store.begin() as session:
        job_changes.kill_job(session, people.site, people.actor(session, "alice"), job.id)
        runs.mark_ended(session, job.runs[0].id, runs.Ending(None, "removed", interrupted=True))
    assert read(people, job).state == "CANCELLED"


def test_only_living_jobs_are_changed(people: People) -> None:
    other = people.submit("alice", name="taken")
    job = people.submit("alice")
    with pytest.raises(Conflict, match=other.id):
        change(people, job, name="taken")
    changed = change(people, job, name="mine", tags=["a=b"], bid=3)
    assert (changed.name, changed.bid, changed.tags[0].key) == ("mine", 3, "a")
    with people.store.begin() as session:
        job_changes.kill_job(session, people.site, people.actor(session, "alice"), job.id)
    with pytest.raises(Conflict, match="ended already"):
        change(people, job, bid=4)


def test_the_order_of_classes_and_bids(people: People) -> None:
    blocker = started(people, resources={"cpu": 4})
    wanted = [
        people.submit("alice", name="restartable", restartable=True, bid=9),
        people.submit("alice", name="preemptable", preemptable=True),
        people.submit("alice", name="normal"),
        people.submit("alice", name="higher", bid=1),
        people.submit("alice", name="interactive", interactive=True),
    ]
    names = {job.runs[0].id: job.name for job in wanted}
    with people.store.begin(write=False) as session:
        state = read_state(session, people.site, people.site.capacity())
        order = [names[run_id] for run_id in plan(state).order]
    assert order == ["interactive", "higher", "normal", "preemptable", "restartable"]
    assert blocker.alive


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "3 s"),
        (60, "1 min"),
        (90, "90 s"),
        (120, "2 min"),
        (600, "10 min"),
        (5400, "1 h 30 min"),
        (172800, "48 h"),
        (3601, "1 h 1 s"),
    ],
)
def test_durations_in_words(seconds: int, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"), [(2.0, "2.0 GiB"), (0.25, "0.25 GiB"), (0.2, "0.2 GiB"), (64, "64.0 GiB")]
)
def test_memory_in_words(amount: float, words: str) -> None:
    assert wording.gib(amount) == words


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exit code 3"),
        (127, "exit code 127: command not found"),
        (137, "exit code 137: ended by SIGKILL (killed)"),
        (255, "exit code 255"),
        (None, "it is not known how it ended"),
    ],
)
def test_exit_codes_in_words(code: int | None, words: str) -> None:
    assert wording.exit_code(code) == words
