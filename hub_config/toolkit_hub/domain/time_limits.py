"""`maxRunTime`: how long a run may take, the warning before, and the end. The clock is `toolkit_hub.clock`.

Deadlines are stored with the runs, so that they hold over restarts of every unit.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import JobSpec, JobState
from toolkit_hub import clock
from toolkit_hub.domain import events, runs
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Run

__all__ = ["change_limit", "default_limit", "enforce", "something_due"]

#: The warning comes this long before the end, or a tenth of the limit before it, whichever is less.
LONGEST_WARNING = timedelta(minutes=15)
#: Limits are looked at every second: a shorter warning of a short limit could be missed.
SHORTEST_WARNING = timedelta(seconds=2)


def default_limit(spec: JobSpec, site: Site) -> int:
    """The limit of a job in seconds; 0 = none."""
    if spec.max_run_time is not None:
        return spec.max_run_time
    return 0 if spec.interactive or spec.preemptable else site.max_run_time


def change_limit(run: Run, seconds: int) -> None:
    """Give the job another limit; a run that has started is measured by it from its start."""
    run.job.max_run_time = seconds
    runs.set_deadline(run)
    if run.warned is not None and (run.deadline is None or clock.now() < _warning_time(run, run.deadline)):
        run.warned = None


def something_due(session: Session) -> bool:
    """Whether `enforce` would do anything: a reader's question, so that looking often costs no write."""
    now = clock.now()
    return any(_is_due(run, deadline, now) for run, deadline in _limited(session))


def enforce(session: Session) -> list[str]:
    """Warn of the limits that come near and end the runs whose limit has come; returns the ids of those."""
    now = clock.now()
    ended = []
    for run, deadline in _limited(session):
        if now >= deadline:
            runs.begin_time_limit(session, run)
            ended.append(run.id)
        elif _is_due(run, deadline, now):
            run.warned = now
            left = int((deadline - now).total_seconds())
            data = {"runId": run.id, "deadline": deadline.isoformat(), "secondsLeft": left}
            events.record(session, "run.deadline_near", run.job.urn, data=data)
    return ended


def _limited(session: Session) -> list[tuple[Run, datetime]]:
    query = select(Run).where(Run.state == JobState.RUNNING, Run.deadline.is_not(None))
    return [(run, run.deadline) for run in session.scalars(query) if run.deadline is not None]


def _is_due(run: Run, deadline: datetime, now: datetime) -> bool:
    return now >= deadline or (run.warned is None and now >= _warning_time(run, deadline))


def _warning_time(run: Run, deadline: datetime) -> datetime:
    tenth = timedelta(seconds=run.job.max_run_time / 10)
    return deadline - max(SHORTEST_WARNING, min(LONGEST_WARNING, tenth))
