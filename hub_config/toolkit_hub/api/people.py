"""``/me`` and ``/users``."""

from __future__ import annotations

from toolkit_client.access_models import Offboarding, UserPatch
from toolkit_client.models import Me, NewUser, Page, User
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import offboarding, users

__all__ = ["ROUTES"]


async def me(call: Call) -> Me:
    return await call.context.store.read(users.me, call.actor)


async def list_users(call: Call) -> Page[User]:
    return Page[User](items=await call.context.store.read(users.list_users, call.actor))


async def new_user(call: Call) -> User:
    new, key = call.body(NewUser), call.idempotency_key()
    return call.made(await call.context.store.write(users.create_user, call.actor, new, key))


async def get(call: Call) -> User:
    return await call.context.store.read(users.get_user, call.actor, call.path_arguments["user"])


async def change(call: Call) -> User:
    reference, changes = call.path_arguments["user"], call.body(UserPatch)
    return await call.context.store.write(users.change_user, call.actor, reference, changes)


async def archive(call: Call) -> User:
    return await call.context.store.write(offboarding.archive_user, call.actor, call.path_arguments["user"])


async def disable(call: Call) -> User:
    return await call.context.store.write(users.disable_user, call.actor, call.path_arguments["user"])


async def enable(call: Call) -> User:
    return await call.context.store.write(users.enable_user, call.actor, call.path_arguments["user"])


async def offboard(call: Call) -> User:
    reference, wanted = call.path_arguments["user"], call.body(Offboarding)
    return await call.context.store.write(offboarding.offboard_user, call.actor, reference, wanted)


ROUTES = [
    Route("GET", "/me", "Who you are", "user:get", me, answer=Me),
    Route("GET", "/users", "The users that you may see", "user:get", list_users, answer=Page[User]),
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
    Route("GET", "/users/{user}", "A user, by id or name", "user:get", get, answer=User),
    Route("PATCH", "/users/{user}", "Rename a user; ids and rights stay", "user:set", change, UserPatch, User),
    Route(
        "DELETE",
        "/users/{user}",
        "Archive a user for good: memberships and policies are removed, and the name is free",
        "user:archive",
        archive,
        answer=User,
    ),
    Route(
        "POST",
        "/users/{user}/disable",
        "No log-in, token or key of the user is good any more, until it is enabled",
        "user:archive",
        disable,
        answer=User,
    ),
    Route("POST", "/users/{user}/enable", "Let a disabled user in again", "user:archive", enable, answer=User),
    Route(
        "POST",
        "/users/{user}/offboard",
        "Archive a user and give another one the home account, with its jobs and data; jobs run on",
        "user:archive",
        offboard,
        Offboarding,
        User,
    ),
]
