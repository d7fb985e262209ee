"""``/quotas``: what accounts take and may take, and what the jobs of users and of the organization may hold."""

from __future__ import annotations

from typing import Literal

from toolkit_client.data_models import Quota, QuotaPatch, RoomQuotaPatch
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import data_usage, room_quotas

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Quota]:
    found = await call.context.store.read(data_usage.list_quotas, call.actor, call.context.data_limits)
    return Page[Quota](items=found)


async def get(call: Call) -> Quota:
    account = call.path_arguments["account"]
    return await call.context.store.read(data_usage.get_quota, call.actor, account, call.context.data_limits)


async def set_(call: Call) -> Quota:
    account, patch = call.path_arguments["account"], call.body(QuotaPatch)
    quota = await call.context.store.write(data_usage.set_quota, call.actor, account, patch, call.context.data_limits)
    call.context.wake_queue()
    return quota


async def get_of_user(call: Call) -> Quota:
    return await call.context.store.read(room_quotas.get_room_quota, call.actor, "user", call.path_arguments["user"])


async def set_of_user(call: Call) -> Quota:
    return await _set_room(call, "user", call.path_arguments["user"])


async def get_of_organization(call: Call) -> Quota:
    name = call.path_arguments["organization"]
    return await call.context.store.read(room_quotas.get_room_quota, call.actor, "organization", name)


async def set_of_organization(call: Call) -> Quota:
    return await _set_room(call, "organization", call.path_arguments["organization"])


async def _set_room(call: Call, kind: Literal["user", "organization"], name: str) -> Quota:
    patch = call.body(RoomQuotaPatch)
    quota = await call.context.store.write(room_quotas.set_room_quota, call.actor, kind, name, patch)
    call.context.wake_queue()
    return quota


ROUTES = [
    Route(
        "GET",
        "/quotas",
        "Quotas of the accounts that you may see, and those that users and the organization have",
        "account:get",
        list_,
        answer=Page[Quota],
    ),
    Route("GET", "/quotas/{account}", "What an account takes and may take", "account:get", get, answer=Quota),
    Route(
        "PATCH",
        "/quotas/{account}",
        "Set limits of an account; null takes one away, what is absent stays",
        "organization:quota",
        set_,
        QuotaPatch,
        Quota,
    ),
    Route("GET", "/quotas/user/{user}", "What the jobs of a user may hold", "user:get", get_of_user, answer=Quota),
    Route(
        "PATCH",
        "/quotas/user/{user}",
        "Set limits of a user's jobs; null takes one away, what is absent stays",
        "organization:quota",
        set_of_user,
        RoomQuotaPatch,
        Quota,
    ),
    Route(
        "GET",
        "/quotas/organization/{organization}",
        "What all jobs of the organization may hold",
        "organization:get",
        get_of_organization,
        answer=Quota,
    ),
    Route(
        "PATCH",
        "/quotas/organization/{organization}",
        "Set limits of all jobs of the organization; null takes one away, what is absent stays",
        "organization:quota",
        set_of_organization,
        RoomQuotaPatch,
        Quota,
    ),
]
