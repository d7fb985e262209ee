"""The queue in its order. Its length and classes are everybody's business, whose jobs they are only of those who may see them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.queue_models import QueuedJob
from toolkit_client.urn import job_urn
from toolkit_hub.domain import dependencies
from toolkit_hub.domain.access import Actor, allowed, authorise
from toolkit_hub.domain.queue_state import read_state, waiting_runs
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.planning import plan, words
from toolkit_hub.store.tables import Account, Job, Run, User

__all__ = ["queue_list"]

#: The page of a very long queue; how long it is, `GET /queue` tells.
LONGEST = 1000


def queue_list(session: Session, site: Site, actor: Actor) -> list[QueuedJob]:
    """The waiting jobs, the next one to start first; those that may not start yet come last."""
    authorise(session, actor, "organization:get", actor.organization_id)
    not_yet = dependencies.unmet(session)
    decided = plan(read_state(session, site, site.capacity(), held_back=not_yet))
    waiting = {run.run_id: run for run in waiting_runs(session)}
    in_line = set(decided.order)
    reasons = {**{run_id: words(reason) for run_id, reason in decided.reasons.items()}, **not_yet}
    ordered = [*decided.order, *(run_id for run_id in reasons if run_id not in in_line)][:LONGEST]
    seen = _seen(session, actor, ordered)
    return [
        QueuedJob(
            position=place if run_id in in_line else None,
            class_=waiting[run_id].run_class.word,
            bid=waiting[run_id].bid,
            gpu=waiting[run_id].request.gpu,
            cpu=waiting[run_id].request.cpu,
            mem=waiting[run_id].request.mem,
            **{"reason": reasons[run_id], **seen.get(run_id, {})},
        )
        for place, run_id in enumerate(ordered, 1)
        if run_id in reasons
    ]


def _seen(session: Session, actor: Actor, run_ids: list[str]) -> dict[str, dict[str, Any]]:
    query = (
        select(Run.id, Run.state_info, Job.id.label("job"), Job.name, Job.account_id, Account.organization_id,
               Account.full_name, User.name.label("user"))
        .join(Job, Job.id == Run.job_id)
        .join(Account, Account.id == Job.account_id)
        .join(User, User.id == Job.creator_id)
        .where(Run.id.in_(run_ids))
    )  # fmt: skip
    return {
        row.id: {
            "job": row.job,
            "name": row.name,
            "account": row.full_name,
            "user": row.user,
            "reason": row.state_info,
        }
        for row in session.execute(query).all()
        if allowed(session, actor, "job:get", job_urn(row.organization_id, row.account_id, row.job))
    }
