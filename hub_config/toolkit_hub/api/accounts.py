"""``/organizations`` and ``/accounts``."""

from __future__ import annotations

from toolkit_client.access_models import Account, AccountPatch, NewAccount, Organization, RenamePatch
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import accounts, organizations

__all__ = ["ROUTES"]


async def get_organization(call: Call) -> Organization:
    reference = call.path_arguments["organization"]
    return await call.context.store.read(organizations.get_organization, call.actor, reference)


async def change_organization(call: Call) -> Organization:
    reference, changes = call.path_arguments["organization"], call.body(RenamePatch)
    return await call.context.store.write(organizations.change_organization, call.actor, reference, changes)


async def list_(call: Call) -> Page[Account]:
    found = await call.context.store.read(accounts.list_accounts, call.actor, call.query("parent"))
    return Page[Account](items=found)


async def create(call: Call) -> Account:
    new, key = call.body(NewAccount), call.idempotency_key()
    return call.made(await call.context.store.write(accounts.create_account, call.actor, new, key))


async def get(call: Call) -> Account:
    return await call.context.store.read(accounts.get_account, call.actor, call.path_arguments["account"])


async def change(call: Call) -> Account:
    reference, changes = call.path_arguments["account"], call.body(AccountPatch)
    return await call.context.store.write(accounts.change_account, call.actor, reference, changes)


async def archive(call: Call) -> Account:
    return await call.context.store.write(accounts.archive_account, call.actor, call.path_arguments["account"])


ROUTES = [
    Route(
        "GET",
        "/organizations/{organization}",
        "An organization, by id or name",
        "organization:get",
        get_organization,
        answer=Organization,
    ),
    Route(
        "PATCH",
        "/organizations/{organization}",
        "Rename an organization; all full names follow, ids and rights stay",
        "organization:set",
        change_organization,
        RenamePatch,
        Organization,
    ),
    Route(
        "GET",
        "/accounts",
        "The accounts that you may see",
        "account:get",
        list_,
        answer=Page[Account],
        parameters=(Parameter("parent", "only children of this account: id or full name"),),
    ),
    Route(
        "POST",
        "/accounts",
        "Create an account in an account, or in the organization",
        "account:new",
        create,
        NewAccount,
        Account,
        201,
        idempotent_key=True,
    ),
    Route("GET", "/accounts/{account}", "An account, by id or full name", "account:get", get, answer=Account),
    Route(
        "PATCH",
        "/accounts/{account}",
        "Rename an account; the full names below it follow, ids and rights stay",
        "account:set",
        change,
        AccountPatch,
        Account,
    ),
    Route(
        "DELETE",
        "/accounts/{account}",
        "Archive an account: it is hidden, and its name is free",
        "account:archive",
        archive,
        answer=Account,
    ),
]
