"""Jobs that wait for others, arrays and families, on the rows alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, ToolkitError
from toolkit_client.models import Job, JobPatch, JobSpec, KilledJob
from toolkit_hub.domain import dependencies, events, families, job_changes, job_list, jobs, launch, runs
from toolkit_hub.domain.access import Actor, actor_by_key
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.domain.queue_state import read_state
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store.order_tables import JobArray, JobDependency
from toolkit_hub.store.tables import Job as JobRow
from toolkit_hub.store.tables import Run

SMALL = {"cpu": 0.1, "mem": 0.1}


def submit(people: People, user: str = "alice", **spec: Any) -> Job:
    return people.submit(user, **{"resources": SMALL, **spec})


def read(people: People, job: Job | str, user: str = "admin") -> Job:
    with people.store.begin(write=False) as session:
        reference = job if isinstance(job, str) else job.id
        return jobs.look_up(session, people.site, people.actor(session, user), reference)


def admit(people: People) -> None:
    with people.store.begin() as session:
        admit_now(session, people.site)


def run(people: People, job: Job | str) -> None:
    """Start it, if it may."""
    admit(people)
    found = read(people, job)
    assert found.state == "QUEUED", found.state_info
    with people.store.begin() as session:
        runs.mark_started(session, found.runs[-1].server_name, "c" * 64, "10.0.0.2", "sha256:1", "node")


def end(people: People, job: Job | str, exit_code: int | None = 0, **ending: Any) -> None:
    with people.store.begin() as session:
        assert runs.mark_ended(session, read(people, job).runs[-1].id, runs.Ending(exit_code, **ending))


def kill(people: People, reference: str, user: str = "alice") -> KilledJob:
    with people.store.begin() as session:
        return job_changes.kill_job(session, people.site, people.actor(session, user), reference)


def retry(people: People, reference: str, user: str = "alice") -> Job:
    with people.store.begin() as session:
        return jobs.retry_job(session, people.site, people.actor(session, user), reference)[0]


def submit_inside(people: People, parent: Job, **spec: Any) -> Job:
    """With the parent's own token, which its role lets submit."""
    with people.store.begin() as session:
        row = session.get_one(Run, parent.runs[-1].id)
        actor = actor_by_key(session, job_token(row))
        assert actor is not None
        wanted = JobSpec.model_validate({"command": ["true"], "resources": SMALL, **spec})
        return jobs.submit_job(session, people.site, actor, wanted)[0]


def elements(people: People, array: Job | str, states: str | None = None) -> list[Job]:
    reference = array if isinstance(array, str) else array.id
    with people.store.begin(write=False) as session:
        wanted = job_list.JobFilter(array=reference, limit=1000)
        found = job_list.list_jobs(session, people.site, people.actor(session, "admin"), wanted)["items"]
    listed = [Job.model_validate(item) for item in reversed(found)]
    return [job for job in listed if states is None or job.state == states]


@pytest.fixture
def parent(people: People) -> Callable[..., Job]:
    """Makes running jobs of alice's with the role that lets them submit more."""

    def make(**spec: Any) -> Job:
        job = submit(people, role="acme.alice.user", **spec)
        run(people, job)
        return read(people, job)

    return make


# --- dependencies -----------------------------------------------------------------------------------------------------


def test_a_chain_starts_one_after_the_other(people: People) -> None:
    a = submit(people, name="a")
    b = submit(people, name="b", after=["a"])
    c = submit(people, after=[f"{b.id}:any"])
    other = submit(people, "bob")
    assert b.after == [f"{a.id}:ok"]
    assert b.state_info == f"waiting for job a ({a.id}) to succeed"
    admit(people)
    assert [read(people, job).state for job in (a, b, c, other)] == ["QUEUED", "QUEUING", "QUEUING", "QUEUED"]
    assert read(people, c).state_info == f"waiting for job b ({b.id}) to end"
    end(people, a)
    run(people, b)
    assert read(people, c).state == "QUEUING"
    end(people, b, 3)
    run(people, c)
    with people.store.begin() as session:
        assert session.scalars(select(JobDependency)).all() == [], "what has come true is not kept"


