"""What is past its time, and what clean-up does to files and rows; the engine's part is in tests/docker/test_garbage.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.unit.conftest import People
from toolkit_client.admin_models import CleanUp
from toolkit_client.errors import Conflict, Gone
from toolkit_client.models import Job
from toolkit_hub import clock
from toolkit_hub.domain import events, gate_sessions, retention, runs
from toolkit_hub.domain.retention import Periods
from toolkit_hub.garbage import Collector, Ground
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store.tables import Event, GateSession, IdempotencyKey, LoginCode, PulledImage, Run
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.docker_api import Engine

START = datetime(2026, 1, 1, tzinfo=UTC)


class MovedClock:
    """The time of day as the test says; the clock that never jumps goes along, as when time passes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = START
        clock.set_clock(lambda: self.now.timestamp())
        monkeypatch.setattr(clock, "monotonic", lambda: (self.now - START).total_seconds())

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Iterator[MovedClock]:
    yield MovedClock(monkeypatch)
    clock.set_clock()


@pytest.fixture
def ground(people: People, moved: MovedClock, tmp_path: Path) -> Iterator[Ground]:
    """Without an engine: what needs one is left alone, and said to be."""
    engine = Engine(f"unix://{tmp_path}/no-engine.sock")
    folders = [tmp_path / name for name in ("runs", "runtime", "accounts")]
    for folder in folders:
        folder.mkdir()
    yield Ground(
        people.store, engine, "instance", *folders, Volumes(tmp_path / "data"), Periods(audit=timedelta(days=1000))
    )
    engine.close()


def collect(ground: Ground, *, dry_run: bool = False) -> CleanUp:
    return asyncio.run(Collector(ground).collect(dry_run=dry_run))


def ended_job(people: People, ground: Ground, user: str = "alice") -> Job:
    """A job whose run has ended, with a log."""
    job = people.submit(user)
    with people.store.begin() as session:
        admit_now(session, people.site)
        runs.mark_ended(session, job.runs[0].id, runs.Ending(0))
        runs.mark_server_removed(session, job.runs[0].id)
    folder = ground.runs_dir / job.runs[0].id
    folder.mkdir()
    (folder / "log").write_text("output\n")
    return job


def names(done: CleanUp, kind: str) -> list[str]:
    return [item.name for item in done.items if item.kind == kind]


def told(people: People, type_: str) -> list[Event]:
    with people.store.begin(write=False) as session:
        return list(session.scalars(select(Event).where(Event.type == type_)))


def row(people: People, job: Job) -> Run:
    with people.store.begin(write=False) as session:
        return session.get_one(Run, job.runs[0].id)


def test_a_log_is_removed_after_its_period_and_its_readers_are_told(
    people: People, ground: Ground, moved: MovedClock
) -> None:
    old = ended_job(people, ground)
    moved.pass_(days=60)
    young = ended_job(people, ground)
    moved.pass_(days=31)
    assert names(collect(ground, dry_run=True), "log") == [old.runs[0].id]
    assert (ground.runs_dir / old.runs[0].id / "log").exists(), "a dry run removes nothing"
    assert not told(people, "log.removed")
    assert names(collect(ground), "log") == [old.runs[0].id]
    assert [folder.name for folder in ground.runs_dir.iterdir()] == [young.runs[0].id]
    with pytest.raises(Gone, match=r"removed at 2026-04-02 00:00 UTC by the site's retention, 91 days after its end"):
        retention.check_log_kept(row(people, old))
    retention.check_log_kept(row(people, young))
    [event] = told(people, "log.removed")
    assert (event.urn, event.data["runId"]) == (old.urn, old.runs[0].id)
    assert names(collect(ground), "log") == []


