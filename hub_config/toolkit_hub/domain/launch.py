"""What the spawner is told: the launch spec of an admitted run, and a refusal for everything else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_client.models import JobSpec, JobState
from toolkit_hub.bridge import address_of_bridge
from toolkit_hub.domain import runs
from toolkit_hub.domain.arrays import environment_of_element
from toolkit_hub.domain.images import may_pull
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.domain.job_view import lab_path
from toolkit_hub.domain.mounts import launch_mounts
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Job, Run
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.launch import DeviceSpec, JobNetwork, LaunchSpec

__all__ = ["Places", "launch_spec", "record_failure", "record_progress", "wanted"]


def _no_device(uuid: str) -> DeviceSpec:
    raise KeyError(uuid)


@dataclass(frozen=True)
class Places:
    """Where things are on this machine."""

    instance: str
    runs_dir: Path
    data_root: Path
    runtime_dir: Path
    accounts_dir: Path
    network: JobNetwork
    pull_images: bool
    log_quota: int
    #: How a container is given a GPU, by its UUID. Raises `KeyError`.
    handover: Callable[[str], DeviceSpec] = _no_device

    def api_url(self, site: Site) -> str:
        """Where jobs reach the API: on their bridge, if the site lets them, else where everybody does."""
        port = self.network.api_port
        address = address_of_bridge(self.network.bridge) if port else None
        return f"http://{address}:{port}" if address else site.public_url

    def data_url(self) -> str | None:
        """Where the content of data goes in and out for jobs, if they have a way of their own."""
        port = self.network.data_port
        address = address_of_bridge(self.network.bridge) if port else None
        return f"http://{address}:{port}" if address else None


def launch_spec(session: Session, site: Site, places: Places, owner: str, server: str) -> LaunchSpec:
    """The spec of the run behind the named server, with the folders of its data made.

    Raises `Conflict` unless it was admitted and is wanted, `MountRefused` when its data may not be mounted any more.
    """
    run = runs.by_server_name(session, server)
    if run is None or run.owner != owner:
        raise Conflict(
            f"there is no run {server} of {owner}: servers are started by submitting a job",
            f"use `toolkit job submit`, or “Start my server” at {site.public_url}/services/toolkit/",
        )
    if run.job.target != "run" or run.state not in (JobState.QUEUED, JobState.RUNNING):
        raise Conflict(
            f"the run {server} is {run.state} and not to be started", f"its page is {site.job_page(run.job_id)}"
        )
    return _spec_of(session, run, site, places)


def _spec_of(session: Session, run: Run, site: Site, places: Places) -> LaunchSpec:
    job = run.job
    spec = JobSpec.model_validate(job.spec)
    own_server = job.kind == "server"
    # What runs already has its mounts; only what is started now is asked about.
    started = run.state == JobState.RUNNING
    return LaunchSpec(
        run_id=run.id,
        server_name=run.server_name,
        owner=run.owner,
        job_id=job.id,
        instance=places.instance,
        started=started,
        image=job.image_digest or job.image,
        image_name=job.image,
        pull=places.pull_images and job.image_digest is None and may_pull(site, job.image),
        command=[] if own_server else spec.command,
        workdir=spec.workdir,
        environment=environment_of(job, run, spec)
        | environment_of_element(session, job)
        | {"TOOLKIT_URL": places.api_url(site)},
        token=job_token(run),
        cpu=min(job.cpu, os.cpu_count() or job.cpu),  # the engine refuses to give one container more than there is
        mem=job.mem,
        stop_grace=site.stop_grace,
        log_quota=places.log_quota,
        # Nobody starts a job without a command but for its apps.
        prewarm=own_server or spec.command == [],
        base_url=lab_path(run),
        secret=run.secret,
        run_dir=str(places.runs_dir / run.id),
        runtime_dir=str(places.runtime_dir),
        home_dir=str(places.runs_dir / run.id / "home"),
        mounts=[] if started else launch_mounts(session, Volumes(places.data_root), job),
        devices=[places.handover(uuid) for uuid in run.devices],
        accounts_dir=str(places.accounts_dir),
        network=places.network,
    )


def environment_of(job: Job, run: Run, spec: JobSpec) -> dict[str, str]:
    """The variables of a run. Ours come last: a user's cannot override them (the wire model refuses to begin with)."""
    user = dict(item.partition("=")[::2] for item in spec.environment_vars)
    facts = {
        "JOB_ID": job.id,
        "RUN_INDEX": str(run.index),
        "USER": job.creator.name,
        "CPU_LIMIT": f"{job.cpu:g}",
        "MEMORY_LIMIT": str(int(job.mem * 2**30)),
    }
    files = {"PREEMPT_FILE": "/run/toolkit/preempt", "CHECKPOINT_FILE": "/run/toolkit/checkpoint"}
    twins = {f"{prefix}_{name}": value for name, value in {**facts, **files}.items() for prefix in ("TOOLKIT", "EAI")}
    threads = {"OMP_NUM_THREADS": str(max(1, int(job.cpu)))}
    # Images that are made for GPUs ask for all of them, and an engine whose default runtime is NVIDIA's would obey.
    visible = {"NVIDIA_VISIBLE_DEVICES": ",".join(run.devices) or "void"}
    return {**threads, **user, "HOME": "/home/toolkit", **twins, **visible}


def wanted(session: Session, server: str) -> bool:
    """Whether the run should live. A server that was never a run is not wanted."""
    run = runs.by_server_name(session, server)
    if run is None:
        return False
    return run.job.target == "run" and JobState(run.state).alive


def record_failure(session: Session, server: str, reason: str) -> None:
    """The spawner could not start it."""
    run = runs.by_server_name(session, server)
    if run is not None:
        runs.mark_ended(session, run.id, runs.Ending(None, reason))


def record_progress(session: Session, server: str, info: str) -> None:
    run = runs.by_server_name(session, server)
    if run is not None and run.state == JobState.QUEUED:
        runs.set_reasons(session, {run.id: info})
