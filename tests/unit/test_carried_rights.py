"""Jobs that carry their creator's rights: which do, what their tokens may, and who may enter them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import (
    NewAccount,
    NewData,
    NewLock,
    NewMember,
    NewPolicy,
    NewRole,
    NewRoleKey,
    NewTeam,
    RenamePatch,
    UserPatch,
)
from toolkit_client.data_models import QuotaPatch, RoomLimits, RoomQuotaPatch
from toolkit_client.errors import NotFound, PermissionDenied
from toolkit_client.models import Job as WireJob
from toolkit_client.models import JobPatch, JobSpec, NewUser, VisitWish
from toolkit_hub.domain import (
    access,
    accounts,
    audit,
    data,
    data_usage,
    job_changes,
    job_list,
    jobs,
    locks,
    members,
    offboarding,
    policies,
    role_keys,
    roles,
    room_quotas,
    rules,
    teams,
    users,
)
from toolkit_hub.domain.access import Actor, DeadKey, Refused
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.domain.visits import make_visit
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.service import ROUTES
from toolkit_hub.store.tables import Job


@pytest.fixture
def house(people: People) -> House:
    """admin, alice and bob; alice's account `acme.alice.x`, in which bob may submit and run code."""
    made = House(people.store)
    made.account("alice", "acme.alice.x")
    made.join("alice", "acme.alice.x.user", "acme.bob")
    return made


def inside(session: Session, job: WireJob) -> Actor:
    """Whoever shows the token of the job's newest run."""
    actor = access.actor_by_key(session, job_token(session.get_one(Job, job.id).runs[-1]), "request", "172.30.0.9")
    assert actor is not None
    return actor


def own_server(people: People, user: str) -> WireJob:
    with people.store.begin() as session:
        return jobs.own_server(session, people.site, people.actor(session, user))[0]


# --- which jobs do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "carries"),
    [
        ({}, False),
        ({"interactive": True}, True),
        ({"interactive": True, "account": "acme.alice.x"}, True),
        ({"interactive": True, "shareable": True}, False),
        ({"interactive": True, "role": "acme.alice.x.user"}, False),
        ({"role": "acme.alice.x.user"}, False),
    ],
)
def test_interactive_jobs_of_a_person_carry_their_rights(
    house: House, people: People, spec: dict[str, Any], carries: bool
) -> None:
    job = people.submit("alice", **spec)
    assert (job.carries_rights, job.shareable) == (carries, spec.get("shareable", False))
    with people.store.begin() as session:
        actor = inside(session, job)
        assert actor.subject.type == ("user" if carries else "job")
        listed = job_list.list_jobs(session, people.site, people.actor(session, "alice"), job_list.JobFilter())["items"]
        assert [one["carriesRights"] for one in listed] == [carries]


def test_a_users_own_server_carries_their_rights(people: People) -> None:
    job = own_server(people, "alice")
    assert job.carries_rights
    with people.store.begin() as session:
        assert users.me(session, inside(session, job)).full_name == "acme.alice"


def test_jobs_of_role_keys_and_of_other_jobs_carry_nobodys_rights(house: House, people: People) -> None:
    """There is no person who asks: what they may do, `role` says."""
    key = house.do("alice", role_keys.create_key, "acme.alice.x.user", NewRoleKey())[0].token
    with_role = people.submit("alice", role="acme.alice.x.user")
    with people.store.begin() as session:
        by_key = access.actor_by_key(session, key)
        assert by_key is not None
        for actor in (by_key, inside(session, with_role)):
            spec = JobSpec(command=["true"], interactive=True, account="acme.alice.x")
            job, _ = jobs.submit_job(session, people.site, actor, spec)
            assert not job.carries_rights
            assert inside(session, job).subject.type == "job"


def test_nothing_makes_it_other_than_it_was_submitted(people: People) -> None:
    for key in ("shareable", "carriesRights", "interactive", "role", "creator"):
        with pytest.raises(ValueError, match=key):
            JobPatch.model_validate({key: True})
    job = people.submit("alice", interactive=True)
    with people.store.begin() as session:
        changed = job_changes.change_job(
            session, people.site, people.actor(session, "alice"), job.id, JobPatch(name="other", bid=3)
        )
        assert changed.carries_rights


def test_who_retries_a_job_gives_it_rights_of_their_own(house: House, people: People) -> None:
    first = people.submit("alice", interactive=True, account="acme.alice.x")
    with people.store.begin() as session:
        job_changes.kill_job(session, people.site, people.actor(session, "alice"), first.id)
    with people.store.begin() as session:
        again, _ = jobs.retry_job(session, people.site, people.actor(session, "bob"), first.id)
        assert (again.carries_rights, again.creator) == (True, "acme.bob")
        assert inside(session, again).full_name == "acme.bob"
        may = {
            name: access.allowed(session, people.actor(session, name), "job:exec", again.urn)
            for name in ("admin", "alice", "bob")
        }
        assert may == {"admin": False, "alice": False, "bob": True}


