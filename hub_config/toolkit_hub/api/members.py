"""Members of roles and teams, and policies of users, teams and roles."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit_client.access_models import Member, NewMember, NewPolicy, Policy
from toolkit_client.models import Page
from toolkit_hub.api.roles import OWNER
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import members, policies

__all__ = ["ROUTES"]

_SOME = {"user": "a user", "team": "a team", "role": "a role"}


def member_routes(group: str) -> Iterator[Route]:
    """Those of one type of group: ``role`` or ``team``."""

    async def list_(call: Call) -> Page[Member]:
        reference = call.path_arguments[group]
        found = await call.context.store.read(members.list_members, call.actor, group, reference, call.owner_type())
        return Page[Member](items=found)

    async def add(call: Call) -> Member:
        reference, new, key = call.path_arguments[group], call.body(NewMember), call.idempotency_key()
        return call.made(
            await call.context.store.write(
                members.add_member, call.actor, group, reference, new, key, call.owner_type()
            )
        )

    async def remove(call: Call) -> Member:
        reference, type_, member = (call.path_arguments[name] for name in (group, "type", "member"))
        return await call.context.store.write(
            members.remove_member, call.actor, group, reference, type_, member, call.owner_type()
        )

    path, some, parameters = f"/{group}s/{{{group}}}/members", _SOME[group], _parameters(group)
    yield Route(
        "GET", path, f"The members of {some}", f"{group}:get", list_, answer=Page[Member], parameters=parameters
    )
    yield Route(
        "POST",
        path,
        f"Make a user or a team a member of {some}, perhaps until a time; a member's expiry is changed",
        f"{group}:member",
        add,
        NewMember,
        Member,
        201,
        idempotent_key=True,
        parameters=parameters,
    )
    yield Route(
        "DELETE",
        path + "/{type}/{member}",
        f"Remove a member of {some}; `type` is `user` or `team`",
        f"{group}:member",
        remove,
        answer=Member,
        parameters=parameters,
    )


def policy_routes(subject: str) -> Iterator[Route]:
    """Those of one type of subject: ``user``, ``team`` or ``role``."""

    async def list_(call: Call) -> Page[Policy]:
        reference = call.path_arguments[subject]
        found = await call.context.store.read(policies.list_policies, call.actor, subject, reference, call.owner_type())
        return Page[Policy](items=found)

    async def add(call: Call) -> Policy:
        reference, new, key = call.path_arguments[subject], call.body(NewPolicy), call.idempotency_key()
        return call.made(
            await call.context.store.write(
                policies.add_policy, call.actor, subject, reference, new, key, call.owner_type()
            )
        )

    async def remove(call: Call) -> Policy:
        reference, policy = call.path_arguments[subject], call.path_arguments["policy"]
        return await call.context.store.write(
            policies.remove_policy, call.actor, subject, reference, policy, call.owner_type()
        )

    path, some, parameters = f"/{subject}s/{{{subject}}}/policies", _SOME[subject], _parameters(subject)
    # What a user holds is nobody's business but theirs, and of whoever may change it.
    seen_by = "user:policy" if subject == "user" else f"{subject}:get"
    yield Route("GET", path, f"The policies of {some}", seen_by, list_, answer=Page[Policy], parameters=parameters)
    yield Route(
        "POST",
        path,
        f"Attach a statement to {some}; nobody grants what they do not hold",
        f"{subject}:policy",
        add,
        NewPolicy,
        Policy,
        201,
        idempotent_key=True,
        parameters=parameters,
    )
    yield Route(
        "DELETE",
        path + "/{policy}",
        f"Remove a policy of {some}",
        f"{subject}:policy",
        remove,
        answer=Policy,
        parameters=parameters,
    )


def _parameters(type_: str) -> tuple[Parameter, ...]:
    return (OWNER,) if type_ == "role" else ()


ROUTES = [
    *(route for group in ("role", "team") for route in member_routes(group)),
    *(route for subject in ("user", "team", "role") for route in policy_routes(subject)),
]
