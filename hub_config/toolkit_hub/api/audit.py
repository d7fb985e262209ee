"""``/audit``: who did what, and who was refused what."""

from __future__ import annotations

from toolkit_client.access_models import AuditRecord
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import audit

__all__ = ["ROUTES"]

_TIME = {"type": "string", "format": "date-time"}


async def list_(call: Call) -> Page[AuditRecord]:
    wanted = audit.AuditFilter(
        since=call.time("since"),
        until=call.time("until"),
        actor=call.query("actor"),
        urn=call.query("urn"),
        action=call.query("action"),
        outcome=call.query("outcome"),
        limit=call.number("limit", 100, 1, 1000) or 100,
        cursor=call.query("cursor"),
    )
    return await call.context.store.read(audit.list_audit, call.actor, wanted)


ROUTES = [
    Route(
        "GET",
        "/audit",
        "The entries that you may read, newest first: your own, those of accounts that you may audit, or all",
        "organization:get",
        list_,
        answer=Page[AuditRecord],
        parameters=(
            Parameter("since", "only from this time on", _TIME),
            Parameter("until", "only before this time", _TIME),
            Parameter("actor", "who acted: full name, id or URN"),
            Parameter("urn", "only about this resource and what is below it"),
            Parameter("action", "an action, as `role:member`, or its type, as `role`"),
            Parameter("outcome", "what was done, or what was refused", {"type": "string", "enum": ["done", "refused"]}),
            Parameter("limit", "items on a page", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
            Parameter("cursor", "`next` of the page before"),
        ),
    )
]
