"""What runs used, sample by sample: kept in steps of three lengths, each for its time, down-sampled as mean and maximum.

The longer steps are worked out of the readings themselves each time that readings of theirs are stored, and not one from
another; so it makes no difference in how many portions readings come, or whether the service was restarted in between.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, and_, delete, func, insert, literal, or_, select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.store.metrics_tables import DeviceSample, RunSample
from toolkit_hub.store.tables import Base
from toolkit_spawner.device_readings import DeviceReading

__all__ = [
    "DEVICES",
    "LONGEST_S",
    "READING_S",
    "RUNS",
    "SHORT_STEPS",
    "STEPS",
    "Kind",
    "Sample",
    "due_runs",
    "forget_run",
    "remove_due",
    "rows_of",
    "store_samples",
]

#: Seconds between two readings: the shortest step.
READING_S = 5
#: Seconds of the longest step, which is kept for the site's `metrics_retention`.
LONGEST_S = 900
#: Seconds of each other step, and how long it is kept: an hour and a day for who looks back, and some more, so that whoever asks
#: for just that time gets it, and that the longest step can be worked out until it is complete.
SHORT_STEPS = {READING_S: timedelta(minutes=80), 60: timedelta(hours=25)}
STEPS = (*SHORT_STEPS, LONGEST_S)
#: Readings older than this are not stored: the steps that they belong to could not be worked out again.
OLDEST = timedelta(hours=1)


class Kind(NamedTuple):
    """A table of samples: what tells its rows apart besides run, step and time, and what it measures."""

    table: Table
    keys: tuple[str, ...]
    measures: tuple[str, ...]


RUNS = Kind(
    Base.metadata.tables[RunSample.__tablename__],
    (),
    ("cpu", "memory", "disk_read", "disk_write", "net_received", "net_sent"),
)
DEVICES = Kind(Base.metadata.tables[DeviceSample.__tablename__], ("device",), ("use", "memory", "temperature"))
KINDS = (RUNS, DEVICES)
#: Measures that are whole numbers (bytes).
WHOLE = frozenset({"memory", "disk_read", "disk_write", "net_received", "net_sent"})


@dataclass(frozen=True)
class Sample:
    """One reading of a run; `at` is in seconds since the epoch, a multiple of `READING_S`. None: unknown."""

    run_id: str
    at: int
    #: Cores.
    cpu: float | None = None
    #: Bytes; those below are bytes in a second.
    memory: int | None = None
    disk_read: int | None = None
    disk_write: int | None = None
    net_received: int | None = None
    net_sent: int | None = None
    #: UUID → reading, for each device that the run held.
    devices: Mapping[str, DeviceReading] = field(default_factory=dict)


def store_samples(session: Session, samples: Sequence[Sample]) -> None:
    """Keep readings, and work out the longer steps that they are in; the same readings again change nothing."""
    oldest = (clock.now() - OLDEST).timestamp()
    for chunk in _by_runs([sample for sample in samples if sample.at >= oldest]):
        runs = sorted({sample.run_id for sample in chunk})
        first, last = min(sample.at for sample in chunk), max(sample.at for sample in chunk)
        for kind in KINDS:
            rows = {_key(kind, row): row for sample in chunk for row in rows_of(kind, sample)}
            if rows:
                _replace(session, kind, runs, READING_S, first, last)
                session.execute(insert(kind.table), list(rows.values()))
                _roll_up(session, kind, runs, first, last)
        _remove_past_steps(session, runs)


def rows_of(kind: Kind, sample: Sample) -> list[dict[str, Any]]:
    """The rows of one reading, each measure with its highest value."""
    head = {"run_id": sample.run_id, "step": READING_S, "at": sample.at}
    if kind is RUNS:
        return [{**head, **_twice(sample, kind.measures)}]
    return [{**head, "device": uuid, **_twice(read, kind.measures)} for uuid, read in sorted(sample.devices.items())]


def _twice(source: Any, measures: Sequence[str]) -> dict[str, Any]:
    return {name + suffix: getattr(source, name) for name in measures for suffix in ("", "_max")}


def _key(kind: Kind, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("run_id", "at", *kind.keys))


def _by_runs(samples: Sequence[Sample], runs_at_once: int = 200) -> list[list[Sample]]:
    """Portions with a bounded number of runs, so that their ids fit in one statement of any database."""
    runs = sorted({sample.run_id for sample in samples})
    parts = [set(runs[start : start + runs_at_once]) for start in range(0, len(runs), runs_at_once)]
    return [[sample for sample in samples if sample.run_id in part] for part in parts]


def _roll_up(session: Session, kind: Kind, runs: Collection[str], first: int, last: int) -> None:
    columns = kind.table.c
    for step in STEPS[1:]:
        begin, end = first // step * step, last // step * step + step
        _replace(session, kind, runs, step, begin, end - 1)
        bucket = (columns.at - columns.at % step).label("bucket")
        means = [func.avg(columns[name]) for name in kind.measures]
        values = [
            value
            for name, mean in zip(kind.measures, means, strict=True)
            for value in (func.round(mean) if name in WHOLE else mean, func.max(columns[f"{name}_max"]))
        ]
        keys = [columns[name] for name in kind.keys]
        query = (
            select(columns.run_id, literal(step), bucket, *keys, *values)
            .where(columns.run_id.in_(runs), columns.step == READING_S, columns.at >= begin, columns.at < end)
            .group_by(columns.run_id, "bucket", *keys)
        )
        names = [name + suffix for name in kind.measures for suffix in ("", "_max")]
        session.execute(insert(kind.table).from_select(["run_id", "step", "at", *kind.keys, *names], query))


def _replace(session: Session, kind: Kind, runs: Collection[str], step: int, first: int, last: int) -> None:
    columns = kind.table.c
    session.execute(
        delete(kind.table).where(
            columns.run_id.in_(runs), columns.step == step, columns.at >= first, columns.at <= last
        )
    )


# --- the end of samples -----------------------------------------------------------------------------------------------------


def _remove_past_steps(session: Session, runs: Collection[str]) -> None:
    """For running runs, as they go; those that have ended are swept."""
    for kind in KINDS:
        columns = kind.table.c
        for step, kept in SHORT_STEPS.items():
            past = columns.at < int((clock.now() - kept).timestamp())
            session.execute(delete(kind.table).where(columns.run_id.in_(runs), columns.step == step, past))


def due_runs(session: Session, period: timedelta | None, limit: int) -> list[str]:
    """Runs with samples that are past the time of their step, or past `period` (None: for ever)."""
    found: set[str] = set()
    for kind in KINDS:
        query = select(kind.table.c.run_id).where(_past(kind, period)).distinct().limit(limit)
        found.update(session.scalars(query))
    return sorted(found)[:limit]


def remove_due(session: Session, runs: Collection[str], period: timedelta | None) -> None:
    """Remove of these runs what is past its time."""
    for kind in KINDS:
        session.execute(delete(kind.table).where(kind.table.c.run_id.in_(runs), _past(kind, period)))


def forget_run(session: Session, run_id: str) -> None:
    """Remove all samples of a run."""
    for kind in KINDS:
        session.execute(delete(kind.table).where(kind.table.c.run_id == run_id))


def _past(kind: Kind, period: timedelta | None) -> ColumnElement[bool]:
    columns, now = kind.table.c, clock.now()
    lives = dict(SHORT_STEPS) if period is None else {step: min(kept, period) for step, kept in SHORT_STEPS.items()}
    if period is not None:
        lives[LONGEST_S] = period
    return or_(
        *(and_(columns.step == step, columns.at < int((now - kept).timestamp())) for step, kept in lives.items())
    )