def test_what_can_never_start_ends_down_the_chain(people: People) -> None:
    a = submit(people, name="a")
    b = submit(people, name="b", after=["a"])
    c = submit(people, name="c", after=["b"])
    d = submit(people, after=["c:ok"])
    lives = submit(people, after=["b:any"])
    run(people, a)
    end(people, a, 1)
    seen = [read(people, job) for job in (b, c, d)]
    assert [job.state for job in seen] == ["CANCELLED"] * 3
    cause = f"job a ({a.id}) failed: exit code 1"
    assert seen[0].state_info == cause
    assert seen[1].state_info == f"job b ({b.id}) was cancelled: {cause}"
    assert seen[2].state_info == f"job c ({c.id}) was cancelled: {cause}", "the cause, not each link"
    assert seen[0].runs[0].ended is not None
    admit(people)
    assert read(people, lives).state == "QUEUED", "whoever waits for an end in whatever way has it"


def test_a_long_chain_ends_at_once(people: People) -> None:
    first = last = submit(people)
    for _ in range(25):
        last = submit(people, after=[last.id])
    kill(people, first.id)
    ended = read(people, last)
    assert ended.state == "CANCELLED"
    assert ended.state_info.endswith("killed by acme.alice while it waited")
    assert len(ended.state_info) < 200


def test_all_that_is_waited_for_has_to_come_true(people: People) -> None:
    a, b = submit(people, name="a"), submit(people)
    job = submit(people, after=["a", f"{b.id}:any"])
    assert job.state_info == f"waiting for job a ({a.id}) to succeed, and 1 other"
    run(people, a)
    end(people, a)
    admit(people)
    assert read(people, job).state_info == f"waiting for job {b.id} to end", "the reason follows"
    kill(people, b.id)
    admit(people)
    assert read(people, b).state == "CANCELLING"
    end(people, b, 143)
    run(people, job)


def test_what_has_ended_before_the_submission(people: People) -> None:
    good, bad = submit(people), submit(people, name="bad")
    for job, code in ((good, 0), (bad, 1)):
        run(people, job)
        end(people, job, code)
    run(people, submit(people, after=[good.id, "bad:any"]))
    with pytest.raises(Conflict, match=r"would never start: job bad .* has not succeeded"):
        submit(people, after=["bad"])


def test_an_interrupted_job_that_starts_again_has_not_ended(people: People) -> None:
    first = submit(people, restartable=True)
    second = submit(people, after=[first.id])
    run(people, first)
    end(people, first, None, interrupted=True, info="removed")
    assert (read(people, first).state, read(people, second).state) == ("QUEUING", "QUEUING")
    run(people, first)
    end(people, first)
    run(people, second)
    ends = submit(people)
    waits = submit(people, after=[ends.id])
    run(people, ends)
    end(people, ends, None, interrupted=True, info="removed")
    assert read(people, waits).state_info == f"job {ends.id} was interrupted: removed"


def test_only_jobs_that_are_there_and_that_one_may_see(people: People) -> None:
    hidden = submit(people, "bob", name="hidden")
    messages = set()
    for reference in ("nothing", "acme.bob.hidden", hidden.id, "nothing:3"):
        with pytest.raises(NotFound) as refused:
            submit(people, after=[reference])
        messages.add(refused.value.message)
    assert messages == {"no such job"}


def test_a_new_name_makes_no_circle(people: People) -> None:
    """A name is looked up once, at submit: what waits goes on waiting for the job that had it then."""
    a = submit(people, name="a")
    b = submit(people, name="b", after=["a"])
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        job_changes.change_job(session, people.site, alice, a.id, JobPatch(name="old"))
        job_changes.change_job(session, people.site, alice, b.id, JobPatch(name="a"))
    assert read(people, b).after == [f"{a.id}:ok"]
    with pytest.raises(Conflict):
        submit(people, name="a", after=["a"])
    with pytest.raises(NotFound):
        submit(people, name="new", after=["new"])
    run(people, a)
    end(people, a)
    run(people, b)


