"""GPUs in the queue: given to one run at a time, taken back with its end, and made free by stopping others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from sqlalchemy.exc import IntegrityError

from tests.unit.conftest import People
from tests.unit.test_jobs import end, kill, read
from toolkit_client.access_models import NewAccount
from toolkit_client.data_models import QuotaPatch, RoomQuotaPatch
from toolkit_client.errors import Conflict, InvalidRequest, PermissionDenied
from toolkit_client.models import Job, JobPatch, JobSpec
from toolkit_client.queue_models import JobWhy
from toolkit_hub import clock
from toolkit_hub.domain import (
    account_use,
    accounts,
    admission,
    audit,
    data_usage,
    job_changes,
    ledger,
    room_quotas,
    runs,
    usage,
)
from toolkit_hub.domain.launch import environment_of
from toolkit_hub.domain.why import job_why
from toolkit_hub.queue.loop import admit_now, plan_now
from toolkit_hub.queue.planning.capacity import Device
from toolkit_hub.store.tables import AccountUse, RoomQuota, Run
from toolkit_hub.store.tables import Job as JobRow

SMALL, LARGE = "SIMULATED-small", "SIMULATED-large"


@pytest.fixture
def people(people: People) -> People:
    """Their site has two simulated GPUs."""
    devices = (Device(SMALL, "SIMULATED T4", mem=16.0, capability=7.5), Device(LARGE, "SIMULATED A100", mem=80.0))
    people.site = replace(people.site, devices=lambda: devices)
    return people


def admit(people: People) -> admission.Admitted:
    with people.store.begin() as session:
        return admit_now(session, people.site)


def holds(people: People) -> dict[str, str]:
    with people.store.begin(write=False) as session:
        return ledger.holders(session)


def submit(people: People, user: str = "alice", gpu: int = 1, **spec: Any) -> Job:
    resources = {"gpu": gpu, "cpu": 0.5, "mem": 0.5, **spec.pop("resources", {})}
    return people.submit(user, resources=resources, **spec)


def run_now(people: People, job: Job) -> None:
    with people.store.begin() as session:
        runs.mark_started(session, job.runs[-1].server_name, "c" * 64, None, "sha256:1", "node")


def test_each_gpu_is_one_runs_own_until_it_has_ended(people: People) -> None:
    first, second, third = (submit(people) for _ in range(3))
    assert set(admit(people).starts) == {first.runs[0].id, second.runs[0].id}
    assert set(holds(people)) == {SMALL, LARGE}
    assert read(people, third).state_info == "waiting for 1 GPU: 2 of 2 in use"
    end(people, first, exit_code=0)
    assert admit(people).starts == (third.runs[0].id,)
    assert set(holds(people).values()) == {second.runs[0].id, third.runs[0].id}


def test_the_database_itself_keeps_a_second_run_from_a_device(people: People) -> None:
    first, second = submit(people), submit(people, "bob")
    admit(people)
    taken = next(iter(holds(people)))
    with pytest.raises(IntegrityError), people.store.begin() as session:
        other = second if holds(people)[taken] == first.runs[0].id else first
        ledger.take(session, session.get_one(Run, other.runs[0].id), [taken])


def test_a_request_gets_a_device_of_its_kind_or_waits_for_it(people: People) -> None:
    job = submit(people, resources={"gpuMem": 40})
    assert admit(people).starts == (job.runs[0].id,)
    assert set(holds(people)) == {LARGE}, "the smaller one has not enough memory"
    other = submit(people, resources={"gpuModel": "a100"})
    assert admit(people).starts == ()
    assert read(people, other).state_info == "waiting for 1 GPU: 1 of 1 in use"
    anything_else = submit(people, resources={"gpuModel": "!A100"})
    assert admit(people).starts == (anything_else.runs[0].id,)


def test_what_no_device_is_like_is_refused_with_the_nearest_that_is(people: People) -> None:
    with pytest.raises(InvalidRequest, match="3 GPUs on one machine, and no machine has more than 2") as told:
        submit(people, gpu=3)
    assert "2 GPUs" in told.value.hint
    with pytest.raises(InvalidRequest, match="of a kind that this site does not have"):
        submit(people, resources={"gpuModel": "H100"})


def test_the_run_sees_its_devices_and_no_others(people: People) -> None:
    job, plain = submit(people, gpu=2), people.submit("bob")
    admit(people)
    with people.store.begin(write=False) as session:
        seen = []
        for one in (job, plain):
            run = session.get_one(Run, one.runs[0].id)
            seen.append(environment_of(run.job, run, JobSpec.model_validate(run.job.spec))["NVIDIA_VISIBLE_DEVICES"])
    assert set(seen[0].split(",")) == {SMALL, LARGE}
    assert seen[1] == "void", "an image may ask for all of them"


def test_a_higher_class_has_lower_ones_stopped_and_they_come_again(people: People) -> None:
    low = [submit(people, restartable=True, preemptable=True, name=f"low{n}") for n in range(2)]
    admit(people)
    for job in low:
        run_now(people, job)
    urgent = submit(people, "bob", name="urgent")
    admitted = admit(people)
    assert admitted.starts == ()
    assert len(admitted.stops) == 1, "one is enough"
    victim = next(job for job in low if job.runs[0].id in admitted.stops)
    assert read(people, victim).state_info == "being stopped to make room for acme.bob.urgent"
    assert read(people, urgent).state_info == "about to start: 1 job is being stopped to make room"
    assert admit(people) == admission.Admitted(promised=()), "nobody is stopped twice, and nobody more"
    end(people, victim, exit_code=143)
    seen = read(people, victim)
    assert [run.state for run in seen.runs] == ["INTERRUPTED", "QUEUING"]
    assert seen.runs[0].state_info.startswith("stopped to make room for acme.bob.urgent")
    assert admit(people).starts == (urgent.runs[0].id,)
    end(people, urgent, exit_code=0)
    assert admit(people).starts == (seen.runs[1].id,)


def test_a_job_that_is_killed_while_it_is_stopped_for_another_does_not_come_back(people: People) -> None:
    victim = submit(people, gpu=2, restartable=True, preemptable=True)
    admit(people)
    run_now(people, victim)
    urgent = submit(people, "bob")
    assert admit(people).stops == (victim.runs[0].id,)
    kill(people, victim)
    end(people, victim, exit_code=143)
    assert [run.state for run in read(people, victim).runs] == ["CANCELLED"]
    assert admit(people).starts == (urgent.runs[0].id,)


def test_a_room_is_not_kept_for_a_job_that_was_killed(people: People) -> None:
    victim = submit(people, gpu=2, preemptable=True)
    admit(people)
    run_now(people, victim)
    urgent, third = submit(people, "bob"), submit(people, "alice", gpu=2)
    assert admit(people).stops == (victim.runs[0].id,)
    kill(people, urgent, "bob")
    end(people, victim, exit_code=143)
    assert read(people, victim).state == "INTERRUPTED"
    assert admit(people).starts == (third.runs[0].id,)


def why(people: People, job: Job, user: str = "bob") -> JobWhy:
    with people.store.begin(write=False) as session:
        return job_why(session, people.site, people.actor(session, user), job.id)


def test_why_a_job_waits_and_what_would_start_it_now(people: People) -> None:
    holder = submit(people, "alice", resources={"gpuMem": 40}, maxRunTime=3600)
    admit(people)
    run_now(people, holder)
    waits = submit(people, "bob", gpu=2, name="wide")
    assert admit(people).starts == ()
    found = why(people, waits)
    assert (found.position, found.length) == (1, 1)
    assert [(one.what, one.asked, one.free, one.total) for one in found.short] == [("gpu", 2, 1, 2)]
    assert [(one.gpus, one.job) for one in found.holders] == [(1, None)], "bob may not see alice's jobs"
    assert [one.job for one in why(people, waits, "admin").holders] == [holder.id]
    assert found.latest is not None
    assert timedelta(minutes=59) < found.latest - clock.now() < timedelta(minutes=62)
    fewer = next(one for one in found.proposals if one.words == "with 1 GPU")
    with people.store.begin() as session:
        job_changes.change_job(
            session, people.site, people.actor(session, "bob"), waits.id, JobPatch.model_validate(fewer.patch)
        )
    assert admit(people).starts == (waits.runs[0].id,), "a proposal is what it says"
    assert read(people, waits).resources.gpu == 1


def test_what_a_job_asks_for_changes_only_while_it_waits(people: People) -> None:
    job = submit(people)
    admit(people)
    patch = JobPatch.model_validate({"resources": {"gpu": 0}})
    with pytest.raises(Conflict, match="has been given its room"), people.store.begin() as session:
        job_changes.change_job(session, people.site, people.actor(session, "alice"), job.id, patch)
    waits = submit(people, gpu=2)
    too_much = JobPatch.model_validate({"resources": {"gpu": 3}})
    with pytest.raises(InvalidRequest, match="can never start here"), people.store.begin() as session:
        job_changes.change_job(session, people.site, people.actor(session, "alice"), waits.id, too_much)


def test_use_counts_in_fair_share_and_fades(people: People, move: Callable[[float], None]) -> None:
    job = submit(people)
    admit(people)
    run_now(people, job)
    move(100)
    end(people, job, exit_code=0)
    with people.store.begin(write=False) as session:
        assert session.get_one(AccountUse, job.account_id).used == pytest.approx(50, abs=2), "half of the GPUs, 100 s"
        move(account_use.HALF_LIFE.total_seconds())
        assert account_use.shares(session)[job.account_id].used == pytest.approx(25, abs=1)


def limit(people: People, account: str, **limits: Any) -> None:
    with people.store.begin() as session:
        patch = QuotaPatch.model_validate({"room": limits})
        data_usage.set_quota(session, people.actor(session, "admin"), account, patch, data_usage.DataLimits())


def test_a_quota_holds_back_its_own_and_nobody_else(people: People) -> None:
    limit(people, "acme.alice", gpus=1, queued=2)
    first, second = submit(people), submit(people)
    assert admit(people).starts == (first.runs[0].id,)
    assert read(people, second).state_info == (
        "waiting for the quota of account acme.alice: 1 GPU (`toolkit quota ls acme.alice`)"
    )
    others = submit(people, "bob")
    assert admit(people).starts == (others.runs[0].id,)
    assert why(people, second, "alice").quota == (
        "the quota of account acme.alice: 1 of 1 GPU in use, and it asks for 1; "
        "`toolkit quota set acme.alice gpus=N` raises it"
    )
    submit(people)
    with pytest.raises(Conflict, match="2 of 2 queued jobs"):
        submit(people)
    with pytest.raises(Conflict, match=r"beyond the quota of account acme\.alice: 1 GPU, and it asks for 2") as told:
        submit(people, gpu=2)
    assert told.value.hint.startswith("the nearest that the quotas allow: 1 GPU, 0.5 CPUs and 0.5 GiB of memory; ")
    limit(people, "acme.alice", gpus=None, queued=None)
    end(people, others, exit_code=0)
    assert admit(people).starts == (second.runs[0].id,)


def limit_of(people: People, kind: Literal["user", "organization"], **limits: Any) -> None:
    name = "acme.alice" if kind == "user" else "acme"
    patch = RoomQuotaPatch.model_validate({"room": limits})
    with people.store.begin() as session:
        room_quotas.set_room_quota(session, people.actor(session, "admin"), kind, name, patch)


@pytest.mark.parametrize(
    ("kind", "words", "arguments"),
    [("user", "user acme.alice", "--user acme.alice"), ("organization", "organization acme", "--organization")],
)
def test_a_user_and_the_organization_have_quotas(
    people: People, kind: Literal["user", "organization"], words: str, arguments: str
) -> None:
    """From the rows to the words: who waits, whose quota it is, and what is let in."""
    limit_of(people, kind, gpus=1, queued=1, bid=5)
    first = submit(people)
    assert admit(people).starts == (first.runs[0].id,)
    second = submit(people)
    assert admit(people).starts == ()
    assert (
        read(people, second).state_info == f"waiting for the quota of {words}: 1 GPU (`toolkit quota ls {arguments}`)"
    )
    found = why(people, second, "alice")
    assert found.quota == (
        f"the quota of {words}: 1 of 1 GPU in use, and it asks for 1; `toolkit quota set {arguments} gpus=N` raises it"
    )
    with pytest.raises(Conflict, match=f"the quota of {words}: 1 GPU, and it asks for 2") as told:
        submit(people, gpu=2, bid=9)
    assert "allow: 1 GPU, 0.5 CPUs and 0.5 GiB of memory, with a bid of 5; `toolkit quota ls" in told.value.hint
    with pytest.raises(Conflict, match="5 as highest bid, and it asks for 6") as told:
        submit(people, bid=6)
    assert "with a bid of 5" in told.value.hint
    with pytest.raises(Conflict, match="1 of 1 queued job") as told:
        submit(people)
    assert told.value.hint.startswith("wait until one of them has started")
    if kind == "user":
        others = submit(people, "bob")
        assert admit(people).starts == (others.runs[0].id,)
        end(people, others, exit_code=0)
    else:
        with pytest.raises(Conflict, match="1 of 1 queued job"):
            submit(people, "bob")
    limit_of(people, kind, gpus=None, queued=None, bid=None)
    assert admit(people).starts == (second.runs[0].id,)
    with people.store.begin(write=False) as session:
        assert session.query(RoomQuota).count() == 0, "no row is left of a quota that limits nothing"


def test_a_users_quota_counts_in_every_account_and_who_may_not_set_it_is_refused(people: People) -> None:
    with people.store.begin() as session:
        accounts.create_account(session, people.actor(session, "alice"), NewAccount(name="acme.alice.x"))
    limit_of(people, "user", running=1)
    first, second = submit(people), submit(people, account="acme.alice.x")
    assert admit(people).starts == (first.runs[0].id,)
    assert "the quota of user acme.alice: 1 running job" in read(people, second).state_info
    patch = RoomQuotaPatch.model_validate({"room": {"running": 9}})
    for kind, name in (("user", "acme.alice"), ("organization", "acme")):
        with pytest.raises(PermissionDenied), people.store.begin() as session:
            room_quotas.set_room_quota(session, people.actor(session, "alice"), kind, name, patch)  # type: ignore[arg-type]
    with people.store.begin() as session:
        admin = people.actor(session, "admin")
        room_quotas.set_room_quota(session, admin, "organization", "acme", patch)
        listed = data_usage.list_quotas(session, admin, data_usage.DataLimits())
        assert [(one.type, one.name) for one in listed if one.room.running is not None] == [
            ("organization", "acme"),
            ("user", "acme.alice"),
        ]
        told = audit.list_audit(session, admin, audit.AuditFilter(action="organization:quota")).items
        assert [entry.data for entry in told] == [
            {"event": "quota.changed", "organization": "acme", "room": {"running": 9}},
            {"event": "quota.changed", "user": "acme.alice", "room": {"running": 1}},
        ]


def test_an_array_beyond_a_quota_is_told_how_many_go_in(people: People) -> None:
    limit_of(people, "user", queued=5)
    submit(people)
    with pytest.raises(Conflict, match="5 queued jobs") as told:
        submit(people, array="0-9")
    assert told.value.hint.startswith("the nearest that it lets in now: an array of 4; ")
    submit(people, array="0-3")


def test_no_bid_beyond_a_quota_is_proposed(people: People) -> None:
    submit(people, "bob", gpu=2, bid=3)
    waits = submit(people, gpu=2)
    assert {"bid": 4} in [one.patch for one in why(people, waits, "alice").proposals]
    limit_of(people, "user", bid=3)
    assert [one.patch for one in why(people, waits, "alice").proposals if "bid" in one.patch] == []


def test_a_bid_beyond_the_quota_is_refused_at_submit_and_afterwards(people: People) -> None:
    limit(people, "acme.alice", bid=10)
    with pytest.raises(Conflict, match="highest bid"):
        submit(people, bid=11)
    job = submit(people, bid=10)
    with pytest.raises(Conflict, match="highest bid"), people.store.begin() as session:
        job_changes.change_job(session, people.site, people.actor(session, "alice"), job.id, JobPatch(bid=11))


def test_an_array_counts_as_many_jobs_as_it_has(people: People) -> None:
    limit(people, "acme.alice", queued=5)
    with pytest.raises(Conflict, match="of 5 queued jobs"):
        submit(people, array="0-5")
    submit(people, array="0-4")
    with pytest.raises(Conflict, match="5 of 5 queued jobs"):
        submit(people)


def test_a_job_that_waits_for_another_is_not_planned_and_holds_nobody_back(people: People) -> None:
    first = submit(people, gpu=2, name="first")
    waits = submit(people, gpu=2, after=["first"], bid=9)
    other = submit(people, "bob")
    assert admit(people).starts == (first.runs[0].id,)
    assert "succeed" in why(people, waits, "alice").reason
    end(people, first, exit_code=0)
    assert admit(people).starts == (waits.runs[0].id,)
    end(people, waits, exit_code=0)
    assert admit(people).starts == (other.runs[0].id,)


def test_a_preempted_parent_that_comes_again_keeps_its_children(people: People) -> None:
    """It goes on, so they do."""
    parent = submit(people, gpu=2, restartable=True, preemptable=True)
    admit(people)
    run_now(people, parent)
    child = people.submit("alice")
    with people.store.begin() as session:
        session.get_one(JobRow, child.id).parent_id = parent.id
    submit(people, "bob", gpu=2)
    assert parent.runs[0].id in admit(people).stops
    end(people, parent, exit_code=143)
    assert read(people, parent).state == "QUEUING"
    assert read(people, child).alive


def test_usage_counts_what_was_given_and_cuts_days_at_midnight(people: People, move: Callable[[float], None]) -> None:
    clock.set_clock(lambda: datetime(2026, 3, 1, 23, 0, tzinfo=UTC).timestamp())
    job = submit(people, gpu=2)
    admit(people)
    run_now(people, job)
    clock.set_clock(lambda: datetime(2026, 3, 2, 2, 0, tzinfo=UTC).timestamp())
    with people.store.begin(write=False) as session:
        alice, bob = people.actor(session, "alice"), people.actor(session, "bob")
        since = datetime(2026, 2, 1, tzinfo=UTC)
        days = usage.usage(session, alice, "day", since)
        assert [(row.key, row.gpu_hours) for row in days] == [("2026-03-01", 2.0), ("2026-03-02", 4.0)]
        assert [(row.key, row.gpu_hours, row.runs) for row in usage.usage(session, alice, "account", since)] == [
            ("acme.alice", 6.0, 1)
        ]
        assert usage.usage(session, bob, "account", since) == [], "he may not see her account"
        late = usage.usage(session, alice, "user", datetime(2026, 3, 2, 1, 30, tzinfo=UTC))
        assert [(row.key, row.gpu_hours) for row in late] == [("alice", 1.0)]


def test_a_plan_that_is_out_of_date_gives_nothing_twice(people: People) -> None:
    """Plans are made on a snapshot; what was given away since then is not given again."""
    submit(people, gpu=2), submit(people, "bob", gpu=2)
    with people.store.begin(write=False) as session:
        old = plan_now(session, people.site)
    admitted = admit(people)
    assert len(admitted.starts) == 1
    with people.store.begin() as session:
        late = admission.admit(session, people.site, old)
    assert (late.starts, late.outdated) == ((), True)


def test_a_job_that_has_changed_its_mind_since_the_plan_is_planned_anew(people: People) -> None:
    job = submit(people, gpu=1)
    with people.store.begin(write=False) as session:
        old = plan_now(session, people.site)
    with people.store.begin() as session:
        patch = JobPatch.model_validate({"resources": {"gpu": 2}})
        job_changes.change_job(session, people.site, people.actor(session, "alice"), job.id, patch)
    with people.store.begin() as session:
        assert admission.admit(session, people.site, old) == admission.Admitted(outdated=True)
    assert len(admit(people).starts) == 1
    assert len(holds(people)) == 2
