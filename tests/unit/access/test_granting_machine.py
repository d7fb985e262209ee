"""No sequence of calls lets anybody reach more than the callers held.

Some users work together: they call whatever they like, also with keys that they make, and time goes by. The start is a random
world in which an administrator has given them this and that. Whatever they do, each user and each key then reaches no more
than what that user reached at the start, or what one of the callers did, as it would be now had nobody called anything.
What they make themselves is not counted: it was nobody's before.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.unit.access.house import House
from tests.unit.access.pool import Pool
from toolkit_client.access_models import (
    NewAccount,
    NewData,
    NewLock,
    NewMember,
    NewPolicy,
    NewRole,
    NewRoleKey,
    NewTeam,
    Offboarding,
    RenamePatch,
    UserPatch,
)
from toolkit_client.errors import ToolkitError
from toolkit_client.models import NewUser
from toolkit_hub import clock
from toolkit_hub.domain import (
    access,
    accounts,
    data,
    locks,
    members,
    offboarding,
    policies,
    role_keys,
    roles,
    teams,
    users,
)
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.owners import full_name_of_role
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.policy.matching import action_matches, contains, urn_matches
from toolkit_hub.policy.statements import parse_statement
from toolkit_hub.policy.world import Atom
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import Data, Policy, Role, RoleKey, Team
from toolkit_hub.store.tables import Account, Organization, User, new_id

#: Who calls. `dave` never does, and may be anybody's friend; so may the users that are made on the way.
CALLERS = ("alice", "bob", "carol")
NAMES = ("one", "two", "three")
VERBS = (
    *("*", "*:get", "role:*", "role:member", "role:policy", "role:key", "role:new", "role:get", "role:lock"),
    *("team:member", "team:policy", "team:new", "team:*", "user:new", "user:archive", "user:policy", "user:lock"),
    *("account:new", "account:get", "account:archive", "data:get", "data:new", "job:exec", "organization:lock"),
)
#: Whoever holds these may give what they do not hold; that is what they are for.
WAIVERS = ("role:escalate", "role:bind")
#: What an administrator hands out carelessly: rights to change what holds more than its changer.
CARELESS = (
    ("carol", "role:get+role:member@acme:account:acme.dave:*"),
    ("bob", "role:get+role:key@acme:account:acme.dave:*"),
    ("alice", "role:get+role:policy@acme:account:acme.dave:*"),
    ("carol", "role:member+role:key+role:policy@acme:role:*"),
    ("bob", "team:member+team:policy@acme:team:*"),
    ("alice", "user:archive+user:policy@acme:user:*"),
    ("bob", "user:new@acme"),
    ("carol", "account:new+account:get@acme:account:acme.dave"),
    ("alice", "team:new+account:new@acme"),
)
#: Memberships that end, of callers in what is not theirs.
ENDING = (("acme.dave.admin", "bob"), ("acme.dave.user", "carol"), ("acme.dave.admin", "alice"))

pick = st.integers(0, 10_000)
hours = st.one_of(st.none(), st.integers(1, 30))
callers = st.integers(0, 4)


class Grants(Pool, RuleBasedStateMachine):
    """Rules are calls; `pick` numbers choose among what there is at that moment, by name, so that a run can be repeated."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(
            dir="/dev/shm" if Path("/dev/shm").is_dir() else None
        )  # no waiting for disks
        file = Path(self.folder.name) / "now.sqlite"
        shutil.copy(self.template, file)
        self.house = House(Store(f"sqlite:///{file}"))
        self.started = datetime.now(UTC)
        self.later = timedelta()
        clock.set_clock(lambda: (self.started + self.later).timestamp())
        self.tokens: list[str] = []
        self.made_users = 0
        self.before: Store | None = None
        self.start: tuple[timedelta, tuple[dict[str, frozenset[int]], frozenset[int]]] | None = None

    def teardown(self) -> None:
        clock.set_clock()
        self.house.store.close()
        if self.before is not None:
            self.before.close()
        self.folder.cleanup()

    # --- the start ------------------------------------------------------------------------------------------------

    @initialize(
        careless=st.sets(st.sampled_from(CARELESS), min_size=2, max_size=6),
        ending=st.dictionaries(st.sampled_from(ENDING), st.integers(2, 30), max_size=2),
        given=st.lists(st.tuples(pick, st.sampled_from(VERBS), pick, hours), max_size=3),
        nested=st.booleans(),
    )
    def an_administrator_gives_this_and_that(
        self,
        careless: set[tuple[str, str]],
        ending: dict[tuple[str, str], int],
        given: list[tuple[int, str, int, int | None]],
        nested: bool,
    ) -> None:
        self.must("admin", teams.create_team, NewTeam(name="cocos"))
        self.must("admin", teams.create_team, NewTeam(name="palms"))
        self.must("dave", accounts.create_account, NewAccount(name="acme.dave.sub"))
        self.must("alice", roles.create_role, NewRole(name="acme.alice.shared"))
        self.must("dave", data.create_data, NewData(name="acme.dave.sub.images"))
        if nested:
            self.must("admin", members.add_member, "team", "cocos", NewMember(team="palms"))
        for name, statement in sorted(careless):
            self.must("admin", policies.add_policy, "user", name, NewPolicy(policy=statement))
        for (role, name), hour in sorted(ending.items()):
            self.must("admin", members.add_member, "role", role, NewMember(user=name, expires=self.until(hour)))
        for subject, verb, pattern, end in given:
            self.give(subject, verb, pattern, end)
        self.freeze()

    def must(self, who: str, work: Callable[..., Any], *args: Any) -> None:
        assert self.try_as(who, work, *args) is not None

    def give(self, subject: int, verb: str, pattern: int, end: int | None) -> None:
        text = f"{verb}@{self.pattern(pattern)}"
        waivers = [Atom(name, "acme") for name in WAIVERS]
        if any(contains(atom, waiver) for atom in parse_statement(text).atoms for waiver in waivers):
            return
        type_, ref = self.subjects()[subject % len(self.subjects())]
        self.try_as("admin", policies.add_policy, type_, ref, NewPolicy(policy=text, expires=self.until(end)))

    def freeze(self) -> None:
        """Keep the start, and the questions: all actions on all that there is, and on what may come later."""
        copy = Path(self.folder.name) / "before.sqlite"
        with closing(sqlite3.connect(Path(self.folder.name) / "now.sqlite")) as connection:
            connection.execute(f"VACUUM INTO '{copy}'")
        self.before = Store(f"sqlite:///{copy}")
        with self.before.begin(write=False) as session:
            self.organization = session.scalars(select(Organization.id)).one()
            tables: tuple[Any, ...] = (User, Team, Account, Role, Data)
            urns = [self.organization]
            for table in tables:
                urns += [row.urn for row in session.scalars(select(table))]
            urns += [
                f"{urn}:{kind}:{new_id()}"
                for urn in list(urns)
                for kind in ("role", "data", "job")
                if ":account:" in urn
            ]
            urns += [f"{self.organization}:{kind}:{new_id()}" for kind in ("user", "team", "account", "role")]
            urns.append(f"{self.organization}:account:{new_id()}:data:{new_id()}")
            self.questions = [(action, urn) for urn in urns for action in ACTIONS]
            self.known = {user.id: user.name for user in session.scalars(select(User))}
        self.reached_by: Callable[[Atom], frozenset[int]] = lru_cache(None)(self.reach_of)

    def reach_of(self, atom: Atom) -> frozenset[int]:
        return frozenset(
            number
            for number, (action, urn) in enumerate(self.questions)
            if action_matches(atom.action, action) and urn_matches(atom.pattern, urn)
        )

    def reach(self, session: Session, roots: Iterable[str]) -> frozenset[int]:
        held = access.world_of(session).all_held(list(roots))
        return frozenset[int]().union(*(self.reached_by(one.atom) for one in held))

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def nobody_reaches_more_than_the_callers_held(self) -> None:
        if self.before is None:
            return
        own, callers_held = self.at_the_start(self.later)
        with self.house.store.begin(write=False) as session:
            for user in session.scalars(select(User).where(User.kind == "person")).all():
                self.compare(user.name, self.reach(session, [user.id]), own.get(user.id, frozenset()) | callers_held)
            living = RoleKey.revoked.is_(None) & (RoleKey.expires.is_(None) | (RoleKey.expires > clock.now()))
            for role in session.scalars(select(Role).join(RoleKey).where(living)).all():
                self.compare(full_name_of_role(session, role), self.reach(session, [role.id]), callers_held)

    def at_the_start(self, later: timedelta) -> tuple[dict[str, frozenset[int]], frozenset[int]]:
        """What each user, and what all callers together, would reach now if nobody had called anything."""
        if self.start is None or self.start[0] != later:
            assert self.before is not None
            with self.before.begin(write=False) as session:
                own = {id_: self.reach(session, [id_]) for id_ in self.known}
                assert not any(self.may_waive(session, id_) for id_, name in self.known.items() if name in CALLERS)
            held = frozenset[int]().union(*(own[id_] for id_, name in self.known.items() if name in CALLERS))
            self.start = later, (own, held)
        return self.start[1]

    def may_waive(self, session: Session, user_id: str) -> bool:
        reached = self.reach(session, [user_id])
        return any(self.questions[number] == (name, self.organization) for number in reached for name in WAIVERS)

    def compare(self, name: str, now: frozenset[int], limit: frozenset[int]) -> None:
        more = [f"{action}@{urn}" for action, urn in (self.questions[number] for number in sorted(now - limit))]
        assert not more, f"{name} has come to {more[:5]}"

    # --- calls ------------------------------------------------------------------------------------------------------------

    def member(self, number: int, end: int | None) -> NewMember:
        names = [("user", name) for name in self.all_users()] + [("team", name) for name in self.all_teams()]
        type_, name = names[number % len(names)]
        return NewMember.model_validate({type_: name, "expires": self.until(end)})

    def until(self, end: int | None) -> datetime | None:
        return None if end is None else self.started + self.later + timedelta(hours=end)

    def try_as(self, who: str, work: Callable[..., Any], *args: Any) -> Any:
        """The call as a user, by the name they began with, or by a key; None when it is refused."""
        try:
            with self.house.store.begin() as session:
                actor = (
                    access.actor_by_key(session, who) if who.startswith("tkr_") else access.actor_by_name(session, who)
                )
                return work(session, actor, *args) if isinstance(actor, Actor) else None
        except ToolkitError as error:
            if error.status >= 500:
                raise
            return None

    def call(self, caller: int, work: Callable[..., Any], *args: Any) -> Any:
        who = [*CALLERS, *self.tokens[-3:]]
        return self.try_as(who[caller % len(who)], work, *args)

    @rule(caller=callers, subject=pick, verb=st.sampled_from(VERBS + WAIVERS), pattern=pick, end=hours)
    def add_a_policy(self, caller: int, subject: int, verb: str, pattern: int, end: int | None) -> None:
        type_, ref = self.group(subject) if subject % 2 else self.subjects()[subject % len(self.subjects())]
        new = NewPolicy(policy=f"{verb}@{self.pattern(pattern)}", expires=self.until(end))
        self.call(caller, policies.add_policy, type_, ref, new)

    @rule(caller=callers, group=pick, member=pick, end=hours)
    def add_a_member(self, caller: int, group: int, member: int, end: int | None) -> None:
        type_, ref = self.group(group)
        self.call(caller, members.add_member, type_, ref, self.member(member, end))

    @rule(caller=callers, group=pick, end=hours)
    def join(self, caller: int, group: int, end: int | None) -> None:
        type_, ref = self.group(group)
        new = NewMember(user=CALLERS[caller % len(CALLERS)], expires=self.until(end))
        self.call(caller, members.add_member, type_, ref, new)

    @rule(caller=callers, place=pick, name=st.sampled_from(NAMES), verb=st.sampled_from(VERBS), pattern=pick)
    def create_a_role(self, caller: int, place: int, name: str, verb: str, pattern: int) -> None:
        places = ["acme", *self.all_accounts(), *(f"acme.{team}" for team in self.all_teams())]
        statements = [f"{verb}@{self.pattern(pattern)}"] if pattern % 2 else []
        self.call(caller, roles.create_role, NewRole(name=f"{places[place % len(places)]}.{name}", policies=statements))

    @rule(caller=callers, role=pick, end=hours)
    def create_a_key(self, caller: int, role: int, end: int | None) -> None:
        type_, ref = self.group(role)
        if type_ == "role":
            made = self.call(caller, role_keys.create_key, ref, NewRoleKey(expires=self.until(end)))
            if made is not None:
                self.tokens.append(made[0].token)

    @rule(caller=callers, what=pick, other=pick, name=st.sampled_from((*NAMES, "dave", "cocos")))
    def do_something_else(self, caller: int, what: int, other: int, name: str) -> None:
        others = (self.create, self.rename, self.archive, self.offboard, self.lock_or_unlock, self.remove)
        others[what % len(others)](caller, other, name)

    @rule(caller=callers)
    def create_a_user(self, caller: int) -> None:
        self.call(caller, users.create_user, NewUser(name="root", password="a good password", admin=True))
        if not self.made_users:  # each password takes its time
            new = NewUser(name="eve", password="a good password")
            self.made_users += self.call(caller, users.create_user, new) is not None

    @rule(passed=st.integers(1, 20))
    def time_goes_by(self, passed: int) -> None:
        self.later += timedelta(hours=passed)

    def create(self, caller: int, place: int, name: str) -> None:
        places = ["acme", *self.all_accounts()]
        full_name = f"{places[place % len(places)]}.{name}"
        self.call(caller, accounts.create_account, NewAccount(name=full_name))
        self.call(caller, data.create_data, NewData(name=full_name))
        self.call(caller, teams.create_team, NewTeam(name=name))

    def rename(self, caller: int, thing: int, name: str) -> None:
        things: list[tuple[Callable[..., Any], str]] = [
            *((accounts.change_account, ref) for ref in self.all_accounts()),
            *((roles.change_role, ref) for ref in self.all_roles()),
            *((teams.change_team, ref) for ref in self.all_teams()),
            *((users.change_user, ref) for ref in self.all_users()),
        ]
        work, ref = things[thing % len(things)]
        self.call(caller, work, ref, UserPatch(name=name) if work is users.change_user else RenamePatch(name=name))

    def archive(self, caller: int, thing: int, _name: str) -> None:
        things: list[tuple[Callable[..., Any], str]] = [
            *((accounts.archive_account, ref) for ref in self.all_accounts()),
            *((roles.archive_role, ref) for ref in self.all_roles()),
            *((teams.archive_team, ref) for ref in self.all_teams()),
            *((offboarding.archive_user, ref) for ref in self.all_users()),
        ]
        work, ref = things[thing % len(things)]
        self.call(caller, work, ref)

    def offboard(self, caller: int, heir: int, _name: str) -> None:
        self.call(caller, offboarding.offboard_user, "dave", Offboarding(to=CALLERS[heir % len(CALLERS)]))

    def lock_or_unlock(self, caller: int, thing: int, _name: str) -> None:
        things = [*(("user", ref) for ref in self.all_users()), *(("role", ref) for ref in self.all_roles())]
        type_, ref = things[thing % len(things)]
        if self.call(caller, locks.unlock, type_, ref) is None:
            self.call(caller, locks.lock, NewLock.model_validate({"type": type_, "ref": ref}))

    def remove(self, caller: int, number: int, _name: str) -> None:
        type_, ref = self.group(number)
        gone = self.member(number, None)
        self.call(caller, members.remove_member, type_, ref, "user" if gone.user else "team", gone.user or gone.team)
        with self.house.store.begin(write=False) as session:
            found = session.scalars(select(Policy).order_by(Policy.created, Policy.statement)).all()
        chosen = found[number % len(found)]
        self.call(caller, policies.remove_policy, chosen.subject_type, chosen.subject_id, chosen.id)


def test_no_sequence_of_calls_gives_more_than_the_callers_held(populated_file: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.sqlite"
    shutil.copy(populated_file, template)
    house = House(Store(f"sqlite:///{template}"))
    house.user("carol")
    house.user("dave")
    house.store.close()  # so that all is in the one file
    machine = type("GrantsHere", (Grants,), {"template": template})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