def test_a_retry_makes_no_circle_and_waits_for_retries(people: People) -> None:
    a = submit(people)
    b = submit(people, after=[a.id])
    run(people, a)
    end(people, a, 1)
    with pytest.raises(Conflict, match="would never start"):
        retry(people, b.id)
    again = retry(people, a.id)
    repeated = retry(people, b.id)
    assert repeated.after == [f"{again.id}:ok"]
    admit(people)
    assert read(people, repeated).state == "QUEUING"
    run_order = [a.id, b.id, again.id, repeated.id]
    with people.store.begin() as session:
        seq = {job_id: session.get_one(JobRow, job_id).seq for job_id in run_order}
        edges = session.execute(select(JobDependency.job_id, JobDependency.on_job_id)).all()
    assert all(seq[job] > seq[on] for job, on in edges if on), "only older ones are waited for, so there is no circle"
    end(people, again)
    run(people, repeated)


def test_whoever_waits_is_killed_like_any_other(people: People) -> None:
    first = submit(people)
    second = submit(people, after=[first.id])
    kill(people, second.id)
    run(people, first)
    end(people, first)
    admit(people)
    assert read(people, second).state == "CANCELLED"


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_an_array_is_many_jobs(people: People) -> None:
    array = submit(people, name="sweep", array="0,3,7-9%2", tags=["x=y"], environmentVars=["A=1"])
    assert (array.kind, array.name, array.array, array.state) == ("array", "sweep", "0,3,7-9%2", "QUEUING")
    assert (array.array_states, array.state_info) == ({"QUEUING": 5}, "5 jobs: 5 queuing")
    assert array.runs == []
    found = elements(people, array)
    assert [job.name for job in found] == ["sweep_0", "sweep_3", "sweep_7", "sweep_8", "sweep_9"]
    assert [job.array_index for job in found] == [0, 3, 7, 8, 9]
    assert {job.array_id for job in found} == {array.id}
    assert len({job.id for job in found} | {job.runs[0].id for job in found}) == 10
    assert {(job.command[0], job.tags[0].key) for job in found if job.command} == {("true", "x")}
    assert read(people, "acme.alice.sweep:7").id == found[2].id
    assert read(people, f"{array.id}:7").id == read(people, "acme.alice.sweep_7").id == found[2].id
    assert read(people, "acme.alice.sweep").id == array.id
    for reference in ("acme.alice.sweep:1", f"{found[0].id}:0"):
        with pytest.raises(NotFound):
            read(people, reference)
    with people.store.begin() as session:
        told = [event.type for event in events.since(session, 0, found[4].urn)]
        told_of_array = [event.type for event in events.since(session, 0, array.urn)]
    assert (told, told_of_array) == (["job.submitted"], ["array.submitted"])


def test_each_knows_its_index(people: People) -> None:
    array = submit(people, array="2-3")
    run(people, f"{array.id}:3")
    found = read(people, f"{array.id}:3")
    with people.store.begin() as session:
        spec = launch.launch_spec(session, people.site, people.places, "alice", found.runs[0].server_name)
    wanted = {"INDEX": "3", "JOB_ID": array.id, "SIZE": "2", "COUNT": "2"}
    for name, value in wanted.items():
        assert spec.environment[f"TOOLKIT_ARRAY_{name}"] == spec.environment[f"EAI_ARRAY_{name}"] == value
    alone = submit(people)
    run(people, alone)
    with people.store.begin() as session:
        spec = launch.launch_spec(session, people.site, people.places, "alice", alone.runs[0].server_name)
    assert not any("ARRAY" in name for name in spec.environment)


def test_no_more_at_once_than_the_array_says(people: People) -> None:
    array = submit(people, array="0-5%2")
    other = submit(people, "bob")
    assert [job.state_info for job in elements(people, array)][2:] == ["array limit: 2 at once"] * 4
    for done in range(6):
        admit(people)
        running = elements(people, array, "QUEUED")
        assert [job.array_index for job in running] == list(range(done, min(done + 2, 6)))
        end(people, running[0])
    assert read(people, other).state == "QUEUED", "whoever comes later is not held back"
    ended = read(people, array)
    assert (ended.state, ended.alive, ended.array_states) == ("SUCCEEDED", False, {"SUCCEEDED": 6})


