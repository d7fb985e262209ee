"""What jobs used, as their readers see it: series in a step of their choice, the newest reading, the most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest
from toolkit_client.metrics_models import DevicePeak, DeviceUse, JobMetrics, JobUsage, TopJob, UsagePeak, UsePoint
from toolkit_client.models import Job as WireJob
from toolkit_hub import clock
from toolkit_hub.domain import jobs
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.samples import DEVICES, LONGEST_S, READING_S, RUNS, SHORT_STEPS, STEPS, Kind, Sample, rows_of
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Job, Run

__all__ = ["FEW_POINTS", "MANY_POINTS", "Window", "coarser", "get_job_with_usage", "job_metrics", "top_job"]

#: Points of a series when nobody says how many, and the most that one may ask for.
FEW_POINTS, MANY_POINTS = 400, 5000
#: Window when nobody says which.
USUAL = timedelta(minutes=30)
#: Steps that are chosen from, in seconds.
ROUND_STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
#: Measures in bytes that are shown in GiB.
IN_GIB = frozenset({"memory"})

Row = Mapping[str, Any]
PointT = TypeVar("PointT", UsePoint, DeviceUse)


@dataclass(frozen=True)
class Window:
    """From when to when, and in steps of how many seconds; None: as suits the rest."""

    begin: datetime | None = None
    end: datetime | None = None
    step: int | None = None


def job_metrics(
    session: Session, actor: Actor, reference: str, window: Window, fresh: Sequence[Sample] = ()
) -> JobMetrics:
    """What a job used in a window, for those who may see the job. `fresh` are readings that are not stored yet.

    Raises `InvalidRequest` for a window that ends before it begins, or that would have too many points.
    """
    job = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    begin, end, step = _bounds(window)
    read_step = _stored_step(begin, step)
    step = max(step, read_step)
    indexes = {run.id: run.index for run in job.runs}
    series = {}
    for kind in (RUNS, DEVICES):
        rows = _stored(session, kind, list(indexes), read_step, begin, end)
        newer = [one for one in fresh if one.run_id in indexes and begin.timestamp() <= one.at <= end.timestamp()]
        rows = _with_fresh(kind, rows, newer, read_step)
        series[kind.table.name] = coarser(kind, rows, step)
    usage = _usage(session, job, fresh)
    return JobMetrics(
        **dict(usage),
        job_id=job.id,
        begin=begin,
        end=end,
        step=step,
        points=_points(RUNS, series[RUNS.table.name], indexes, UsePoint),
        device_points=_points(DEVICES, series[DEVICES.table.name], indexes, DeviceUse),
    )


def get_job_with_usage(
    session: Session, site: Site, actor: Actor, reference: str, fresh: Sequence[Sample] = ()
) -> WireJob:
    """One job, for those who may see it, with what it uses; or an array, of which its jobs tell that."""
    shown = jobs.look_up(session, site, actor, reference)
    if shown.kind == "array":
        return shown
    usage = _usage(session, session.get_one(Job, shown.id), fresh)
    return shown.model_copy(update={"usage": usage})


def top_job(job: Mapping[str, Any], sample: Sample | None) -> TopJob:
    """A job as `job_list.list_jobs` gives it, with the newest reading of its run."""
    run = job["runs"][-1]
    indexes = {run["id"]: run["index"]}
    last = [] if sample is None else _points(RUNS, rows_of(RUNS, sample), indexes, UsePoint)
    return TopJob.model_construct(
        id=job["id"],
        name=job["name"],
        account=job["account"],
        creator=job["creator"],
        run=run["index"],
        cpu_limit=job["resources"].get("cpu"),
        memory_limit=job["resources"].get("mem"),
        last=last[0] if last else None,
        devices=[] if sample is None else _points(DEVICES, rows_of(DEVICES, sample), indexes, DeviceUse),
    )


# --- the window -----------------------------------------------------------------------------------------------------------


def _bounds(window: Window) -> tuple[datetime, datetime, int]:
    end = window.end or clock.now()
    begin = window.begin or end - USUAL
    length = (end - begin).total_seconds()
    if length <= 0:
        raise InvalidRequest("the window ends before it begins", "`from` is earlier than `to`; both are times in UTC")
    if window.step is None:
        return begin, end, next((one for one in ROUND_STEPS if length / one <= FEW_POINTS), ROUND_STEPS[-1])
    if length / max(window.step, READING_S) > MANY_POINTS:
        least = int(length / MANY_POINTS) + 1
        raise InvalidRequest(f"these would be more than {MANY_POINTS} points", f"ask for a step of {least} s or more")
    return begin, end, max(window.step, READING_S)


def _stored_step(begin: datetime, step: int) -> int:
    """The longest stored step that `step` is made of; where that is not kept since `begin`, the shortest that is."""
    now = clock.now()
    kept = [one for one in STEPS if one == LONGEST_S or begin >= now - SHORT_STEPS[one]]
    return max((one for one in kept if step % one == 0), default=kept[0])


# --- rows -----------------------------------------------------------------------------------------------------------------


def _stored(
    session: Session, kind: Kind, run_ids: Sequence[str], step: int, begin: datetime, end: datetime
) -> list[Row]:
    columns = kind.table.c
    query = select(kind.table).where(
        columns.run_id.in_(run_ids),
        columns.step == step,
        columns.at >= int(begin.timestamp()) // step * step,
        columns.at <= int(end.timestamp()),
    )
    return [dict(row._mapping) for row in session.execute(query)]


def _with_fresh(kind: Kind, rows: Iterable[Row], fresh: Sequence[Sample], step: int) -> list[Row]:
    """The stored rows of a step, and those that will be there when the readings at hand are stored.

    A step of which a part is stored already keeps its mean until then.
    """
    found = {_key(kind, row): row for row in rows}
    for row in coarser(kind, (row for sample in fresh for row in rows_of(kind, sample)), step):
        stored = found.get(_key(kind, row))
        if stored is None:
            found[_key(kind, row)] = row
        else:
            tops = (f"{name}_max" for name in kind.measures)
            found[_key(kind, row)] = {**stored, **{top: _of_known((stored, row), top, max) for top in tops}}
    return list(found.values())


def _key(kind: Kind, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run_id", "at", *kind.keys))


def coarser(kind: Kind, rows: Iterable[Row], step: int) -> list[Row]:
    """The rows in longer steps, in order of time: means of the means, and the highest of the highest.

    What is unknown counts for nothing; where all is unknown, so is the result.
    """
    groups: defaultdict[tuple[Any, ...], list[Row]] = defaultdict(list)
    names = ("run_id", *kind.keys)
    for row in rows:
        groups[(row["at"] - row["at"] % step, *(row[name] for name in names))].append(row)
    return [
        {
            "at": at,
            **dict(zip(names, key, strict=True)),
            **{name: _of_known(members, name, _mean) for name in kind.measures},
            **{f"{name}_max": _of_known(members, f"{name}_max", max) for name in kind.measures},
        }
        for (at, *key), members in sorted(groups.items())
    ]


def _of_known(rows: Sequence[Row], name: str, combine: Callable[[list[float]], float]) -> float | None:
    known = [row[name] for row in rows if row[name] is not None]
    return combine(known) if known else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _points(kind: Kind, rows: Iterable[Row], indexes: Mapping[str, int], model: type[PointT]) -> list[PointT]:
    return [_point(kind, row, indexes, model) for row in rows]


def _point(kind: Kind, row: Row, indexes: Mapping[str, int], model: type[PointT]) -> PointT:
    values: dict[str, Any] = {"time": datetime.fromtimestamp(row["at"], UTC), "run": indexes[row["run_id"]]}
    values.update({name: row[name] for name in kind.keys})
    values.update({name + end: _shown(name, row[name + end]) for name in kind.measures for end in ("", "_max")})
    return model.model_construct(**values)


def _shown(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    return round(value / 2**30, 6) if name in IN_GIB else round(float(value), 4)


# --- now, and the most ----------------------------------------------------------------------------------------------------


def _usage(session: Session, job: Job, fresh: Sequence[Sample]) -> JobUsage:
    indexes = {run.id: run.index for run in job.runs}
    ours = [sample for sample in fresh if sample.run_id in indexes]
    newest = {kind.table.name: _newest(session, kind, job.runs[-1], ours) for kind in (RUNS, DEVICES)}
    last = _points(RUNS, newest[RUNS.table.name], indexes, UsePoint)
    return JobUsage.model_construct(
        cpu_limit=job.cpu,
        memory_limit=job.mem,
        last=last[-1] if last else None,
        devices=_points(DEVICES, newest[DEVICES.table.name], indexes, DeviceUse),
        peak=_peak(session, job, ours),
    )


def _newest(session: Session, kind: Kind, run: Run, fresh: Sequence[Sample]) -> list[Row]:
    """The rows of a run's newest reading; of one whose readings are past, those of the newest step that is kept."""
    samples = [sample for sample in fresh if sample.run_id == run.id]
    if samples:
        return list(rows_of(kind, max(samples, key=lambda sample: sample.at)))
    columns = kind.table.c
    for step in STEPS:
        mine = (columns.run_id == run.id, columns.step == step)
        at = session.scalar(select(func.max(columns.at)).where(*mine))
        if at is not None:
            query = select(kind.table).where(*mine, columns.at == at)
            return [dict(row._mapping) for row in session.execute(query)]
    return []