def test_logs_of_living_runs_are_kept(people: People, ground: Ground, moved: MovedClock) -> None:
    job = people.submit("alice")
    with people.store.begin() as session:
        admit_now(session, people.site)
        runs.mark_started(session, job.runs[0].server_name, "c", None, "sha256:1", "node")
    (ground.runs_dir / job.runs[0].id).mkdir()
    (ground.runs_dir / job.runs[0].id / "run.json").touch()
    moved.pass_(days=5000)
    assert not names(collect(ground), "log")
    assert (ground.runs_dir / job.runs[0].id / "run.json").exists()


def test_a_period_of_none_keeps_for_ever(people: People, ground: Ground, moved: MovedClock) -> None:
    ended_job(people, ground)
    (ground.runs_dir / "00000000-0000-4000-8000-000000000000").mkdir()
    moved.pass_(days=50_000)
    done = collect(replace(ground, periods=Periods(None, None, None, None)))
    assert done.items == []
    assert Periods.in_days(logs=0, images=1, events=0, audit=2) == Periods(
        None, timedelta(days=1), None, timedelta(days=2)
    )


def test_a_stop_between_mark_and_removal_leaves_nothing(people: People, ground: Ground, moved: MovedClock) -> None:
    job = ended_job(people, ground)
    moved.pass_(days=91)
    with people.store.begin() as session:
        [due] = retention.due_logs(session, ground.periods, 10)
        retention.mark_log_removed(session, due, events.SYSTEM, "")
    assert names(collect(ground), "run-folder") == [job.runs[0].id]
    assert not list(ground.runs_dir.iterdir())


def test_scratch_that_an_end_left_behind_goes_and_links_are_not_followed(
    people: People, ground: Ground, moved: MovedClock, tmp_path: Path
) -> None:
    job = ended_job(people, ground)
    folder = ground.runs_dir / job.runs[0].id
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (folder / "home").mkdir()
    (folder / "home" / "link").symlink_to(precious)
    (folder / "run.json").symlink_to(precious / "file")
    assert not names(collect(ground), "run-scratch"), "it has just ended: the reconciler is at it"
    moved.pass_(minutes=11)
    assert len(names(collect(ground), "run-scratch")) == 2
    assert os.listdir(folder) == ["log"]
    assert (precious / "file").exists()
    assert len(told(people, "run-scratch.removed")) == 2


def test_folders_of_no_run_have_the_time_of_a_log(people: People, ground: Ground, moved: MovedClock) -> None:
    folder = ground.runs_dir / "00000000-0000-4000-8000-000000000000"
    folder.mkdir()
    (ground.runs_dir / "notes").mkdir()
    for days, expected in ((89, []), (91, [folder.name])):
        past = (moved.now - timedelta(days=days)).timestamp()
        os.utime(folder, (past, past))
        assert names(collect(ground), "run-folder") == expected
    assert [left.name for left in ground.runs_dir.iterdir()] == ["notes"], "what nobody of us made is left alone"


def test_what_cannot_be_removed_is_said(people: People, ground: Ground, moved: MovedClock) -> None:
    job = ended_job(people, ground)
    moved.pass_(days=91)
    folder = ground.runs_dir / job.runs[0].id
    # Not even root removes from here.
    os.mkfifo(folder / "fifo")
    marked = os.system(f"chattr +i {folder}/log 2>/dev/null") == 0
    if not marked:
        pytest.skip("this file system knows no immutable files")
    try:
        done = collect(ground)
        assert not names(done, "log")
        assert any("cannot be removed" in reason for reason in done.skipped)
    finally:
        os.system(f"chattr -i {folder}/log")
    assert names(collect(ground), "run-folder") == [job.runs[0].id], "the next round goes on"


