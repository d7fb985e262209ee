"""``/rules``: who may do what, and why."""

from __future__ import annotations

from toolkit_client.access_models import Allowed, HeldRule, RuleAnswer, WhoIsAllowed
from toolkit_client.errors import InvalidRequest
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import rules

__all__ = ["ROUTES"]

_RULE = Parameter("rule", "`action@urn`; the URN may have names in the place of ids", required=True)
_USER = Parameter("user", "about this user instead of you: id or full name; needs `user:policy` on the user")


async def list_(call: Call) -> Page[HeldRule]:
    return Page[HeldRule](items=await call.context.store.read(rules.list_rules, call.actor, call.query("user")))


async def allowed(call: Call) -> Allowed:
    return await call.context.store.read(rules.allowed, call.actor, _rule(call))


async def who_is_allowed(call: Call) -> Page[WhoIsAllowed]:
    return Page[WhoIsAllowed](items=await call.context.store.read(rules.who_is_allowed, call.actor, _rule(call)))


async def why(call: Call) -> RuleAnswer:
    return await call.context.store.read(rules.why, call.actor, _rule(call), call.query("user"))


def _rule(call: Call) -> str:
    rule = call.query("rule")
    if rule is None:
        raise InvalidRequest("the query parameter `rule` is missing", "it is `action@urn`, as `job:get@acme:account:…`")
    return rule


ROUTES = [
    Route(
        "GET",
        "/rules",
        "The rules that you hold, by yourself and by what you are a member of",
        "user:get",
        list_,
        answer=Page[HeldRule],
        parameters=(_USER,),
    ),
    Route(
        "GET",
        "/rules/allowed",
        "Whether you may do it",
        "user:get",
        allowed,
        answer=Allowed,
        parameters=(_RULE,),
    ),
    Route(
        "GET",
        "/rules/who-is-allowed",
        "All users, and roles with living keys, that may do it to something that you may see",
        "organization:get",
        who_is_allowed,
        answer=Page[WhoIsAllowed],
        parameters=(_RULE,),
    ),
    Route(
        "GET",
        "/rules/why",
        "Why you may do it, or may not: the statements, and the memberships that lead to them",
        "organization:get",
        why,
        answer=RuleAnswer,
        parameters=(_RULE, _USER),
    ),
]
