"""The one world that the rows on access share: 1,000 users, 100 teams, 1,000 accounts, 10,000 data, 20,000 statements.

It is made once, in memory for other engines and as rows of a SQLite store for ours. Everybody has what a fresh user has;
what is beyond that are shares: of single data and of whole accounts, to users, teams and roles.
"""

from __future__ import annotations

import atexit
import gc
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from tests.support.worlds import MemoryWorld, PolicyRow
from toolkit_client.urn import account_urn, data_urn, team_urn, user_urn
from toolkit_hub import clock
from toolkit_hub.policy.statements import parse_statement
from toolkit_hub.policy.world import Step, Subject
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import Data, Membership, Policy, PolicyAtom, Role, Team
from toolkit_hub.store.tables import Account, Organization, User, new_id

__all__ = ["LISTED", "AccessWorld", "shared_world"]

USERS, TEAMS, DATA_OF_EACH, STATEMENTS = 1000, 100, 10, 20_000
#: What the user whose list is measured may see: the home's, that of nine accounts by a role, and single data.
LISTED, BY_ROLE = 200, 9


@dataclass
class AccessWorld:
    """`memory` has what `store` has. `users[i]` has the home account `accounts[i]`; the first one is the one who lists, the
    second an administrator. `data` are pairs of account id and data id."""

    organization: str
    users: list[str]
    teams: list[str]
    accounts: list[str]
    data: list[tuple[str, str]]
    store: Store
    memory: MemoryWorld = field(default_factory=lambda: MemoryWorld(now=clock.now()))
    roles: dict[tuple[str, str], str] = field(default_factory=dict)  # (owner's id, name) → id
    rows: dict[Any, list[dict[str, Any]]] = field(default_factory=dict)

    def subject(self, user_id: str) -> Subject:
        return Subject(user_id, "user", self.organization)

    def urn(self, data: tuple[str, str]) -> str:
        return data_urn(self.organization, *data)

    def add(self, table: Any, **values: Any) -> None:
        self.rows.setdefault(table, []).append(values)

    def role(self, owner_type: str, owner_id: str, name: str, *statements: str) -> str:
        role_id = self.roles[owner_id, name] = new_id()
        self.add(
            Role,
            id=role_id,
            organization_id=self.organization,
            owner_type=owner_type,
            owner_id=owner_id,
            name=name,
            predefined=True,
            created=self.memory.now,
        )
        for statement in statements:
            self.hold("role", role_id, statement)
        return role_id

    def hold(self, kind: str, subject_id: str, text: str) -> None:
        statement, policy_id = parse_statement(text), new_id()
        self.memory.policies.append(PolicyRow(policy_id, subject_id, statement))
        self.add(
            Policy,
            id=policy_id,
            subject_type=kind,
            subject_id=subject_id,
            statement=text,
            created=self.memory.now,
            created_by="bench",
        )
        for action, pattern in statement.atoms:
            self.add(PolicyAtom, policy_id=policy_id, subject_id=subject_id, action=action, pattern=pattern)

    def join(self, group: tuple[str, str], member: tuple[str, str]) -> None:
        step = Step(member[1], group[1])
        if step in self.memory.memberships[-50:]:
            return
        self.memory.memberships.append(step)
        self.add(
            Membership,
            id=new_id(),
            group_type=group[0],
            group_id=group[1],
            member_type=member[0],
            member_id=member[1],
            created=self.memory.now,
            created_by="bench",
        )


