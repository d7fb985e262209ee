"""``/gpus``, and the queue for what there is."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from toolkit_client.errors import InvalidRequest
from toolkit_client.models import Page, QueueStatus
from toolkit_client.queue_models import Gpu, QueuedJob, UsageRow
from toolkit_hub import clock
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import queue_status
from toolkit_hub.domain.gpu_list import gpu_list
from toolkit_hub.domain.queue_list import queue_list
from toolkit_hub.domain.usage import By, usage

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Gpu]:
    context = call.context
    devices = context.devices
    found = await context.store.read(gpu_list, context.site, call.actor, devices.gpus(), devices.read())
    return Page[Gpu](items=found)


async def queue(call: Call) -> QueueStatus:
    return await call.context.store.read(queue_status.queue_status, call.context.site, call.actor)


async def queued(call: Call) -> Page[QueuedJob]:
    return Page[QueuedJob](items=await call.context.store.read(queue_list, call.context.site, call.actor))


async def used(call: Call) -> Page[UsageRow]:
    by = call.query("by") or "account"
    if by not in ("account", "user", "day"):
        raise InvalidRequest(f"usage is by account, user or day, not by {by[:40]!r}", "leave `by` out for accounts")
    since = call.time("since") or clock.now() - timedelta(days=30)
    return Page[UsageRow](
        items=await call.context.store.read(usage, call.actor, cast(By, by), since, call.time("until"))
    )


ROUTES = [
    Route(
        "GET",
        "/usage",
        "How many hours of GPUs, CPUs and memory were given out",
        "organization:get",
        used,
        answer=Page[UsageRow],
        parameters=(
            Parameter("by", "what is summed up", {"type": "string", "enum": ["account", "user", "day"]}),
            Parameter("since", "default: 30 days ago", {"type": "string", "format": "date-time"}),
            Parameter("until", "default: now", {"type": "string", "format": "date-time"}),
        ),
    ),
    Route("GET", "/queue", "How much there is, what is held, who waits", "organization:get", queue, answer=QueueStatus),
    Route("GET", "/queue/jobs", "The jobs that wait, the next one first", "organization:get", queued,
          answer=Page[QueuedJob]),
    Route("GET", "/gpus", "The site's GPUs: who has each, since when, and how busy it is", "organization:get", list_,
          answer=Page[Gpu]),
]  # fmt: skip
