"""Calls of domain functions as somebody, each in a transaction of its own, and what a refusal must leave behind: nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewAccount, NewMember, NewPolicy, NewRole, NewTeam
from toolkit_client.errors import ToolkitError
from toolkit_client.models import NewUser
from toolkit_hub import clock
from toolkit_hub.domain import access, accounts, members, policies, roles, rules, teams, users
from toolkit_hub.domain.access import Actor
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import Membership
from toolkit_hub.store.tables import Base

P = ParamSpec("P")
ResultT = TypeVar("ResultT")


def soon(**units: float) -> datetime:
    return datetime.now(UTC) + timedelta(**units)


class House:
    """The organization `acme` with its users, and what they do."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def do(
        self,
        who: str,
        work: Callable[Concatenate[Session, Actor, P], ResultT],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ResultT:
        with self.store.begin() as session:
            actor = access.actor_by_name(session, who)
            assert actor is not None, f"there is no {who}"
            return work(session, actor, *args, **kwargs)

    def refused(
        self,
        error: type[ToolkitError],
        who: str,
        work: Callable[Concatenate[Session, Actor, P], Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ToolkitError:
        """The refusal of a call; it has a message and a hint, and has written nothing."""
        before = self.contents()
        with pytest.raises(error) as caught:
            self.do(who, work, *args, **kwargs)
        assert self.contents() == before
        assert caught.value.message
        assert caught.value.hint
        return caught.value

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table."""
        with self.store.begin(write=False) as session:
            return {
                table.name: sorted((tuple(row) for row in session.execute(select(table))), key=repr)
                for table in Base.metadata.sorted_tables
            }

    # --- short forms ----------------------------------------------------------------------------------------------

    def user(self, name: str) -> None:
        """A user more."""
        self.do("admin", users.create_user, NewUser(name=name, password="a good password"))

    def account(self, who: str, name: str) -> str:
        return self.do(who, accounts.create_account, NewAccount(name=name))[0].id

    def team(self, who: str, name: str) -> str:
        return self.do(who, teams.create_team, NewTeam(name=name))[0].id

    def role(self, who: str, name: str, *statements: str) -> str:
        return self.do(who, roles.create_role, NewRole(name=name, policies=list(statements)))[0].id

    def grant(self, who: str, role: str, statement: str, expires: datetime | None = None) -> str:
        new = NewPolicy(policy=statement, expires=expires)
        return self.do(who, policies.add_policy, "role", role, new)[0].id

    def join(self, who: str, role: str, user: str | None = None, **more: Any) -> None:
        self.do(who, members.add_member, "role", role, NewMember(user=user, **more))

    def names(self, role: str, group: str = "role", who: str = "admin") -> list[str]:
        return [member.name for member in self.do(who, members.list_members, group, role)]

    def rules(self, who: str) -> list[tuple[str, str]]:
        return [(rule.action, rule.named) for rule in self.do(who, rules.list_rules)]

    def allowed(self, who: str, action: str, urn: str) -> bool:
        return self.do(who, access.allowed, action, urn)

    def edges(self) -> int:
        with self.store.begin(write=False) as session:
            return len(session.scalars(select(Membership)).all())


class moved_clock:
    """The hub machine's clock is ahead within the block."""

    def __init__(self, **units: float) -> None:
        self.seconds = timedelta(**units).total_seconds()

    def __enter__(self) -> None:
        import time

        clock.set_clock(lambda: time.time() + self.seconds)

    def __exit__(self, *_: object) -> None:
        clock.set_clock()
