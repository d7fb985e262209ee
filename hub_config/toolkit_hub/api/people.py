"""``/me``, ``/users`` and ``/queue``."""

from __future__ import annotations

from toolkit_client.models import Me, NewUser, Page, QueueStatus, User
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import queue_status, users

__all__ = ["ROUTES"]


async def me(call: Call) -> Me:
    return await call.context.store.read(users.me, call.actor)


async def list_users(call: Call) -> Page[User]:
    return Page(items=await call.context.store.read(users.list_users, call.actor))


async def new_user(call: Call) -> User:
    user, new = await call.context.store.write(
        users.create_user, call.actor, call.body(NewUser), call.idempotency_key()
    )
    if not new:
        call.status = 200
    return user


async def queue(call: Call) -> QueueStatus:
    return await call.context.store.read(queue_status.queue_status, call.context.site, call.actor)


ROUTES = [
    Route("GET", "/me", "Who you are", "user:get", me, answer=Me),
    Route("GET", "/users", "The users of your organization", "organization:get", list_users, answer=Page[User]),
    Route(
        "POST",
        "/users",
        "Create a user with a local password",
        "user:new",
        new_user,
        NewUser,
        User,
        201,
        idempotent_key=True,
    ),
    Route("GET", "/queue", "How much there is, what is held, who waits", "organization:get", queue, answer=QueueStatus),
]