def test_logins_and_keys_past_their_life(people: People, ground: Ground, moved: MovedClock) -> None:
    job = people.submit("alice", key="a key")
    for _ in range(2):
        with people.store.begin() as session:
            user = people.actor(session, "alice").user_id
            gate_sessions.create_code(session, user_id=user, job_id=job.id, host="h", state="s")
            gate_sessions.create_session(session, user_id=user, job_id=job.id, host="h")
    assert not collect(ground).items
    moved.pass_(hours=25)
    people.submit("alice", key="a young key")
    done = collect(ground)
    assert names(done, "login") == ["4 codes and sessions of job hosts"]
    assert names(done, "idempotency-key") == ["1 Idempotency-Keys"]
    with people.store.begin(write=False) as session:
        assert not session.scalars(select(LoginCode)).all()
        assert not session.scalars(select(GateSession)).all()
        assert [used.key for used in session.scalars(select(IdempotencyKey))] == ["a young key"]


def test_events_of_the_toolkit_go_those_of_people_stay_longer(
    people: People, ground: Ground, moved: MovedClock
) -> None:
    with people.store.begin() as session:
        for number in range(1200):
            events.record(session, "run.waits", f"urn{number}")
        events.record(session, "job.kill", "urn", actor="acme.alice")
    moved.pass_(days=366)
    before = last(people)
    done = collect(ground)
    assert len(names(done, "event")) == 3
    assert last(people) > before, "the change counter never goes back"
    kept = [event.type for event in every_event(people)]
    assert "job.kill" in kept
    assert "run.waits" not in kept
    assert sum(event.data["count"] for event in told(people, "events.removed")) >= 1200
    moved.pass_(days=1000)
    collect(ground)
    assert "job.kill" not in [event.type for event in every_event(people)]


def every_event(people: People) -> list[Event]:
    with people.store.begin(write=False) as session:
        return list(session.scalars(select(Event).order_by(Event.seq)))


def last(people: People) -> int:
    with people.store.begin(write=False) as session:
        return events.last_seq(session)


def test_pulled_images_are_due_after_their_last_use(people: People, moved: MovedClock) -> None:
    def due() -> list[str]:
        with people.store.begin(write=False) as session:
            return [pull.reference for pull in retention.due_pulls(session, Periods())]

    with people.store.begin() as session:
        for name in ("never-used", "used", "wanted"):
            retention.record_pull(session, name, f"sha256:{name}")
    assert due() == []
    moved.pass_(days=20)
    job = people.submit("alice")
    with people.store.begin() as session:
        admit_now(session, people.site)
        runs.mark_started(session, job.runs[0].server_name, "c", None, "sha256:used", "node")
        runs.mark_ended(session, job.runs[0].id, runs.Ending(0))
    moved.pass_(days=11)
    people.submit("bob", image="wanted")
    assert due() == ["never-used"]
    moved.pass_(days=20)
    assert due() == ["never-used", "used"]
    with people.store.begin() as session:
        retention.record_pull(session, "used", "sha256:newer")
        assert session.get_one(PulledImage, "used").image_id == "sha256:newer"
    assert due() == ["never-used"]


def test_without_an_engine_nothing_of_it_is_judged(people: People, ground: Ground, moved: MovedClock) -> None:
    (ground.accounts_dir / f"sha256-{'0' * 64}").mkdir()
    version = ground.runtime_dir / ("0" * 16)
    version.mkdir()
    (ground.runtime_dir / "current").symlink_to("1" * 16)
    done = collect(ground)
    assert done.items == []
    assert {reason.partition(":")[0] for reason in done.skipped} >= {"containers", "runtimes", "account files"}
    assert version.exists()


def test_a_clock_that_was_moved_is_not_believed(people: People, ground: Ground, moved: MovedClock) -> None:
    ended_job(people, ground)
    collector = Collector(ground)
    moved.pass_(days=91)
    clock.set_clock(lambda: (moved.now + timedelta(hours=2)).timestamp())
    with pytest.raises(Conflict, match=r"moved by \+2\.0 hours"):
        asyncio.run(collector.collect())
    assert asyncio.run(collector.collect(dry_run=True)).items, "to look is free"
    assert names(asyncio.run(collector.collect()), "log"), "whoever asks again has looked at the clock"
