"""``/gpus``, and the queue for what there is."""

from __future__ import annotations

from toolkit_client.models import Page, QueueStatus
from toolkit_client.queue_models import Gpu, QueuedJob
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import queue_status
from toolkit_hub.domain.gpu_list import gpu_list
from toolkit_hub.domain.queue_list import queue_list

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


ROUTES = [
    Route("GET", "/queue", "How much there is, what is held, who waits", "organization:get", queue, answer=QueueStatus),
    Route("GET", "/queue/jobs", "The jobs that wait, the next one first", "organization:get", queued,
          answer=Page[QueuedJob]),
    Route("GET", "/gpus", "The site's GPUs: who has each, since when, and how busy it is", "organization:get", list_,
          answer=Page[Gpu]),
]  # fmt: skip
