"""``/gpus``."""

from __future__ import annotations

from toolkit_client.models import Page
from toolkit_client.queue_models import Gpu
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain.gpu_list import gpu_list

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Gpu]:
    context = call.context
    devices = context.devices
    found = await context.store.read(gpu_list, context.site, call.actor, devices.gpus(), devices.readings())
    return Page[Gpu](items=found)


ROUTES = [
    Route("GET", "/gpus", "The site's GPUs: who has each, since when, and how busy it is", "organization:get", list_,
          answer=Page[Gpu]),
]  # fmt: skip
