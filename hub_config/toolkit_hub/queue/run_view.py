"""What the reconciler knows of a run when it looks after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain import runs
from toolkit_hub.store.tables import Run

__all__ = ["RunView", "view_by_name", "view_of"]

#: A run that was admitted longer ago than this is not being started for the first time.
FRESH = timedelta(seconds=5)


@dataclass(frozen=True)
class RunView:
    """What the row says. `tried_before`: it was admitted a while ago, so it is not being started for the first time."""

    run_id: str
    server_name: str
    owner: str
    title: str
    state: JobState
    cancelling: bool
    server_removed: bool
    tried_before: bool
    stop_by: datetime | None


def view_of(session: Session, run_id: str) -> RunView | None:
    run = session.get(Run, run_id)
    return None if run is None else _view(run)


def view_by_name(session: Session, server_name: str) -> RunView | None:
    run = runs.by_server_name(session, server_name)
    return None if run is None else _view(run)


def _view(run: Run) -> RunView:
    return RunView(
        run_id=run.id,
        server_name=run.server_name,
        owner=run.owner,
        title=run.job.name or f"job {run.job_id[:8]}",
        state=JobState(run.state),
        cancelling=run.state == JobState.CANCELLING,
        server_removed=run.server_removed,
        stop_by=run.stop_by,
        tried_before=run.queued is not None and clock.now() - run.queued > FRESH,
    )
