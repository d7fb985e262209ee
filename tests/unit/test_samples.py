"""What runs used, as it is kept: down-sampled whatever way it comes, bounded in time, seen by right only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from tests.unit.conftest import People
from tests.unit.test_retention import MovedClock, collect, ended_job, ground, moved  # noqa: F401 - fixtures
from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_client.models import Job
from toolkit_hub import clock
from toolkit_hub.domain import job_metrics, retention, samples
from toolkit_hub.domain.job_metrics import Window, coarser
from toolkit_hub.domain.samples import DEVICES, RUNS, Kind, Sample, store_samples
from toolkit_hub.garbage import Ground
from toolkit_hub.store import Store
from toolkit_spawner.device_readings import DeviceReading

#: A full quarter of an hour.
BEGIN = 1_767_225_600
GIB = 2**30
START = datetime.fromtimestamp(BEGIN, UTC)
NOW = START + timedelta(minutes=40)
MEASURES = [*RUNS.measures, *(f"{name}_max" for name in RUNS.measures)]


@pytest.fixture
def at_now() -> Iterator[None]:
    with time_is(NOW):
        yield


@contextmanager
def time_is(now: datetime) -> Iterator[None]:
    clock.set_clock(now.timestamp)
    try:
        yield
    finally:
        clock.set_clock()


def keep(store: Store, *readings: Sample) -> None:
    with store.begin() as session:
        store_samples(session, readings)


def rows(store: Store, kind: Kind = RUNS, step: int | None = None) -> list[dict[str, Any]]:
    query = select(kind.table).order_by(*kind.table.primary_key.columns)
    with store.begin(write=False) as session:
        found = [dict(row._mapping) for row in session.execute(query)]
    return [row for row in found if step is None or row["step"] == step]


def ask(people: People, user: str, job: Job, window: Window | None = None, fresh: Sequence[Sample] = ()) -> Any:
    with people.store.begin(write=False) as session:
        actor = people.actor(session, user)
        return job_metrics.job_metrics(session, actor, job.id, window or Window(), fresh)


# --- down-sampling ----------------------------------------------------------------------------------------------------------

maybe = st.none() | st.floats(0, 64, allow_nan=False, width=16)
whole = st.none() | st.integers(0, 2**44)
readings = st.builds(
    lambda number, cpu, memory, sent: Sample("", BEGIN + 5 * number, cpu=cpu, memory=memory, net_sent=sent),
    st.integers(0, 479),
    maybe,
    whole,
    whole,
)


@pytest.fixture(scope="module")
def one_run(populated_file: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """A store with a run, for many examples."""
    file = tmp_path_factory.mktemp("samples") / "store.sqlite"
    file.write_bytes(populated_file.read_bytes())
    store = Store(f"sqlite:///{file}")
    yield store, People(store, file.parent).submit("alice").runs[0].id
    store.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(taken=st.lists(readings, min_size=1, max_size=40, unique_by=lambda one: one.at), data=st.data())
def test_steps_are_means_and_maxima_of_their_readings_in_whatever_portions_they_come(
    one_run: tuple[Store, str], at_now: None, taken: list[Sample], data: st.DataObject
) -> None:
    store, run_id = one_run
    with store.begin() as session:
        session.execute(delete(RUNS.table))
    # As they come: in order of time, cut anywhere, a portion perhaps twice (its answer was lost).
    ordered = [replace(one, run_id=run_id) for one in sorted(taken, key=lambda one: one.at)]
    cuts = sorted(data.draw(st.sets(st.integers(1, 40), max_size=5)))
    edges = [0, *[cut for cut in cuts if cut < len(ordered)], len(ordered)]
    for begin, end in pairwise(edges):
        for _ in range(1 + data.draw(st.booleans())):
            keep(store, *ordered[begin:end])
    assert [(row["at"], row["cpu"], row["memory"]) for row in rows(store, step=5)] == [
        (one.at, one.cpu, one.memory) for one in ordered
    ]
    for step in (60, 900):
        expected = {at: list(group) for at, group in groupby(ordered, key=lambda one: one.at // step * step)}
        found = {row["at"]: row for row in rows(store, step=step)}
        assert found.keys() == expected.keys()
        for at, members in expected.items():
            check_step(found[at], members)


def check_step(row: dict[str, Any], members: list[Sample]) -> None:
    for name in RUNS.measures:
        known = [value for one in members if (value := getattr(one, name)) is not None]
        if not known:
            assert (row[name], row[f"{name}_max"]) == (None, None), "unknown is not 0"
            continue
        assert row[f"{name}_max"] == max(known)
        mean = sum(known) / len(known)
        assert row[name] == pytest.approx(mean, rel=1e-9, abs=0.5 if name in samples.WHOLE else 1e-9)


@given(
    values=st.lists(st.tuples(st.integers(0, 100), maybe), min_size=1, max_size=50),
    step=st.sampled_from([10, 60, 300, 900]),
)
def test_coarser_steps_lose_no_maximum_and_invent_nothing(values: list[tuple[int, float | None]], step: int) -> None:
    blank: dict[str, Any] = dict.fromkeys(MEASURES)
    given_rows = [{**blank, "run_id": "r", "at": 5 * at, "cpu": cpu, "cpu_max": cpu} for at, cpu in values]
    thinned = coarser(RUNS, given_rows, step)
    assert [row["at"] for row in thinned] == sorted({row["at"] // step * step for row in given_rows})
    known = [cpu for _, cpu in values if cpu is not None]
    peaks = [row["cpu_max"] for row in thinned if row["cpu_max"] is not None]
    assert max(peaks, default=None) == max(known, default=None)
    assert all(row["cpu"] is None or min(known) <= row["cpu"] + 1e-9 <= max(known) + 2e-9 for row in thinned)


def test_both_databases_down_sample_alike(people: People, at_now: None) -> None:
    run_id = people.submit("alice").runs[0].id
    for number in range(24):
        device = {"GPU-1": DeviceReading(use=float(number), memory=GIB * number, temperature=None)}
        keep(people.store, Sample(run_id, BEGIN + 5 * number, cpu=number / 8, memory=2**20 * number, devices=device))
    minutes = rows(people.store, step=60)
    assert [(row["at"] - BEGIN, row["cpu"], row["cpu_max"], row["memory"]) for row in minutes] == [
        (0, 5.5 / 8, 11 / 8, round(5.5 * 2**20)),
        (60, 17.5 / 8, 23 / 8, round(17.5 * 2**20)),
    ]
    assert all(row["disk_read"] is None for row in minutes)
    (quarter,) = rows(people.store, DEVICES, 900)
    assert (quarter["device"], quarter["use"], quarter["use_max"]) == ("GPU-1", 11.5, 23.0)
    assert (quarter["memory"], quarter["memory_max"], quarter["temperature"]) == (round(11.5 * GIB), 23 * GIB, None)


# --- what readers get -------------------------------------------------------------------------------------------------------


def test_a_series_its_last_reading_and_its_peak(people: People, at_now: None) -> None:
    job = people.submit("alice", resources={"cpu": 2, "mem": 4})
    run_id = job.runs[0].id
    first = BEGIN + 30 * 60
    keep(people.store, *(Sample(run_id, first + 5 * n, cpu=1.5, memory=GIB, disk_read=1000) for n in range(6)))
    fresh = [Sample(run_id, first + 30, cpu=1.75, memory=2 * GIB, devices={"GPU-1": DeviceReading(80.0, GIB)})]
    found = ask(people, "alice", job, fresh=fresh)
    assert (found.step, len(found.points), found.cpu_limit, found.memory_limit) == (5, 7, 2, 4)
    assert [(one.cpu, one.memory, one.disk_read, one.net_sent) for one in found.points[-2:]] == [
        (1.5, 1.0, 1000.0, None),
        (1.75, 2.0, None, None),
    ]
    assert (found.last.cpu, found.last.memory, found.last.run) == (1.75, 2.0, 0)
    assert (found.peak.cpu, found.peak.memory) == (1.75, 2.0)
    assert [(one.device, one.use, one.memory, one.temperature) for one in found.devices] == [("GPU-1", 80.0, 1.0, None)]
    coarse = ask(people, "alice", job, Window(step=60))
    assert [(one.time, one.cpu, one.cpu_max) for one in coarse.points] == [
        (datetime.fromtimestamp(first, UTC), 1.5, 1.5)
    ]
    coarse = ask(people, "alice", job, Window(step=60), [*fresh, replace(fresh[0], at=first + 60)])
    assert [(one.cpu, one.cpu_max) for one in coarse.points] == [(1.5, 1.75), (1.75, 1.75)]


@pytest.mark.parametrize(
    ("length", "asked", "step"),
    [
        (timedelta(minutes=30), None, 5),
        (timedelta(hours=2), None, 60),
        (timedelta(days=1), None, 300),
        (timedelta(days=30), None, 7200),
        (timedelta(days=1), 5, None),
        (timedelta(hours=3), 5, 60),
        (timedelta(minutes=10), 7, 7),
    ],
)
def test_the_step_suits_the_window(
    people: People, at_now: None, length: timedelta, asked: int | None, step: int | None
) -> None:
    job = people.submit("alice")
    window = Window(begin=NOW - length, step=asked)
    if step is None:
        with pytest.raises(InvalidRequest, match="more than 5000 points"):
            ask(people, "alice", job, window)
    else:
        assert ask(people, "alice", job, window).step == step


def test_a_window_that_ends_before_it_begins(people: People, at_now: None) -> None:
    with pytest.raises(InvalidRequest, match="ends before it begins"):
        ask(people, "alice", people.submit("alice"), Window(begin=NOW, end=START))


def test_only_who_may_see_the_job_sees_what_it_uses(people: People, at_now: None) -> None:
    job = people.submit("alice")
    keep(people.store, Sample(job.runs[0].id, BEGIN + 1800, cpu=1.0))
    assert ask(people, "admin", job).last.cpu == 1.0
    with pytest.raises(NotFound):
        ask(people, "bob", job)


# --- the end of samples -----------------------------------------------------------------------------------------------------


def count(people: People) -> dict[int, int]:
    columns = RUNS.table.c
    with people.store.begin(write=False) as session:
        query = select(columns.step, func.count()).group_by(columns.step)
        return dict(session.execute(query).all())


def test_a_running_run_keeps_so_much_and_no_more(people: People) -> None:
    """The shorter steps end as the run goes on; nobody has to clean up for that."""
    run_id = people.submit("alice").runs[0].id
    for hour in range(40):
        now = START + timedelta(hours=hour)
        with time_is(now):
            keep(people.store, *(Sample(run_id, int(now.timestamp()) - 60 * n, cpu=1.0) for n in range(5)))
    kept = count(people)
    assert kept[5] == 5 + 5
    assert kept[60] == 25 * 5 + 1
    assert kept[900] == 40 * 2, "the readings before a full hour are in another quarter"


def test_samples_are_removed_after_their_time(people: People, ground: Ground, moved: MovedClock) -> None:  # noqa: F811
    job = ended_job(people, ground)
    at = int(clock.now().timestamp()) // 5 * 5
    keep(people.store, Sample(job.runs[0].id, at, cpu=1.0, devices={"GPU-1": DeviceReading(use=1.0)}))
    assert count(people) == {5: 1, 60: 1, 900: 1}
    moved.pass_(hours=3)
    done = collect(ground)
    assert [item.name for item in done.items if item.kind == "samples"] == ["samples of 1 runs"]
    assert count(people) == {60: 1, 900: 1}
    moved.pass_(days=2)
    collect(ground)
    assert count(people) == {900: 1}
    assert rows(people.store, DEVICES) != []
    moved.pass_(days=29)
    collect(ground)
    assert count(people) == {}
    assert rows(people.store, DEVICES) == []
    assert not [item for item in collect(ground, dry_run=True).items if item.kind == "samples"]


def test_samples_go_with_the_runs_log(people: People, ground: Ground, moved: MovedClock) -> None:  # noqa: F811
    job = ended_job(people, ground)
    keep(people.store, Sample(job.runs[0].id, int(clock.now().timestamp()) // 5 * 5, cpu=1.0))
    moved.pass_(days=2)
    short = replace(ground, periods=replace(ground.periods, logs=timedelta(days=1), samples=None))
    collect(short)
    assert rows(people.store) == []


def test_for_ever_is_for_ever(people: People, ground: Ground, moved: MovedClock) -> None:  # noqa: F811
    job = ended_job(people, ground)
    keep(people.store, Sample(job.runs[0].id, int(clock.now().timestamp()) // 5 * 5, cpu=1.0))
    moved.pass_(days=800)
    collect(replace(ground, periods=retention.Periods(None, None, None, None, None)))
    assert count(people) == {900: 1}


def test_readings_that_come_too_late_are_left_out(people: People, at_now: None) -> None:
    """The steps that they belong to may have lost readings already, and would be worked out of a part."""
    run_id = people.submit("alice").runs[0].id
    keep(people.store, Sample(run_id, int((NOW - timedelta(hours=2)).timestamp()) // 5 * 5, cpu=1.0))
    assert rows(people.store) == []


def test_the_sweep_does_not_hold_the_writer_for_long(people: People, at_now: None) -> None:
    """It is asked for runs in portions, and each portion is a transaction of its own."""
    jobs = [people.submit("alice") for _ in range(3)]
    for job in jobs:
        keep(people.store, Sample(job.runs[0].id, BEGIN, cpu=1.0))
    with time_is(NOW + timedelta(hours=3)), people.store.begin() as session:
        due = samples.due_runs(session, timedelta(days=30), 2)
        assert len(due) == 2
        samples.remove_due(session, due, timedelta(days=30))
        assert len(samples.due_runs(session, timedelta(days=30), 9)) == 1
