"""``/admin``: the site's upkeep, for administrators."""

from __future__ import annotations

from sqlalchemy.orm import Session

from toolkit_client.admin_models import Checkup, CleanUp, CleanUpRequest
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.doctor import Patient, examine
from toolkit_hub.domain import audit
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.garbage.sweep import Who

__all__ = ["ROUTES"]


async def doctor(call: Call) -> Checkup:
    await _authorise(call)
    context = call.context
    return await examine(Patient(context.settings, context.store, context.engine, devices=context.devices.devices()))


async def clean_up(call: Call) -> CleanUp:
    await _authorise(call)
    wanted = call.body(CleanUpRequest)
    if not wanted.dry_run:
        await call.context.store.write(_note, call.actor)
    who = Who(call.actor.full_name, call.actor.request_id)
    return await call.context.collector.collect(dry_run=wanted.dry_run, who=who)


def _note(session: Session, actor: Actor) -> None:
    """What is then removed, and why, is in the events; that somebody asked for it is in the audit log."""
    authorise(session, actor, "organization:maintain", actor.organization_id)
    audit.record(session, actor, "organization:maintain", actor.organization_id, data={"event": "site.cleaned_up"})


async def _authorise(call: Call) -> None:
    actor: Actor = call.actor
    await call.context.store.read(authorise, actor, "organization:maintain", actor.organization_id)


ROUTES = [
    Route(
        "GET",
        "/admin/doctor",
        "Check engine, disk, database, proxy, hub, gate, clock and versions",
        "organization:maintain",
        doctor,
        answer=Checkup,
    ),
    Route(
        "POST",
        "/admin/gc",
        "Remove what is past its retention, or say what that would be; twice is the same as once",
        "organization:maintain",
        clean_up,
        CleanUpRequest,
        CleanUp,
    ),
]
