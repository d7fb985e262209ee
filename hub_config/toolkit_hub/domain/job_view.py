"""Rows as users see them: the JSON of the wire models, and the models themselves.

What is stored was checked when it came in, so nothing is checked again here; and a list stays JSON from the row to the wire, so
that it costs little more than its query.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from toolkit_client import urn
from toolkit_client.models import ALIVE_STATES, JobMount, JobState, Port, Resources, Tag
from toolkit_client.models import Job as WireJob
from toolkit_client.models import Run as WireRun
from toolkit_hub import clock
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Job

__all__ = ["as_wire", "has_mounts", "job_to_wire", "lab_path", "row_to_json"]


#: The port of the job's own that its host serves without being told to.
APP_PORT = 8080


class ServerOfRun(Protocol):
    """What an address of a job server is made of."""

    @property
    def owner(self) -> str: ...

    @property
    def server_name(self) -> str: ...


def lab_path(run: ServerOfRun) -> str:
    """Path of the run's job server: the same below the hub and on the job's host."""
    return f"/user/{run.owner}/{run.server_name}/"


def job_to_wire(job: Job, site: Site, mounts: list[JobMount] | None = None) -> WireJob:
    account = job.account
    shown = row_to_json(
        job, account.organization_id, account.full_name, job.creator.full_name, job.runs, site, clock.now()
    )
    return as_wire(shown if mounts is None else {**shown, "mounts": mounts})


def as_wire(job: dict[str, Any]) -> WireJob:
    """The model of what `row_to_json` made."""
    inner = {
        "state": JobState(job["state"]),
        "resources": Resources.model_construct(**job["resources"]),
        "ports": [Port.model_construct(**port) for port in job["ports"]],
        "tags": [Tag.model_construct(**tag) for tag in job["tags"]],
        "runs": [WireRun.model_construct(**{**run, "state": JobState(run["state"])}) for run in job["runs"]],
    }
    return WireJob.model_construct(**{**job, **inner})


def row_to_json(
    job: Any,
    organization_id: str,
    account_name: str,
    creator_name: str,
    runs: Sequence[Any],
    site: Site,
    now: datetime,
) -> dict[str, Any]:
    """A `Job` of the wire by its JSON keys; times are `datetime`. `job` and `runs` have the attributes of their tables."""
    spec: dict[str, Any] = job.spec
    return {
        "id": job.id,
        "urn": urn.job_urn(organization_id, job.account_id, job.id),
        "name": job.name,
        "kind": job.kind,
        "state": job.state,
        "stateInfo": job.state_info,
        "alive": job.state in ALIVE_STATES,
        "account": account_name,
        "accountId": job.account_id,
        "creator": creator_name,
        "creatorId": job.creator_id,
        "created": job.created,
        "image": job.image,
        "command": spec.get("command"),
        "workdir": spec.get("workdir", ""),
        "environmentVars": spec.get("environmentVars", []),
        "data": spec.get("data", []),
        "mounts": None if has_mounts(job) else [],
        "role": spec.get("role"),
        "carriesRights": job.carries_rights,
        "shareable": spec.get("shareable", False),
        "resources": spec.get("resources", {}),
        "ports": spec.get("ports", []),
        "interactive": job.interactive,
        "preemptable": job.preemptable,
        "restartable": job.restartable,
        "maxRunTime": job.max_run_time,
        "bid": job.bid,
        "tags": job.tags or [],
        "options": spec.get("options", {}),
        "retryOf": job.retry_of,
        "after": spec.get("after", []),
        "parentId": job.parent_id,
        "detach": job.detached,
        "array": None,
        "arrayId": job.array_id,
        "arrayIndex": job.array_index,
        "arrayStates": None,
        "accessUrl": site.job_host(job.id),
        "portUrls": {
            str(port["port"]): site.job_host(job.id, f"-{port['port']}")
            for port in spec.get("ports", ())
            if port["port"] != APP_PORT
        },
        "labUrl": site.job_host(job.id, "-lab") + lab_path(runs[-1]).lstrip("/") + "lab",
        "usage": None,
        "runs": [_run_to_json(run, now) for run in runs],
    }


def has_mounts(job: Any) -> bool:
    """Whether there may be any; what they are takes a query."""
    return bool(job.spec.get("data")) or job.interactive


def _run_to_json(run: Any, now: datetime) -> dict[str, Any]:
    return {
        "id": run.id,
        "jobId": run.job_id,
        "index": run.index,
        "serverName": run.server_name,
        "state": run.state,
        "stateInfo": run.state_info,
        "exitCode": run.exit_code,
        "peakMemory": None if run.peak_memory is None else round(run.peak_memory / 2**30, 3),
        "nodeName": run.node_name,
        "imageDigest": run.image_digest,
        "ip": run.ip,
        "runTime": round(((run.ended or now) - run.started).total_seconds(), 3) if run.started else None,
        "created": run.created,
        "queued": run.queued,
        "started": run.started,
        "ended": run.ended,
        "cancelled": run.cancelled,
        "deadline": run.deadline,
        "logRemoved": run.log_removed,
    }