# --- whose rights, and for how long -----------------------------------------------------------------------------------


def test_the_token_acts_as_the_user_with_the_rights_of_now(house: House, people: People) -> None:
    job = people.submit("bob", interactive=True)
    with people.store.begin() as session:
        actor = inside(session, job)
        assert (actor.full_name, actor.subject.id, actor.via) == (
            "acme.bob",
            people.actor(session, "bob").user_id,
            job.urn,
        )
        made, _ = data.create_data(session, actor, NewData(name="made-inside"))
        assert made.full_name == "acme.bob.made-inside"
        batch, _ = jobs.submit_job(session, people.site, actor, JobSpec(command=["true"]))
        assert (batch.creator, batch.carries_rights) == ("acme.bob", False)
        account = accounts.get_account(session, actor, "acme.alice.x")
        assert access.allowed(session, actor, "job:new", account.urn)
    house.do("alice", members.remove_member, "role", "acme.alice.x.user", "user", "acme.bob")
    with people.store.begin() as session:
        assert not access.allowed(session, inside(session, job), "job:new", account.urn)


def _lock(kind: str) -> Callable[[House, WireJob], object]:
    return lambda house, job: house.do(
        "admin", locks.lock, NewLock(type=kind, ref="acme.bob" if kind == "user" else job.id, why="tried")
    )


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        (_lock("user"), "locked"),
        (_lock("job"), "the job is locked"),
        (
            lambda house, job: house.do("admin", offboarding.archive_user, "acme.bob"),
            "the user whose rights it carries",
        ),
    ],
    ids=["user locked", "job locked", "user archived"],
)
def test_it_is_dead_with_its_user_or_its_job(
    house: House, people: People, stop: Callable[[House, WireJob], object], reason: str
) -> None:
    job = people.submit("bob", interactive=True, account="acme.alice.x")
    with people.store.begin() as session:
        token = job_token(session.get_one(Job, job.id).runs[-1])
    stop(house, job)
    with people.store.begin() as session, pytest.raises(DeadKey, match=reason):
        access.actor_by_key(session, token)


def test_it_may_nothing_while_its_user_is_disabled_and_ends_with_the_run(house: House, people: People) -> None:
    job = people.submit("bob", interactive=True)
    house.do("admin", users.disable_user, "acme.bob")
    with people.store.begin() as session:
        actor = inside(session, job)
        assert actor.subject.stopped == "the user is disabled"
        assert not access.allowed(session, actor, "job:get", job.urn)
    house.do("admin", users.enable_user, "acme.bob")
    with people.store.begin() as session:
        assert access.allowed(session, inside(session, job), "job:get", job.urn)
        job_changes.kill_job(session, people.site, people.actor(session, "bob"), job.id)
    with people.store.begin() as session, pytest.raises(DeadKey, match="the run has ended"):
        inside(session, job)


# --- what outlasts the run --------------------------------------------------------------------------------------------

#: By an administrator, who may do all of it in person.
OUTLASTING: dict[str, Callable[[Session, Actor], object]] = {
    "role key": lambda s, a: role_keys.create_key(s, a, "acme.alice.x.user", NewRoleKey()),
    "role": lambda s, a: roles.create_role(s, a, NewRole(name="acme.alice.x.mine")),
    "role's end": lambda s, a: roles.archive_role(s, a, "acme.alice.x.reader"),
    "policy of a role": lambda s, a: policies.add_policy(
        s, a, "role", "acme.alice.x.user", NewPolicy(policy="job:get@acme")
    ),
    "policy of a user": lambda s, a: policies.add_policy(s, a, "user", "acme.admin", NewPolicy(policy="job:get@acme")),
    "member": lambda s, a: members.add_member(s, a, "role", "acme.alice.x.user", NewMember(user="acme.admin")),
    "member's end": lambda s, a: members.remove_member(s, a, "role", "acme.alice.x.user", "user", "acme.bob"),
    "team": lambda s, a: teams.create_team(s, a, NewTeam(name="acme.cocos")),
    "account": lambda s, a: accounts.create_account(s, a, NewAccount(name="acme.admin.mine")),
    "account's end": lambda s, a: accounts.archive_account(s, a, "acme.alice.x"),
    "user": lambda s, a: users.create_user(s, a, NewUser(name="mallory", password="a good password")),
    "user's end": lambda s, a: users.disable_user(s, a, "acme.bob"),
    "lock": lambda s, a: locks.lock(s, a, NewLock(type="user", ref="acme.bob", why="")),
    "quota of an account": lambda s, a: data_usage.set_quota(
        s, a, "acme.admin", QuotaPatch(files_limit=None), data_usage.DataLimits()
    ),
    "quota of a user": lambda s, a: room_quotas.set_room_quota(
        s, a, "user", "acme.admin", RoomQuotaPatch(room=RoomLimits(gpus=9))
    ),
    "quota of the organization": lambda s, a: room_quotas.set_room_quota(
        s, a, "organization", "acme", RoomQuotaPatch(room=RoomLimits(gpus=9))
    ),
    "user rename": lambda s, a: users.change_user(s, a, "acme.bob", UserPatch(name="robert")),
}


