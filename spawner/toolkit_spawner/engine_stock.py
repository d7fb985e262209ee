"""What an engine has in stock, and what of it is in use: for clean-up, which must take away nothing that anybody needs.

All containers of the engine count, those of other sites and of people too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolkit_spawner.docker_api import Engine, EngineRefused, NoSuchObject
from toolkit_spawner.runtime.build import VERSION_LABEL

__all__ = ["InUse", "StockedImage", "built_leftovers", "image_ids", "images_in_use", "remove_image", "stocked_image"]

#: Seconds that the engine is given to remove an image of many layers.
REMOVE_TIMEOUT_S = 120
#: The engine's words when something still needs an image.
_NEEDED = ("conflict", "being used", "dependent child")


@dataclass(frozen=True)
class StockedImage:
    """An image on the engine. `size` in bytes, layers that it shares included."""

    id: str
    tags: tuple[str, ...]
    size: int
    created: datetime


@dataclass(frozen=True)
class InUse:
    """What the containers of an engine, running or not, hold."""

    image_ids: frozenset[str]
    mounted: tuple[Path, ...]

    def mounts(self, folder: Path) -> bool:
        """Whether a container mounts the folder, or something in it. Reads the file system."""
        real = folder.resolve()
        return any(path == real or real in path.parents for path in self.mounted)


async def images_in_use(engine: Engine) -> InUse:
    """Raises `EngineUnavailable`: then nothing may be taken for unused."""
    found = await engine.call(lambda client: client.containers(all=True))
    mounts = {str(mount.get("Source", "")) for item in found for mount in item.get("Mounts") or ()}
    mounted = await asyncio.to_thread(lambda: tuple(Path(source).resolve() for source in sorted(mounts) if source))
    return InUse(frozenset(str(item["ImageID"]) for item in found), mounted)


async def stocked_image(engine: Engine, reference: str) -> StockedImage | None:
    """The image that a reference or id means now; None if there is none."""
    try:
        found = await engine.image(reference)
    except NoSuchObject:
        return None
    created = datetime.fromisoformat(found["Created"][:19]).replace(tzinfo=UTC)
    return StockedImage(str(found["Id"]), _tags(found), int(found["Size"]), created)


async def image_ids(engine: Engine) -> frozenset[str]:
    """Ids of all images on the engine."""
    found = await engine.call(lambda client: client.images(all=True))
    return frozenset(str(item["Id"]) for item in found)


async def built_leftovers(engine: Engine) -> list[StockedImage]:
    """Versions of our own images that a newer build has taken the name from."""
    filters = {"dangling": True, "label": [VERSION_LABEL]}
    found = await engine.call(lambda client: client.images(filters=filters))
    return [
        StockedImage(str(item["Id"]), _tags(item), int(item["Size"]), datetime.fromtimestamp(item["Created"], UTC))
        for item in found
    ]


async def remove_image(engine: Engine, reference: str) -> bool:
    """Remove a name or an unnamed image, never by force; False when something still needs it."""
    try:
        await engine.slow_call(lambda client: client.remove_image(reference), REMOVE_TIMEOUT_S)
    except NoSuchObject:
        return True
    except EngineRefused as error:
        if any(word in str(error).lower() for word in _NEEDED):
            return False
        raise
    return True


def _tags(item: dict[str, Any]) -> tuple[str, ...]:
    return tuple(tag for tag in item.get("RepoTags") or () if tag != "<none>:<none>")
