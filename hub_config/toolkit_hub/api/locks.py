"""``/locks``: the emergency brake of users, roles, keys and jobs."""

from __future__ import annotations

from toolkit_client.access_models import Lock, NewLock
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import locks

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Lock]:
    return Page[Lock](items=await call.context.store.read(locks.list_locks, call.actor))


async def lock(call: Call) -> Lock:
    return call.made(await call.context.store.write(locks.lock, call.actor, call.body(NewLock)))


async def unlock(call: Call) -> Lock:
    type_, reference = call.path_arguments["type"], call.path_arguments["ref"]
    return await call.context.store.write(locks.unlock, call.actor, type_, reference)


ROUTES = [
    Route("GET", "/locks", "The locks on what you may see", "organization:get", list_, answer=Page[Lock]),
    Route(
        "POST",
        "/locks",
        "Lock a user, role, key or job: every decision about it is no, and live sessions are cut",
        "job:lock",
        lock,
        NewLock,
        Lock,
        201,
    ),
    Route(
        "DELETE",
        "/locks/{type}/{ref}",
        "Take a lock away; `type` is `user`, `role`, `key` or `job`",
        "job:lock",
        unlock,
        answer=Lock,
    ),
]