def test_a_jobs_token_does_nothing_that_outlasts_it(house: House, people: People) -> None:
    job = own_server(people, "admin")
    house.role("alice", "acme.alice.x.reader")
    before = house.contents()
    for what in OUTLASTING.values():
        with pytest.raises(Refused) as caught, people.store.begin() as session:
            what(session, inside(session, job))
        assert f"this is the token of job {job.id}" in caught.value.message
        assert "do it yourself" in caught.value.hint
    assert house.contents() == before
    for what in OUTLASTING.values():
        house.do("admin", what)  # in person


def test_what_a_jobs_token_may_change_by_the_api() -> None:
    """Every route that changes something and is open to it stands here: one more is to be thought about. Its action alone
    does not tell: a change that `get` is enough for might be one that outlasts the job."""
    open_to_it = {
        f"{route.method} {route.path}"
        for route in ROUTES
        if route.method != "GET" and (route.action is None or ACTIONS[route.action].carried)
    }
    assert open_to_it == {
        "POST /jobs",
        "PATCH /jobs/{job}",
        "DELETE /jobs/{job}",
        "POST /jobs/{job}/retry",
        "POST /jobs/{job}/visits",  # and refused there: a visit makes a session that outlasts the run
        "POST /servers",
        "POST /data",
        "PATCH /data/{data}",
        "DELETE /data/{data}",
        "POST /data/{data}/versions",
    }


def test_a_jobs_token_reads_its_users_own_acts_in_the_audit_log_and_nobody_elses(house: House, people: People) -> None:
    job = own_server(people, "admin")
    with people.store.begin() as session:
        seen = audit.list_audit(session, inside(session, job), audit.AuditFilter(limit=1000)).items
        everything = audit.list_audit(session, people.actor(session, "admin"), audit.AuditFilter(limit=1000)).items
    assert {entry.actor for entry in seen} == {"acme.admin"}
    assert {"acme.alice"} < {entry.actor for entry in everything}


def test_rights_do_not_go_from_job_to_job(house: House, people: People) -> None:
    job = people.submit("alice", interactive=True)
    submit = jobs.submit_job
    with pytest.raises(PermissionDenied, match=f"the token of job {job.id}"), people.store.begin() as session:
        submit(session, people.site, inside(session, job), JobSpec(command=["true"], interactive=True))
    with pytest.raises(PermissionDenied, match="only the user starts one"), people.store.begin() as session:
        jobs.own_server(session, people.site, inside(session, job))
    with people.store.begin() as session:
        spec = JobSpec(command=["true"], interactive=True, shareable=True)
        shareable, _ = submit(session, people.site, inside(session, job), spec)
        assert not shareable.carries_rights
        job_changes.kill_job(session, people.site, people.actor(session, "alice"), shareable.id)
    server = own_server(people, "alice")
    with people.store.begin() as session:
        assert jobs.own_server(session, people.site, inside(session, job))[0].id == server.id, "the living one is named"


def test_a_job_makes_no_visit_in_its_users_name(house: House, people: People) -> None:
    job, other = people.submit("alice", interactive=True), people.submit("alice")
    with pytest.raises(PermissionDenied, match="opens no browser"), people.store.begin() as session:
        make_visit(session, people.site, inside(session, job), other.id, VisitWish(app="8080"))


def test_a_job_hands_on_no_role_that_holds_more_than_the_job_may(house: House, people: People) -> None:
    """The token of a job with a role has all that the role holds: a key of an administrator's role, for instance."""
    job = people.submit("alice", interactive=True)
    with pytest.raises(PermissionDenied, match="nor hand on"), people.store.begin() as session:
        jobs.submit_job(session, people.site, inside(session, job), JobSpec(command=["true"], role="acme.alice.admin"))
    with people.store.begin() as session:
        spec = JobSpec(command=["true"], role="acme.alice.x.user")
        assert jobs.submit_job(session, people.site, inside(session, job), spec)[0].role == "acme.alice.x.user"
    assert people.submit("alice", role="acme.alice.admin").role == "acme.alice.admin"  # in person


