"""Runs that stay between two states, which something should move and does not; and GPUs that nobody gets."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.admin_models import Finding
from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.doctor.check import Patient, ok, warning
from toolkit_hub.store.tables import Run

__all__ = ["check_gpus", "check_runs"]

#: Time in which a run starts, or ends after it was killed; a pull of a large image may take longer.
LONG = timedelta(minutes=5)


def check_runs(patient: Patient) -> Iterator[Finding]:
    with patient.store.begin(write=False) as session:
        stuck = _stuck(session)
        counts = dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).all())
    for run in stuck[:5]:
        words = (
            f"run {run.server_name} of job {run.job_id} has been {run.state} for more than 5 minutes ({run.state_info})"
        )
        yield warning("runs", words[:300], f"look for {run.server_name} in logs/service.log and logs/hub.log")
    if not stuck:
        running, waiting = counts.get(JobState.RUNNING, 0), counts.get(JobState.QUEUING, 0)
        yield ok("runs", f"{running} running, {waiting} waiting, none stuck between states")


def check_gpus(patient: Patient) -> Iterator[Finding]:
    if not patient.devices:
        return
    drained = [device for device in patient.devices if device.drained]
    for device in drained[:5]:
        words = f"GPU {device.uuid} ({device.model}) is out of use: {device.drained}"
        yield warning(
            "gpus", words[:500], "`toolkit gpu ls` shows all; it comes back by itself when the reason is gone"
        )
    if not drained:
        yield ok("gpus", f"{len(patient.devices)}, all of them in use or free to be given out")


def _stuck(session: Session) -> list[Run]:
    before = clock.now() - LONG
    starting = (Run.state == JobState.QUEUED) & (Run.queued < before)
    ending = (Run.state == JobState.CANCELLING) & (Run.cancelled < before)
    return list(session.scalars(select(Run).where(starting | ending).order_by(Run.created)))
