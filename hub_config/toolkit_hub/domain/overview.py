"""Access as one person sees it: where they belong, what they hold, and of one thing who may do what. For the pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from toolkit_client.access_models import HeldRule, Member, Policy, Role, RoleKey, RuleAnswer, WhoIsAllowed
from toolkit_client.errors import NotFound, PermissionDenied
from toolkit_hub import clock
from toolkit_hub.domain import members, policies, role_keys, roles, rules
from toolkit_hub.domain.access import Actor, visible
from toolkit_hub.domain.owners import full_name_of_owner
from toolkit_hub.domain.things import Thing
from toolkit_hub.policy.actions import ACTIONS, Action
from toolkit_hub.store.access_tables import Membership, Team
from toolkit_hub.store.access_tables import Role as RoleRow
from toolkit_hub.store.tables import Account, User
from toolkit_hub.store.world import SqlWorld

__all__ = [
    "Answer",
    "Asked",
    "Belonging",
    "Group",
    "Overview",
    "ThingView",
    "answer",
    "known_names",
    "overview",
    "thing_view",
]

ResultT = TypeVar("ResultT")

#: Members that are listed beside others; of more only the number is shown.
FEW = 25

#: Names of each type that are offered to choose from; any other can be typed.
KNOWN = 500

#: In which order the places are shown where somebody belongs.
ORDER = ("account", "team", "organization")


@dataclass(frozen=True)
class Group:
    """A role with its members: None where they may not be seen or are too many to be shown beside others, see `count`."""

    role: Role
    count: int
    members: list[Member] | None
    mine: bool = False


@dataclass(frozen=True)
class Belonging:
    """An owner of roles (account, team or organization) and the names of those of its roles that somebody is in; `groups` is
    what may be seen of its roles, none of which may."""

    type: str
    id: str
    name: str
    mine: list[str]
    groups: list[Group]


@dataclass(frozen=True)
class Overview:
    """Where somebody belongs, and what they hold."""

    belongings: list[Belonging]
    teams: list[tuple[str, str]]
    rules: list[HeldRule]


@dataclass(frozen=True)
class Asked:
    """An action that can be asked of a thing, whether the caller may, and who else (None: not to be seen)."""

    action: Action
    me: bool
    who: list[WhoIsAllowed] | None


@dataclass(frozen=True)
class ThingView:
    """One thing: its roles or members, and who may do what with it."""

    thing: Thing
    asked: list[Asked]
    groups: list[Group] = field(default_factory=list)
    members: list[Member] | None = None
    policies: list[Policy] | None = None
    keys: list[RoleKey] | None = None
    rules: list[HeldRule] | None = None


@dataclass(frozen=True)
class Answer:
    """Whether one subject may do it, why, and who else may."""

    answer: RuleAnswer
    who: list[WhoIsAllowed] | None


def overview(session: Session, actor: Actor) -> Overview:
    """The actor's own."""
    mine = {step.group_id for step in SqlWorld(session, clock.now()).groups(actor.subject.roots)}
    names = defaultdict(list)
    for role in session.scalars(select(RoleRow).where(RoleRow.id.in_(mine)).order_by(RoleRow.name)):
        names[role.owner_type, role.owner_id].append(role.name)
    belongings = [
        Belonging(type_, id_, full_name_of_owner(session, type_, id_), held, _groups(session, actor, type_, id_, mine))
        for (type_, id_), held in names.items()
    ]
    teams = session.execute(select(Team.id, Team.name).where(Team.id.in_(mine)).order_by(Team.name))
    return Overview(
        belongings=sorted(
            belongings, key=lambda one: (ORDER.index(one.type), one.id != actor.home_account_id, one.name)
        ),
        teams=[(row.id, f"{actor.organization_name}.{row.name}") for row in teams],
        rules=rules.list_rules(session, actor),
    )


def _groups(session: Session, actor: Actor, type_: str, id_: str, mine: set[str]) -> list[Group]:
    found = seen(roles.list_roles, session, actor, type_, id_) or []
    return [_group(session, actor, role, role.id in mine) for role in found]


def _group(session: Session, actor: Actor, role: Role, mine: bool) -> Group:
    count = session.scalar(select(func.count()).where(Membership.group_id == role.id)) or 0
    few = seen(members.list_members, session, actor, "role", role.id) if count <= FEW else None
    return Group(role, count, few, mine)


def known_names(session: Session, actor: Actor) -> list[str]:
    """Full names to choose from: of accounts, teams and users that the actor may see."""
    start = f"{actor.organization_name}."
    names: dict[str, None] = {}
    for model, name in ((Account, Account.full_name), (Team, start + Team.name), (User, start + User.name)):
        kind = model.__name__.lower()
        query = select(name.label("name")).where(
            visible(session, actor, f"{kind}:get", model), model.archived.is_(None)
        )
        if model is User:
            query = query.where(User.kind == "person")
        names |= dict.fromkeys(session.scalars(query.order_by("name").limit(KNOWN)))
    return list(names)


def thing_view(session: Session, actor: Actor, thing: Thing) -> ThingView:
    """Who may do what with `thing`, as far as the actor may know."""
    asked = [_asked(session, actor, action, thing) for action in actions_on(thing.type)]
    if thing.type in ("organization", "account", "team"):
        groups = _groups(session, actor, thing.type, thing.id, set())
        team_members = seen(members.list_members, session, actor, "team", thing.id) if thing.type == "team" else None
        return ThingView(thing, asked, groups, team_members, _policies(session, actor, thing))
    statements = _policies(session, actor, thing)
    if thing.type == "role":
        role_members = seen(members.list_members, session, actor, "role", thing.id)
        keys = seen(role_keys.list_keys, session, actor, thing.id)
        return ThingView(thing, asked, members=role_members, policies=statements, keys=keys)
    held = seen(rules.list_rules, session, actor, thing.id) if thing.type == "user" else None
    return ThingView(thing, asked, policies=statements, rules=held)


def _policies(session: Session, actor: Actor, thing: Thing) -> list[Policy] | None:
    if thing.type not in ("user", "team", "role"):
        return None
    return seen(policies.list_policies, session, actor, thing.type, thing.id)


def actions_on(type_: str) -> list[Action]:
    """The actions that are asked of a resource of this type."""
    return [action for action in ACTIONS.values() if type_ in action.asked_of]


def _asked(session: Session, actor: Actor, action: Action, thing: Thing) -> Asked:
    rule = f"{action.name}@{thing.urn}"
    who = seen(rules.who_is_allowed, session, actor, rule)
    return Asked(action, rules.allowed(session, actor, rule).allowed, who)


def answer(session: Session, actor: Actor, thing: Thing, action: str, user: str | None) -> Answer:
    """The answer for `user` (None: the actor). Raises `PermissionDenied` where the actor may not ask about another."""
    rule = f"{action}@{thing.urn}"
    return Answer(rules.why(session, actor, rule, user), seen(rules.who_is_allowed, session, actor, rule))


def seen(ask: Callable[..., ResultT], session: Session, actor: Actor, *what: str) -> ResultT | None:
    """The answer, or None where the actor may not know it."""
    try:
        return ask(session, actor, *what)
    except (NotFound, PermissionDenied):
        return None
