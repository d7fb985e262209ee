"""Sweeps of the engine: containers that are left over, images that the toolkit pulled or built and nobody uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from toolkit_hub import clock
from toolkit_hub.domain import retention
from toolkit_hub.garbage.folders import no_build
from toolkit_hub.garbage.sweep import Due, Ground, LeftAlone, Who
from toolkit_spawner.engine_stock import (
    InUse,
    StockedImage,
    built_leftovers,
    images_in_use,
    remove_image,
    stocked_image,
)

__all__ = ["built_images", "containers", "pulled_images"]

#: An unnamed image that is younger may be a step of a build that is at work, here or on another site of this engine.
BUILT_GRACE = timedelta(days=1)


async def containers(ground: Ground, _limit: int) -> list[Due]:
    """The reconciler removes a container as soon as its end is recorded; what it has left over after minutes goes here."""
    found = [item for item in await ground.engine.list_runs(ground.instance) if not item.running]
    urns = await ground.store.read(retention.settled_servers, [item.run for item in found])
    due = []
    for item in found:
        if item.run in urns:

            async def remove(who: Who, container_id: str = item.id, run: str = item.run) -> None:
                await ground.engine.remove(container_id)
                await _record(ground, "container", run, "its run has ended", who, urns[run])

            due.append(Due("container", item.run, "its run has ended", remove))
    return due


async def pulled_images(ground: Ground, limit: int) -> list[Due]:
    """Images that the toolkit pulled, and no run has had for `image_retention`."""
    pulls = await ground.store.read(retention.due_pulls, ground.periods)
    if not pulls:
        return []
    used = await images_in_use(ground.engine)
    due = [await _pulled(ground, pull, used) for pull in pulls[:limit] if pull.reference not in ground.kept_images]
    return [item for item in due if item is not None]


async def _pulled(ground: Ground, pull: retention.Pulled, used: InUse) -> Due | None:
    named = await stocked_image(ground.engine, pull.reference)
    if named is not None and named.id == pull.image_id:
        image, name = named, pull.reference
    else:
        # Somebody else has given the name to another image, which is not ours; ours may be there without a name.
        left = await stocked_image(ground.engine, pull.image_id)
        if left is None or left.tags:
            return Due(
                "pull-record", pull.reference, "the image is gone, or is somebody else's now", _forget(ground, pull)
            )
        image, name = left, pull.image_id
    if image.id in used.image_ids:
        return None
    reason = f"no run has had it since {pull.last_used:%Y-%m-%d}"

    async def remove(who: Who) -> None:
        # A job may have come to want it since it was found to be due.
        if {pull.reference, pull.image_id} & await ground.store.read(retention.wanted_images):
            raise LeftAlone(f"a job has just come that wants {pull.reference}")
        await _take_away(ground, name, pull.reference, reason, who)
        await ground.store.write(retention.forget_pull, pull.reference)

    # With another name it stays on the disk.
    return Due("image", pull.reference, reason, remove, image.size if len(image.tags) <= 1 else 0)


def _forget(ground: Ground, pull: retention.Pulled) -> Callable[[Who], Awaitable[None]]:
    async def forget(who: Who) -> None:
        await ground.store.write(retention.forget_pull, pull.reference)
        await _record(ground, "pull-record", pull.reference, "the image is gone, or is somebody else's now", who)

    return forget


async def built_images(ground: Ground, limit: int) -> list[Due]:
    """Versions of our own images that a newer build has replaced."""
    used = await images_in_use(ground.engine)
    wanted = await ground.store.read(retention.wanted_images)
    youngest = clock.now() - BUILT_GRACE
    left = [
        image
        for image in await built_leftovers(ground.engine)
        if not image.tags and image.id not in used.image_ids and image.id not in wanted and image.created < youngest
    ]
    return [_built(ground, image) for image in left[:limit]]


def _built(ground: Ground, image: StockedImage) -> Due:
    reason = "a newer build has taken its name, and no run uses it"

    async def remove(who: Who) -> None:
        if image.id in await ground.store.read(retention.wanted_images):
            raise LeftAlone(f"a job has just come that wants {image.id}")
        with no_build(ground.runtime_dir):
            await _take_away(ground, image.id, image.id, reason, who)

    return Due("image", image.id, reason, remove, image.size)


async def _take_away(ground: Ground, target: str, name: str, reason: str, who: Who) -> None:
    if not await remove_image(ground.engine, target):
        raise LeftAlone(f"something on the engine needs the image {name}")
    await _record(ground, "image", name, reason, who)


async def _record(ground: Ground, kind: str, name: str, reason: str, who: Who, urn: str = "") -> None:
    await ground.store.write(
        retention.record_removal, kind, name, reason, urn=urn, actor=who.actor, request_id=who.request_id
    )