def test_killing_an_array_kills_its_jobs(people: People) -> None:
    array = submit(people, name="sweep", array="0-3%2")
    waits = submit(people, after=["sweep"])
    run(people, f"{array.id}:0")
    killed = kill(people, "sweep")
    assert (killed.kind, killed.killed) == ("array", 4)
    assert [job.state for job in elements(people, array)] == ["CANCELLING", "CANCELLING", "CANCELLED", "CANCELLED"]
    with people.store.begin(write=False) as session:
        stopping = families.stopping(session, array.id)
    assert set(stopping) == {job.runs[0].id for job in elements(people, array, "CANCELLING")}
    assert kill(people, "sweep").killed == 0, "asking twice is the same as asking once"
    for index in (0, 1):
        end(people, f"{array.id}:{index}", 143)
    assert read(people, array).state == "CANCELLED"
    assert "was cancelled: its array was killed by acme.alice" in read(people, waits).state_info
    with pytest.raises(Conflict, match="has ended already"):
        kill(people, "sweep")


def test_waiting_for_an_array(people: People) -> None:
    array = submit(people, name="sweep", array="0-1")
    succeeds, ends = submit(people, after=["sweep"]), submit(people, after=["sweep:any"])
    one = submit(people, after=["sweep:1:any"])
    assert succeeds.state_info == f"waiting for array sweep ({array.id}) to succeed"
    run(people, "acme.alice.sweep:0")
    end(people, "acme.alice.sweep:0")
    admit(people)
    assert {read(people, job).state for job in (succeeds, ends, one)} == {"QUEUING"}
    end(people, "acme.alice.sweep:1", 2)
    failed = read(people, "acme.alice.sweep:1")
    assert read(people, succeeds).state_info == f"job sweep_1 ({failed.id}) failed: exit code 2"
    assert read(people, array).state == "FAILED"
    admit(people)
    assert {read(people, job).state for job in (ends, one)} == {"QUEUED"}


def test_an_array_waits_as_a_whole(people: People) -> None:
    first = submit(people, array="0-2")
    second = submit(people, array="0-2", after=[first.id])
    admit(people)
    assert {job.state for job in elements(people, second)} == {"QUEUING"}
    for index in range(3):
        end(people, f"{first.id}:{index}")
    admit(people)
    assert {job.state for job in elements(people, second)} == {"QUEUED"}
    third = submit(people, array="0-2", after=[second.id])
    kill(people, f"{second.id}:1")
    end(people, f"{second.id}:1", 143)
    assert {job.state for job in elements(people, third)} == {"CANCELLED"}


def test_a_retry_takes_the_place_of_the_job_that_it_repeats(people: People) -> None:
    array = submit(people, name="sweep", array="0-1")
    admit(people)
    end(people, f"{array.id}:0")
    end(people, f"{array.id}:1", 1)
    assert read(people, array).state == "FAILED"
    with pytest.raises(Conflict, match="done again one by one"):
        retry(people, array.id)
    again = retry(people, "sweep:1")
    assert (again.array_id, again.array_index, again.name) == (array.id, 1, "sweep_1")
    assert read(people, f"{array.id}:1").id == again.id
    assert read(people, array).state == "QUEUING"
    waits = submit(people, after=["sweep"])
    run(people, again)
    end(people, again)
    assert read(people, array).array_states == {"SUCCEEDED": 2}
    run(people, waits)


