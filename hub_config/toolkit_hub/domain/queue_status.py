"""The site's capacity and queue at a glance."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.models import JobState, QueueStatus
from toolkit_hub.domain import ledger, runs
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Run

__all__ = ["queue_status"]


def queue_status(session: Session, site: Site, actor: Actor) -> QueueStatus:
    authorise(session, actor, "organization:get", actor.organization_id)
    counts = dict(session.execute(select(Run.state, func.count()).group_by(Run.state)).tuples().all())
    held = runs.held(session)
    return QueueStatus(
        cpu_total=site.total.cpu,
        cpu_held=held.cpu,
        mem_total=site.total.mem,
        mem_held=held.mem,
        gpu_total=len(site.devices()),
        gpu_held=len(ledger.holders(session)),
        waiting=counts.get(JobState.QUEUING, 0),
        running=sum(counts.get(state, 0) for state in runs.HOLDING),
    )
