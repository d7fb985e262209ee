"""What an image reference means on this machine at the moment of a submit."""

from __future__ import annotations

import asyncio

from toolkit_hub.api.context import Context, log
from toolkit_spawner.docker_api import EngineRefused, EngineUnavailable

__all__ = ["image_digest"]

#: Seconds that a submit waits for the engine. Without an answer the reference is resolved when the run starts.
ENGINE_WAIT_S = 2.0
#: Submits that ask at once: an engine that hangs must not fill the pool that the reconciler needs.
_at_once = asyncio.Semaphore(4)


async def image_digest(context: Context, reference: str) -> str | None:
    """The engine's id of the image; None if it is not on this machine, or nobody knows now."""
    try:
        async with asyncio.timeout(ENGINE_WAIT_S), _at_once:
            return str((await context.engine.image(reference))["Id"])
    except EngineRefused:
        return None  # also: no such image
    except (EngineUnavailable, TimeoutError):
        log.warning("the engine does not say what the image %s is; it is resolved at the start", reference)
        return None
