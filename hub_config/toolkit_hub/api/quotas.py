"""``/quotas``: what accounts take and may take."""

from __future__ import annotations

from toolkit_client.data_models import Quota, QuotaPatch
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import data_usage

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Quota]:
    found = await call.context.store.read(data_usage.list_quotas, call.actor, call.context.data_limits)
    return Page[Quota](items=found)


async def get(call: Call) -> Quota:
    account = call.path_arguments["account"]
    return await call.context.store.read(data_usage.get_quota, call.actor, account, call.context.data_limits)


async def set_(call: Call) -> Quota:
    account, patch = call.path_arguments["account"], call.body(QuotaPatch)
    return await call.context.store.write(data_usage.set_quota, call.actor, account, patch, call.context.data_limits)


ROUTES = [
    Route("GET", "/quotas", "Quotas of the accounts that you may see", "account:get", list_, answer=Page[Quota]),
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
]