# --- who may enter ----------------------------------------------------------------------------------------------------


def test_nobody_but_its_creator_enters_it_and_every_answer_says_why(house: House, people: People) -> None:
    job = people.submit("bob", interactive=True, account="acme.alice.x")
    role = house.role("alice", "acme.alice.x.entering", f"job:exec@{job.urn}", "job:*@acme:account:acme.alice.x:*")
    house.join("alice", role, "acme.alice")
    house.user("carol")
    house.do("admin", policies.add_policy, "user", "acme.carol", NewPolicy(policy=f"job:get+job:exec@{job.urn}"))
    key = house.do("alice", role_keys.create_key, role, NewRoleKey())[0].token
    question, words = f"job:exec@{job.urn}", "this job carries the rights of acme.bob; only acme.bob can enter it"
    with_role = people.submit("alice", role="acme.alice.x.entering")
    with people.store.begin() as session:
        by_key = access.actor_by_key(session, key)
        assert by_key is not None
        others = [people.actor(session, name) for name in ("admin", "alice", "carol")] + [
            by_key,
            inside(session, with_role),
        ]
        for actor in others:
            assert access.allowed(session, actor, "job:get", job.urn)
            decided = access.decision(session, actor.subject, "job:exec", job.urn)
            assert (decided.allowed, decided.reason) == (False, words)
            assert not rules.allowed(session, actor, question).allowed
            with pytest.raises(Refused, match=words) as caught:
                access.authorise(session, actor, "job:exec", job.urn)
            assert "nobody can give you that" in caught.value.hint
        for name in ("admin", "alice", "carol"):
            why = rules.why(session, people.actor(session, name), question)
            assert (why.allowed, why.reason, why.smallest, why.grantors) == (False, words, "", [])
        for who in (people.actor(session, "bob"), inside(session, job)):
            assert access.allowed(session, who, "job:exec", job.urn)
        found = rules.who_is_allowed(session, people.actor(session, "admin"), question)
        assert [one.name for one in found] == ["acme.bob"]
        for name in ("admin", "alice"):
            listed = select(Job.id).where(access.visible(session, people.actor(session, name), "job:exec", Job))
            assert set(session.scalars(listed)) == {with_role.id}
    # Administrators look after it as after any job.
    with people.store.begin() as session:
        assert job_changes.kill_job(session, people.site, people.actor(session, "alice"), job.id).state == "CANCELLED"


def test_a_shareable_job_is_shared_as_any(house: House, people: People) -> None:
    job = people.submit("bob", interactive=True, shareable=True, account="acme.alice.x")
    with people.store.begin() as session:
        assert access.allowed(session, people.actor(session, "alice"), "job:exec", job.urn)


def test_the_rights_outlive_no_move_of_the_job(house: House, people: People) -> None:
    """Renames of user and account change nothing of whose job it is; whoever is not its creator has nothing of it."""
    job = people.submit("bob", interactive=True, account="acme.alice.x")
    house.do("alice", accounts.change_account, "acme.alice.x", RenamePatch(name="y"))
    with people.store.begin() as session:
        assert not access.allowed(session, people.actor(session, "alice"), "job:exec", job.urn)
        assert access.allowed(session, people.actor(session, "bob"), "job:exec", job.urn)
    house.do("alice", members.remove_member, "role", "acme.alice.y.user", "user", "acme.bob")
    with people.store.begin() as session:
        assert not access.allowed(session, people.actor(session, "bob"), "job:exec", job.urn), "by the rights of now"
        with pytest.raises(NotFound):
            jobs.get_job(session, people.site, people.actor(session, "bob"), job.id)


# --- the audit log ----------------------------------------------------------------------------------------------------


def test_the_audit_log_names_the_user_and_the_job_by_which_they_acted(house: House, people: People) -> None:
    job = people.submit("bob", interactive=True)
    with people.store.begin() as session:
        made, _ = jobs.submit_job(session, people.site, inside(session, job), JobSpec(command=["true"]))
    with people.store.begin() as session:
        wanted = audit.AuditFilter(actor="acme.bob", urn=made.urn)
        entries = audit.list_audit(session, people.actor(session, "bob"), wanted).items
        assert [(entry.actor, entry.via, entry.action) for entry in entries] == [("acme.bob", job.urn, "job:new")]
        own = audit.list_audit(session, people.actor(session, "bob"), audit.AuditFilter(urn=job.urn)).items
        assert [entry.via for entry in own] == [""]