def test_names_of_an_array_are_taken_while_it_lives(people: People) -> None:
    submit(people, name="sweep_1")
    with pytest.raises(Conflict, match="sweep_1, which a job of the array would have, is in use"):
        submit(people, name="sweep", array="0-3")
    array = submit(people, name="walk", array="0-3")
    for spec in ({"name": "walk"}, {"name": "walk", "array": "7-8"}, {"name": "walk_2"}):
        with pytest.raises(Conflict, match="is in use"):
            submit(people, **spec)
    kill(people, array.id)
    newer = submit(people, name="walk")
    assert read(people, "acme.alice.walk").id == newer.id


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"array": "0-1000"}, "larger than this site takes at once"),
        ({"array": "0-1", "interactive": True}, "not interactive"),
        ({"array": "0-1", "name": "a", "enforceName": True}, "takes no names"),
        ({"array": "0-99", "name": "a" * 62}, "65 characters"),
    ],
)
def test_arrays_that_are_refused(people: People, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        submit(people, **spec)
    with people.store.begin() as session:
        assert session.scalars(select(JobArray)).all() == []


def test_one_key_makes_one_array(people: People) -> None:
    made = [people.submit("alice", "a key", resources=SMALL, array="0-2") for _ in range(2)]
    assert made[0].id == made[1].id
    assert len(elements(people, made[0])) == 3
    with pytest.raises(Conflict, match="used for another request"):
        people.submit("alice", "a key", resources=SMALL, array="0-3")


def test_commands_for_one_job_say_so_of_an_array(people: People) -> None:
    array = submit(people, name="sweep", array="4-5")
    with people.store.begin() as session:
        alice, bob = people.actor(session, "alice"), people.actor(session, "bob")
        with pytest.raises(InvalidRequest, match="sweep is an array of 2 jobs") as refused:
            jobs.find_job(session, alice, "sweep")
        assert "sweep:4" in refused.value.hint
        with pytest.raises(NotFound, match="no such job"):
            jobs.find_job(session, bob, array.id)


def test_a_large_array_in_more_statements_than_one(people: People) -> None:
    array = submit(people, array="0-599%8", after=[submit(people, name="first").id])
    assert read(people, array).array_states == {"QUEUING": 600}
    admit(people)
    kill(people, "first")
    end(people, "acme.alice.first", 143)
    assert read(people, array).array_states == {"CANCELLED": 600}


# --- families ---------------------------------------------------------------------------------------------------------


def test_children_end_with_their_parent(people: People, parent: Callable[..., Job]) -> None:
    father = parent(name="father")
    waiting = submit_inside(people, father, after=["father"], role="acme.alice.user")
    running = submit_inside(people, father, role="acme.alice.user")
    detached = submit_inside(people, father, detach=True)
    assert {job.parent_id for job in (waiting, running, detached)} == {father.id}
    run(people, running)
    grandchild = submit_inside(people, read(people, running))
    end(people, father, 0)
    seen = {job.id: read(people, job) for job in (waiting, running, detached, grandchild)}
    assert seen[waiting.id].state == seen[grandchild.id].state == "CANCELLED"
    assert seen[waiting.id].state_info == f"its parent job father ({father.id}) has ended"
    assert seen[grandchild.id].state_info == f"job father ({father.id}), which it descends from, has ended"
    assert seen[running.id].state == "CANCELLING"
    assert seen[detached.id].alive
    end(people, running, 143)
    assert read(people, running).state_info == f"killed: its parent job father ({father.id}) has ended"
    with people.store.begin() as session:
        runs.end_stranded(session)
    admit(people)
    assert read(people, detached).state == "QUEUED"


def test_killing_a_parent_kills_the_family(people: People, parent: Callable[..., Job]) -> None:
    father = parent()
    child = submit_inside(people, father, role="acme.alice.user")
    submit_inside(people, father, array="0-2")
    run(people, child)
    submit_inside(people, read(people, child))
    free = submit_inside(people, read(people, child), detach=True)
    killed = kill(people, father.id)
    assert (killed.state, killed.killed) == ("CANCELLING", 6)
    assert read(people, child).state_info == f"being killed: its parent job {father.id} was killed by acme.alice"
    with people.store.begin(write=False) as session:
        assert {father.runs[-1].id, child.runs[-1].id} < set(families.stopping(session, father.id))
        assert set(families.stopping(session, father.id)) - {father.runs[-1].id} == set(runs.stopping_children(session))
    assert read(people, free).alive
    assert kill(people, child.id).killed == 0, "it is on its way already"


def test_an_interrupted_parent_keeps_its_children(people: People, parent: Callable[..., Job]) -> None:
    father = parent(restartable=True)
    child = submit_inside(people, father)
    end(people, father, None, interrupted=True, info="removed")
    assert read(people, child).state == "QUEUING"
    run(people, father)
    assert read(people, child).state == "QUEUED"
    end(people, father, 1)
    assert read(people, child).state == "CANCELLING"


def test_no_child_of_a_job_that_has_ended(people: People, parent: Callable[..., Job]) -> None:
    """Its token was good when the request came, and its end is written before the child."""
    father = parent()
    with people.store.begin() as session:
        actor = actor_by_key(session, job_token(session.get_one(Run, father.runs[-1].id)))
    assert actor is not None
    end(people, father)
    with people.store.begin() as session, pytest.raises(Conflict, match="has ended"):
        spec = JobSpec.model_validate({"command": ["true"], "account": "acme.alice", "resources": SMALL})
        jobs.submit_job(session, people.site, actor, spec)


def test_what_a_person_submits_from_a_notebook_outlives_the_notebook(people: People) -> None:
    """With the user's rights, but by the server's token: it is in the server's tree, and does not end with it."""
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        server = jobs.own_server(session, people.site, alice)[0]
        inside: Actor = replace(alice, subject=replace(alice.subject, carried_by=server.id))
        spec = JobSpec.model_validate({"command": ["true"], "resources": SMALL})
        child = jobs.submit_job(session, people.site, inside, spec)[0]
    assert (child.parent_id, child.detach) == (server.id, True)
    kill(people, server.id)
    assert read(people, child).state == "QUEUING"


def test_what_was_left_over_is_ended_at_start(people: People, parent: Callable[..., Job]) -> None:
    """Rows as a service would leave them that is killed between an end and what follows from it, if these were two."""
    father, first = parent(), submit(people)
    child = submit_inside(people, father, role="acme.alice.user")
    waits = submit(people, after=[first.id])
    released = submit(people, after=[f"{father.id}:any"])
    with people.store.begin() as session:
        for job, state in ((father, "SUCCEEDED"), (first, "FAILED")):
            session.execute(update(JobRow).where(JobRow.id == job.id).values(state=state))
            session.execute(update(Run).where(Run.id == job.runs[-1].id).values(state=state))
    admit(people)
    assert {read(people, job).state for job in (waits, released)} == {"QUEUING"}
    for _ in range(2):
        with people.store.begin() as session:
            runs.end_stranded(session)
    assert read(people, child).state == "CANCELLING"
    assert read(people, waits).state == "CANCELLED"
    run(people, released)


def test_the_family_as_a_list(people: People, parent: Callable[..., Job]) -> None:
    father = parent()
    child = submit_inside(people, father, role="acme.alice.user")
    run(people, child)
    grandchild = submit_inside(people, read(people, child), detach=True)
    submit(people)

    def family(session: Session, user: str) -> list[str]:
        wanted = job_list.JobFilter(family=father.id)
        items = job_list.list_jobs(session, people.site, people.actor(session, user), wanted)["items"]
        return [item["id"] for item in items]

    with people.store.begin(write=False) as session:
        assert family(session, "alice") == [grandchild.id, child.id, father.id]
        with pytest.raises(NotFound):
            family(session, "bob")


def test_nothing_is_planned_that_may_not_start(people: People) -> None:
    """The planner never sees it, whoever asks."""
    first = submit(people)
    second = submit(people, after=[first.id])
    with people.store.begin(write=False) as session:
        state = read_state(session, people.site, people.site.capacity(), held_back=dependencies.unmet(session))
        assert [waiting.run_id for waiting in state.waiting] == [first.runs[0].id]
        assert set(dependencies.unmet(session)) == {second.runs[0].id}
        assert dependencies.changed_reasons(session) == {}


def test_refused_submissions_leave_nothing(people: People) -> None:
    with pytest.raises(ToolkitError):
        submit(people, array="0-3", after=["nothing"])
    with people.store.begin(write=False) as session:
        assert session.scalars(select(JobArray)).all() == []
        assert session.scalars(select(JobRow)).all() == []
