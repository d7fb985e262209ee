"""Why a job waits, and what would start it now: the planner's answers in the words of the API.

What others hold is told to everybody, who they are only to those who may see their jobs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import JobState
from toolkit_client.queue_models import JobWhy, WaitAhead, WaitHolder, WaitProposal, WaitShort
from toolkit_client.urn import job_urn
from toolkit_hub.domain import dependencies
from toolkit_hub.domain.access import Actor, allowed, authorise
from toolkit_hub.domain.jobs import find_job
from toolkit_hub.domain.queue_state import read_state
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.planning import (
    Ahead,
    Change,
    Explanation,
    Holder,
    Proposal,
    QueueState,
    QuotaBlock,
    RunClass,
    explain,
    plan,
    what_if,
)
from toolkit_hub.store.tables import Account, Job, Run

__all__ = ["job_why"]


def job_why(session: Session, site: Site, actor: Actor, reference: str, promised: tuple[str, ...] = ()) -> JobWhy:
    """For a job that waits; of one that does not, only its state and what that says."""
    job = find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    told = JobWhy(job=job.id, state=JobState(job.state), reason=job.state_info)
    if job.state != JobState.QUEUING:
        return told
    state = read_state(session, site, site.capacity(), promised, dependencies.unmet(session))
    decided = plan(state)
    run_id = job.runs[-1].id
    found = explain(state, decided, run_id)
    if found is None:
        return told
    eyes = _Eyes(session, actor, found)
    return told.model_copy(
        update={
            "position": found.position,
            "length": found.length,
            "ahead": [eyes.ahead(one) for one in found.ahead],
            "short": [
                WaitShort.model_validate({"what": s.what, "asked": s.asked, "free": s.free, "total": s.total})
                for s in found.short
            ],
            "holders": [eyes.holder(one) for one in found.holders],
            "quota": _held_back(found.quota) if found.quota else None,
            "earliest": _time(found.estimate.earliest),
            "likely": _time(found.estimate.likely),
            "latest": _time(found.estimate.latest),
            "proposals": [_proposal(one) for one in what_if(state, run_id, decided, _highest_bid(state, run_id))],
        }
    )


def _held_back(quota: QuotaBlock) -> str:
    return f"{quota.details()}; {quota.raised_by()} raises it"


def _highest_bid(state: QueueState, run_id: str) -> int | None:
    """What the run's quotas let it bid."""
    run = next(run for run in state.waiting if run.run_id == run_id)
    scopes = state.limits.scopes(run.user, run.account, run.organization)
    return min((quota.bid for _, _, quota in scopes if quota.bid is not None), default=None)


class _Eyes:
    """Which of the others' jobs the actor may see."""

    def __init__(self, session: Session, actor: Actor, found: Explanation) -> None:
        runs = [one.run_id for one in found.ahead] + [one.run_id for one in found.holders]
        self._names: dict[str, tuple[str, str]] = {}
        for one in _jobs_of(session, runs):
            if allowed(session, actor, "job:get", job_urn(one.organization_id, one.account_id, one.job_id)):
                self._names[one.run_id] = (one.job_id, one.account)

    def ahead(self, one: Ahead) -> WaitAhead:
        return WaitAhead(job=self._names.get(one.run_id, (None,))[0], because=one.because)

    def holder(self, one: Holder) -> WaitHolder:
        job, account = self._names.get(one.run_id, (None, None))
        return WaitHolder(
            job=job, account=account, gpus=len(one.devices), cpu=one.cpu, mem=one.mem, until=_time(one.until)
        )


@dataclass(frozen=True)
class _Known:
    """A run's job, with what the question who may see it takes."""

    run_id: str
    job_id: str
    account_id: str
    organization_id: str
    account: str


def _jobs_of(session: Session, runs: Iterable[str]) -> list[_Known]:
    query = (
        select(Run.id, Run.job_id, Job.account_id, Account.organization_id, Account.full_name)
        .join(Job, Job.id == Run.job_id)
        .join(Account, Account.id == Job.account_id)
        .where(Run.id.in_(list(runs)))
    )
    return [_Known(*row) for row in session.execute(query).all()]


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _proposal(found: Proposal) -> WaitProposal:
    return WaitProposal(
        words=_in_words(found.change),
        patch=_patch(found.change),
        stops=len(found.preempts),
        lost=sum(victim.lost for victim in found.preempts),
        overtakes=len(found.overtakes) + len(found.delays),
    )


def _in_words(change: Change) -> str:
    parts = []
    if change.gpu is not None:
        parts.append(f"{change.gpu} GPU{'s' * (change.gpu > 1)}")
    if change.any_model:
        parts.append("any model of GPU")
    if change.gpu_model is not None:
        parts.append(f"GPUs of the model {change.gpu_model}")
    if change.gpu_mem is not None:
        parts.append(f"GPUs of {change.gpu_mem:g} GiB")
    if change.cpu is not None:
        parts.append(f"{change.cpu:g} CPU{'s' * (change.cpu != 1)}")
    if change.mem is not None:
        parts.append(f"{change.mem:g} GiB of memory")
    if change.run_class is not None:
        parts.append(f"as a {change.run_class.word} job")
    if change.bid is not None:
        parts.append(f"a bid of {change.bid}")
    if change.max_run_time is not None:
        parts.append(f"a time limit of {int(change.max_run_time) // 60} min")
    return f"with {' and '.join(parts)}".replace("with as a", "as a")


def _patch(change: Change) -> dict[str, Any]:
    amounts = {"gpu": change.gpu, "gpuModel": change.gpu_model, "gpuMem": change.gpu_mem}
    amounts |= {"cpu": change.cpu, "mem": change.mem}
    resources: dict[str, object] = {name: value for name, value in amounts.items() if value is not None}
    if change.any_model:
        resources["gpuModel"] = None
    body: dict[str, Any] = {"resources": resources} if resources else {}
    if change.run_class is not None:
        body["preemptable"] = True
        body["restartable"] = change.run_class is RunClass.RESTARTABLE
    if change.bid is not None:
        body["bid"] = change.bid
    if change.max_run_time is not None:
        body["maxRunTime"] = int(change.max_run_time)
    return body
