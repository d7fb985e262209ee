"""What there is in an organization at a moment, in an order that depends on names alone, to choose from by number."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.unit.access.house import House
from toolkit_hub.domain.owners import full_name_of_role
from toolkit_hub.store.access_tables import Role, Team
from toolkit_hub.store.tables import Account, User

SECTIONS = (
    "*",
    "acme",
    "acme:*",
    "acme:user:*",
    "acme:team:*",
    "acme:account:*",
    "acme:account:*:role:*",
    "acme:*:*:role:*",
)


class Pool:
    """Lists by name: ids differ from run to run. What is of `dave` is worth to get at, and chosen more often."""

    house: House

    def listed(self, work: Callable[[Session], Iterable[str]]) -> list[str]:
        with self.house.store.begin(write=False) as session:
            return sorted(work(session))

    def all_users(self) -> list[str]:
        return self.listed(
            lambda session: session.scalars(select(User.name).where(User.archived.is_(None), User.kind == "person"))
        )

    def all_teams(self) -> list[str]:
        return self.listed(lambda session: session.scalars(select(Team.name).where(Team.archived.is_(None))))

    def all_accounts(self) -> list[str]:
        return self.listed(lambda session: session.scalars(select(Account.full_name).where(Account.archived.is_(None))))

    def all_roles(self) -> list[str]:
        living = select(Role).where(Role.archived.is_(None))
        return self.listed(lambda session: (full_name_of_role(session, role) for role in session.scalars(living).all()))

    def groups(self) -> list[tuple[str, str]]:
        return [*(("team", name) for name in self.all_teams()), *(("role", name) for name in self.all_roles())]

    def group(self, number: int) -> tuple[str, str]:
        """One of all, and mostly one that is worth to get at."""
        found = self.groups()
        worth = [one for one in found if "dave" in one[1] or one[1] in ("acme.admin", "acme.alice.shared", "cocos")]
        return (worth if number % 3 else found)[number % len(worth if number % 3 else found)]

    def subjects(self) -> list[tuple[str, str]]:
        return [*(("user", name) for name in self.all_users()), *self.groups()]

    def pattern(self, number: int) -> str:
        named = [
            f"acme:account:{name}{rest}" for name in self.all_accounts() for rest in ("", ":*", ":role:*", ":data:*")
        ]
        named += [f"acme:{type_}:{name}" for type_, name in self.subjects() if type_ != "role"]
        worth = [pattern for pattern in named if "dave" in pattern]
        patterns = worth if number % 3 else [*SECTIONS, *named]
        return patterns[number % len(patterns)]