def _peak(session: Session, job: Job, fresh: Sequence[Sample]) -> UsagePeak:
    columns, run_ids = RUNS.table.c, [run.id for run in job.runs]
    stored = session.scalar(
        select(func.max(columns.cpu_max)).where(columns.run_id.in_(run_ids), columns.step == LONGEST_S)
    )
    cpu = max((one for one in (stored, *(sample.cpu for sample in fresh)) if one is not None), default=None)
    memory = [run.peak_memory for run in job.runs if run.peak_memory is not None]
    memory += [sample.memory for sample in fresh if sample.memory is not None]
    return UsagePeak.model_construct(
        cpu=_shown("cpu", cpu),
        memory=_shown("memory", max(memory, default=None)),
        devices=_device_peaks(session, run_ids),
    )


def _device_peaks(session: Session, run_ids: Sequence[str]) -> list[DevicePeak]:
    columns = DEVICES.table.c
    query = (
        select(columns.device, func.max(columns.use_max), func.max(columns.memory_max))
        .where(columns.run_id.in_(run_ids), columns.step == LONGEST_S)
        .group_by(columns.device)
        .order_by(columns.device)
    )
    return [
        DevicePeak.model_construct(device=device, use=_shown("use", use), memory=_shown("memory", memory))
        for device, use, memory in session.execute(query)
    ]
