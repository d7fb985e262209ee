"""Rows as the wire models that users see."""

from __future__ import annotations

from toolkit_client.models import Job as WireJob
from toolkit_client.models import JobSpec, JobState
from toolkit_client.models import Run as WireRun
from toolkit_hub import clock
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Job, Run

__all__ = ["job_to_wire", "lab_path"]


def lab_path(run: Run) -> str:
    """Path of the run's job server: the same below the hub and on the job's host."""
    return f"/user/{run.owner}/{run.server_name}/"


def job_to_wire(job: Job, site: Site) -> WireJob:
    spec = JobSpec.model_validate(job.spec)
    newest = job.runs[-1]
    return WireJob(
        id=job.id,
        urn=job.urn,
        name=job.name,
        state=JobState(job.state),
        state_info=job.state_info,
        alive=JobState(job.state).alive,
        account=job.account.full_name,
        account_id=job.account_id,
        creator=job.creator.full_name,
        creator_id=job.creator_id,
        created=job.created,
        image=job.image,
        command=spec.command,
        workdir=spec.workdir,
        environment_vars=spec.environment_vars,
        resources=spec.resources,
        interactive=job.interactive,
        access_url=site.job_host(job.id),
        lab_url=site.job_host(job.id, "-lab") + lab_path(newest).lstrip("/") + "lab",
        runs=[_run_to_wire(run) for run in job.runs],
    )


def _run_to_wire(run: Run) -> WireRun:
    seconds = None
    if run.started:
        seconds = round(((run.ended or clock.now()) - run.started).total_seconds(), 3)
    return WireRun(
        id=run.id,
        job_id=run.job_id,
        index=run.index,
        server_name=run.server_name,
        state=JobState(run.state),
        state_info=run.state_info,
        exit_code=run.exit_code,
        node_name=run.node_name,
        image_digest=run.image_digest,
        ip=run.ip,
        run_time=seconds,
        created=run.created,
        queued=run.queued,
        started=run.started,
        ended=run.ended,
        cancelled=run.cancelled,
    )
