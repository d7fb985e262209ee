"""The GPUs with who has them: what is free is for everybody of the organization to see, whose the others are for some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.queue_models import Gpu as WireGpu
from toolkit_client.urn import job_urn
from toolkit_hub.domain.access import Actor, allowed, authorise
from toolkit_hub.domain.site import Site
from toolkit_hub.store.tables import Account, DeviceHold, Job, Run, User
from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.gpus import Gpu

__all__ = ["gpu_list"]


def gpu_list(
    session: Session, site: Site, actor: Actor, gpus: Sequence[Gpu], readings: Mapping[str, DeviceReading]
) -> list[WireGpu]:
    """As the inventory lists them, and behind them those that a run still holds though they are not known any more."""
    authorise(session, actor, "organization:get", actor.organization_id)
    holds = _holds(session, actor)
    known = [_to_wire(site, gpu, readings.get(gpu.uuid, DeviceReading()), holds.pop(gpu.uuid, None)) for gpu in gpus]
    lost = [
        WireGpu(uuid=uuid, model="unknown", node=site.node, state="held", reason="it is not known any more", **held)
        for uuid, held in holds.items()
    ]
    return known + lost


def _to_wire(site: Site, gpu: Gpu, reading: DeviceReading, held: dict[str, Any] | None) -> WireGpu:
    state = "held" if held is not None else "drained" if gpu.trouble else "free"
    return WireGpu(
        uuid=gpu.uuid,
        model=gpu.model,
        node=site.node,
        mem=gpu.mem,
        capability=gpu.capability,
        cuda_version=gpu.cuda_version,
        driver=gpu.driver,
        tensor_cores=gpu.tensor_cores,
        state=state,
        reason=gpu.trouble,
        use=reading.use,
        mem_used=None if reading.memory is None else round(reading.memory / 2**30, 2),
        temperature=reading.temperature,
        **(held or {}),
    )


def _holds(session: Session, actor: Actor) -> dict[str, dict[str, Any]]:
    """Device → since when it is held, and by whom if the actor may see that."""
    query = (
        select(
            DeviceHold.device, DeviceHold.since, Job.id, Job.name, Job.account_id, Account.organization_id,
            Account.full_name, User.name.label("user"),
        )
        .join(Run, Run.id == DeviceHold.run_id)
        .join(Job, Job.id == Run.job_id)
        .join(Account, Account.id == Job.account_id)
        .join(User, User.id == Job.creator_id)
    )  # fmt: skip
    found = {}
    for row in session.execute(query).all():
        told: dict[str, Any] = {"since": row.since}
        if allowed(session, actor, "job:get", job_urn(row.organization_id, row.account_id, row.id)):
            told |= {"job": row.id, "job_name": row.name, "account": row.full_name, "user": row.user}
        found[row.device] = told
    return found
