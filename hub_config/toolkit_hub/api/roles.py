"""``/roles``, the roles of what has them, and the keys of a role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from toolkit_client.access_models import NewRole, NewRoleKey, RenamePatch, Role, RoleKey, RoleKeySecret
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import role_keys, roles

__all__ = ["OWNER", "ROUTES"]

#: Which role a full name means that fits several.
OWNER = Parameter(
    "owner",
    "where the role's full name fits several: whether the role of an account, a team or the organization is meant",
    {"type": "string", "enum": ["organization", "team", "account"]},
)


def list_of(owner_type: str) -> Callable[[Call], Awaitable[Page[Role]]]:
    async def list_(call: Call) -> Page[Role]:
        reference = call.path_arguments[owner_type]
        found = await call.context.store.read(roles.list_roles, call.actor, owner_type, reference)
        return Page[Role](items=found)

    return list_


async def list_all(call: Call) -> Page[Role]:
    account = call.query("account")
    owner_type = "account" if account else None
    return Page[Role](items=await call.context.store.read(roles.list_roles, call.actor, owner_type, account))


async def create(call: Call) -> Role:
    new, key = call.body(NewRole), call.idempotency_key()
    return call.made(await call.context.store.write(roles.create_role, call.actor, new, key))


async def get(call: Call) -> Role:
    return await call.context.store.read(roles.get_role, call.actor, call.path_arguments["role"], call.owner_type())


async def change(call: Call) -> Role:
    reference, changes = call.path_arguments["role"], call.body(RenamePatch)
    return await call.context.store.write(roles.change_role, call.actor, reference, changes, call.owner_type())


async def archive(call: Call) -> Role:
    reference = call.path_arguments["role"]
    return await call.context.store.write(roles.archive_role, call.actor, reference, call.owner_type())


async def list_keys(call: Call) -> Page[RoleKey]:
    reference = call.path_arguments["role"]
    found = await call.context.store.read(role_keys.list_keys, call.actor, reference, call.owner_type())
    return Page[RoleKey](items=found)


async def create_key(call: Call) -> RoleKeySecret:
    reference, new, key = call.path_arguments["role"], call.body(NewRoleKey), call.idempotency_key()
    made = await call.context.store.write(role_keys.create_key, call.actor, reference, new, key, call.owner_type())
    return call.made(made)


async def revoke_key(call: Call) -> RoleKey:
    reference, key = call.path_arguments["role"], call.path_arguments["key"]
    return await call.context.store.write(role_keys.revoke_key, call.actor, reference, key, call.owner_type())


ROUTES = [
    Route(
        "GET",
        "/roles",
        "The roles that you may see",
        "role:get",
        list_all,
        answer=Page[Role],
        parameters=(Parameter("account", "only of this account: id or full name"),),
    ),
    *(
        Route(
            "GET",
            f"/{owner_type}s/{{{owner_type}}}/roles",
            f"The roles of {words}",
            f"{owner_type}:get",
            list_of(owner_type),
            answer=Page[Role],
        )
        for owner_type, words in (("organization", "an organization"), ("team", "a team"), ("account", "an account"))
    ),
    Route(
        "POST",
        "/roles",
        "Create a role of an account, a team or the organization, perhaps with policies",
        "role:new",
        create,
        NewRole,
        Role,
        201,
        idempotent_key=True,
    ),
    Route("GET", "/roles/{role}", "A role, by id or full name", "role:get", get, answer=Role, parameters=(OWNER,)),
    Route("PATCH", "/roles/{role}", "Rename a role", "role:set", change, RenamePatch, Role, parameters=(OWNER,)),
    Route(
        "DELETE",
        "/roles/{role}",
        "Archive a role: members and policies are removed, keys revoked",
        "role:archive",
        archive,
        answer=Role,
        parameters=(OWNER,),
    ),
    Route(
        "GET",
        "/roles/{role}/keys",
        "The keys of a role, without their tokens",
        "role:key",
        list_keys,
        answer=Page[RoleKey],
        parameters=(OWNER,),
    ),
    Route(
        "POST",
        "/roles/{role}/keys",
        "Make a key; the answer is the only place where its token is ever shown",
        "role:key",
        create_key,
        NewRoleKey,
        RoleKeySecret,
        201,
        idempotent_key=True,
        parameters=(OWNER,),
    ),
    Route(
        "DELETE",
        "/roles/{role}/keys/{key}",
        "Revoke a key",
        "role:key",
        revoke_key,
        answer=RoleKey,
        parameters=(OWNER,),
    ),
]
