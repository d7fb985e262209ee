"""The page of the cluster: what there is, who has it, and the queue for it, kept true while it is open."""

from __future__ import annotations

from typing import Any

from toolkit_hub.api.context import Context
from toolkit_hub.configure import SERVICE_PREFIX
from toolkit_hub.domain import queue_status
from toolkit_hub.domain.gpu_list import gpu_list
from toolkit_hub.domain.queue_list import queue_list
from toolkit_hub.pages.handlers import PageHandler

__all__ = ["cluster_specs"]


class ClusterPage(PageHandler):
    action = "organization:get"

    async def get(self) -> None:
        context, devices = self.context, self.context.devices
        read = context.store.read
        self.show(
            "cluster.html",
            status=await read(queue_status.queue_status, context.site, self.actor),
            gpus=await read(gpu_list, context.site, self.actor, devices.gpus(), devices.read()),
            queue=await read(queue_list, context.site, self.actor),
        )


def cluster_specs(context: Context) -> list[tuple[str, type[Any], dict[str, Any]]]:
    return [(SERVICE_PREFIX + "cluster/?", ClusterPage, {"context": context})]