@cache
def shared_world() -> AccessWorld:
    """Made at the first call; its folder goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="toolkit-bench-access-")
    store = Store(f"sqlite:///{Path(folder.name) / 'toolkit.sqlite'}")
    atexit.register(folder.cleanup)
    atexit.register(store.close)
    world = _empty(store)
    _defaults(world)
    _teams(world)
    _lister(world)
    _shares(world, random.Random(4))
    store.migrate()
    with store.begin() as session:
        for table, rows in world.rows.items():
            session.execute(insert(table), rows)
    world.rows.clear()
    gc.collect()
    gc.freeze()  # the copy in memory is for other engines: ours is not to be slowed by looking through it for garbage
    assert len(world.memory.policies) == STATEMENTS
    return world


def _empty(store: Store) -> AccessWorld:
    users, accounts = _ids(USERS), _ids(USERS)
    data = [(account, data_id) for account in accounts for data_id in _ids(DATA_OF_EACH)]
    world = AccessWorld(new_id(), users, _ids(TEAMS), accounts, data, store)
    common = {"organization_id": world.organization, "created": world.memory.now}
    world.add(Organization, id=world.organization, name="acme", created=world.memory.now)
    for number, (user_id, account_id) in enumerate(zip(users, accounts, strict=True)):
        name = f"u{number}"
        world.add(Account, id=account_id, name=name, full_name=f"acme.{name}", **common)
        world.add(User, id=user_id, home_account_id=account_id, name=name, hub_name=name, kind="person", **common)
    for number, team_id in enumerate(world.teams):
        world.add(Team, id=team_id, account_id=accounts[number * 10], name=f"t{number}", **common)
    for number, (account_id, data_id) in enumerate(data):
        creator = users[number // DATA_OF_EACH]
        name = f"d{number}"
        world.add(Data, id=data_id, account_id=account_id, creator_id=creator, name=name, created=world.memory.now)
    return world


def _defaults(world: AccessWorld) -> None:
    here = world.organization
    admin = world.role("organization", here, "admin", f"*@{here}+{here}:*")
    member = world.role("organization", here, "user", f"*:get@{here}+{here}:user:*+{here}:team:*")
    world.join(("role", admin), ("user", world.users[1]))
    for user_id, account_id in zip(world.users, world.accounts, strict=True):
        urn = account_urn(here, account_id)
        home = world.role("account", account_id, "admin", f"*@{urn}+{urn}:*")
        inside = f"job:get+job:set+job:exec+data:get+data:set+role:get@{urn}:*"
        world.role("account", account_id, "user", f"account:get+job:new+data:new@{urn}", inside)
        world.hold("user", user_id, f"user:set@{user_urn(here, user_id)}")
        world.join(("role", member), ("user", user_id))
        world.join(("role", home), ("user", user_id))


def _teams(world: AccessWorld) -> None:
    """Ten users each, every fifth team a member of the next one, each with the use of an account."""
    for number, team_id in enumerate(world.teams):
        urn = team_urn(world.organization, team_id)
        admin = world.role("team", team_id, "admin", f"*@{urn}+{urn}:*")
        world.role("team", team_id, "user", f"team:get@{urn}")
        members = world.users[10 * number : 10 * number + 10]
        world.join(("role", admin), ("user", members[0]))
        for user_id in members[1:]:
            world.join(("team", team_id), ("user", user_id))
        if number % 5 == 0:
            world.join(("team", world.teams[number + 1]), ("team", team_id))
        world.join(("role", world.roles[world.accounts[number * 10], "user"]), ("team", team_id))


def _lister(world: AccessWorld) -> None:
    first = world.users[0]
    for account_id in world.accounts[500 : 500 + BY_ROLE]:
        world.join(("role", world.roles[account_id, "user"]), ("user", first))
    for data in world.data[-(LISTED - (1 + BY_ROLE) * DATA_OF_EACH) :]:
        world.hold("user", first, f"data:get+data:set@{world.urn(data)}")


def _shares(world: AccessWorld, chance: random.Random) -> None:
    """With users (not the one who lists), teams and the roles of accounts, until there are as many statements as wanted."""
    roles = [world.roles[account_id, "user"] for account_id in world.accounts[:500]]
    while len(world.memory.policies) < STATEMENTS:
        kind = chance.choices(("user", "team", "role"), (6, 2, 2))[0]
        holders = {"user": world.users[1:], "team": world.teams[1:], "role": roles}[kind]
        data = chance.choice(world.data)
        text = f"data:get+data:set@{world.urn(data)}"
        if chance.random() < 0.05:
            text = f"data:get+job:get@{account_urn(world.organization, data[0])}:*"
        world.hold(kind, chance.choice(holders), text)


def _ids(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


def half_and_half(world: AccessWorld, count: int, seed: int) -> Iterable[tuple[str, tuple[str, str]]]:
    """Pairs of a user and data, every other one in the user's own account."""
    chance = random.Random(seed)
    for number in range(count):
        index = chance.randrange(USERS)
        own = world.data[index * DATA_OF_EACH + chance.randrange(DATA_OF_EACH)]
        yield world.users[index], own if number % 2 else chance.choice(world.data)
