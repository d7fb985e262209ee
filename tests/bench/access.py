"""Decisions and the lists that follow from them, in one large world; and a revocation over HTTP."""

from __future__ import annotations

import statistics
import time
from functools import cache

import casbin
import cedarpy
import httpx
from sqlalchemy import select

from tests.bench.access_world import LISTED, AccessWorld, half_and_half, shared_world
from tests.bench.rows import Row, percentile
from tests.support import cedar
from tests.support.running_site import RunningSite
from toolkit_hub.domain import access, data, rules
from toolkit_hub.policy.decision import decide
from toolkit_hub.policy.matching import action_matches, urn_matches
from toolkit_hub.policy.world import Resource
from toolkit_hub.store.access_tables import Data
from toolkit_hub.store.tables import Account, Organization, User

QUESTION = "data:get"
_MODEL = """
[request_definition]
r = sub, act, obj
[policy_definition]
p = sub, act, obj
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = urn_matches(p.obj, r.obj) && action_matches(p.act, r.act) && g(r.sub, p.sub)
"""


@cache
def _decisions(rounds: int = 3000) -> tuple[list[float], list[float]]:
    """Seconds of a decision, and of one SELECT by primary key on the same connection in turn with it. No pair of user and
    data is asked about again within a run of this length but by chance, and nothing is kept between decisions."""
    world = shared_world()
    values, references, yes = [], [], 0
    with world.store.begin(write=False) as session:
        connection = session.connection()
        for user_id, which in half_and_half(world, rounds, seed=1):
            subject, urn = world.subject(user_id), world.urn(which)
            begin = time.perf_counter()
            yes += access.decision(session, subject, QUESTION, urn).allowed
            middle = time.perf_counter()
            connection.exec_driver_sql("SELECT name FROM data WHERE id = ?", (which[1],)).one()
            references.append(time.perf_counter() - middle)
            values.append(middle - begin)
    assert rounds * 0.4 < yes < rounds * 0.7
    return values, references


def allowed(_site: RunningSite) -> Row:
    """One decision through the store, p50."""
    values, references = _decisions()
    value, reference = statistics.median(values), statistics.median(references)
    ratio = value / reference
    return Row("allowed, p50", value * 1000, "ms", reference * 1000, ratio, "<= 10x", ratio <= 10, len(values))


def allowed_tail(_site: RunningSite) -> Row:
    """The same decisions, p99."""
    values, references = _decisions()
    value, reference = percentile(values, 99), percentile(references, 99)
    return Row("allowed, p99", value * 1000, "ms", reference * 1000, None, "<= 1 ms", value <= 0.001, len(values))


def who_is_allowed(_site: RunningSite, rounds: int = 300) -> Row:
    """p99 of the whole answer with names and ways, beside the same engine asked once for each of the 1,000 users."""
    world = shared_world()
    values = []
    for user_id, which in half_and_half(world, rounds + 2, seed=2):  # the first two compile what stays the same
        with world.store.begin(write=False) as session:
            admin = access.actor_by_id(session, world.users[1])
            assert admin is not None
            begin = time.perf_counter()
            found = rules.who_is_allowed(session, admin, f"{QUESTION}@{world.urn(which)}")
            values.append(time.perf_counter() - begin)
            ids = {one.id for one in found}
            assert (user_id in ids) == access.decision(
                session, world.subject(user_id), QUESTION, world.urn(which)
            ).allowed
    with world.store.begin(write=False) as session:
        begin = time.perf_counter()
        one_by_one = {
            user_id
            for user_id in world.users
            if access.decision(session, world.subject(user_id), QUESTION, world.urn(which)).allowed
        }
        reference = time.perf_counter() - begin
    assert one_by_one == ids
    value = percentile(values[2:], 99)
    ratio = value / reference
    return Row("who-is-allowed, p99", value * 1000, "ms", reference * 1000, ratio, "<= 5 ms", value <= 0.005, rounds)


def data_ls(_site: RunningSite, rounds: int = 100) -> Row:
    """The list of a user who may see 200 of 10,000 data, beside the bare SELECT of the same rows with the names in them."""
    world = shared_world()
    values, references = [], []
    ids: list[str] = []
    names = (Account.full_name, User.name, Organization.name)
    for _ in range(rounds + 2):
        with world.store.begin(write=False) as session:
            actor = access.actor_by_id(session, world.users[0])
            assert actor is not None
            begin = time.perf_counter()
            listed = data.list_data(session, actor)
            values.append(time.perf_counter() - begin)
            ids = ids or [one.id for one in listed]
            assert [one.id for one in listed] == ids
        bare = (
            select(*Data.__table__.columns, *names)
            .join_from(Data, Account, Account.id == Data.account_id)
            .join(User, User.id == Data.creator_id)
            .join(Organization, Organization.id == User.organization_id)
            .where(Data.id.in_(ids))
            .order_by(Account.full_name, Data.name)
        )
        with world.store.begin(write=False) as session:
            session.connection()
            begin = time.perf_counter()
            assert [row.id for row in session.execute(bare)] == ids
            references.append(time.perf_counter() - begin)
    assert len(ids) == LISTED
    value, reference = statistics.median(values[2:]), statistics.median(references[2:])
    ratio = value / reference
    name = f"data ls, {LISTED} of {len(world.data)}"
    return Row(name, value * 1000, "ms", reference * 1000, ratio, "<= 3x", ratio <= 3, rounds)


def revoked(site: RunningSite, rounds: int = 20) -> Row:
    """Requests that were still answered after the right to them had been taken away; each follows at once."""
    headers = {"Authorization": f"Bearer {site.token('revoked')}"}
    late = 0
    with (
        site.client() as admin,
        httpx.Client(base_url=f"{site.url}/services/toolkit/api/v1", headers=headers) as http,
    ):
        shared = admin.data.new("bench-revoked")
        for _ in range(rounds):
            policy = admin.users.add_policy("revoked", f"{QUESTION}@{shared.urn}")
            assert http.get(f"/data/{shared.id}").status_code == 200
            admin.users.remove_policy("revoked", policy.id)
            late += http.get(f"/data/{shared.id}").status_code != 404
    return Row("requests answered after a revocation", late, "", None, None, "= 0", late == 0, rounds)


def cedar_beside(_site: RunningSite, rounds: int = 5) -> Row:
    """One decision of cedarpy with all policies, parsed before, and the entities it needs; no reach, only to compare."""
    world = shared_world()
    policies = cedarpy.PolicySet.from_str(cedar.policy_text(world.memory))
    values = []
    for user_id, which in half_and_half(world, rounds, seed=3):
        subject, resource = world.subject(user_id), Resource(world.urn(which))
        request, entities = cedar.request(world.memory, subject, QUESTION, resource)
        begin = time.perf_counter()
        answer = cedarpy.is_authorized(request, policies, entities)
        values.append(time.perf_counter() - begin)
        assert answer.allowed == decide(world.memory, subject, QUESTION, resource).allowed
    return _beside("cedarpy, the same decisions", values)


def casbin_beside(_site: RunningSite, rounds: int = 5) -> Row:
    """One decision of pycasbin, which walks through all policies; no reach, only to compare."""
    world = shared_world()
    enforcer = _casbin(world)
    values = []
    for user_id, which in half_and_half(world, rounds, seed=3):
        begin = time.perf_counter()
        answer = enforcer.enforce(user_id, QUESTION, world.urn(which))
        values.append(time.perf_counter() - begin)
        resource = Resource(world.urn(which))
        assert answer == decide(world.memory, world.subject(user_id), QUESTION, resource).allowed
    return _beside("pycasbin, the same decisions", values)


def _casbin(world: AccessWorld) -> casbin.Enforcer:
    model = casbin.Model()
    model.load_model_from_text(_MODEL)
    enforcer = casbin.Enforcer(model)
    enforcer.add_function("urn_matches", urn_matches)
    enforcer.add_function("action_matches", action_matches)
    atoms = {(policy.subject_id, *atom): None for policy in world.memory.policies for atom in policy.statement.atoms}
    # Not by `add_policies`, which looks through all that it has for each one: that takes minutes.
    model["p"]["p"].policy = [list(atom) for atom in atoms]
    model["g"]["g"].policy = [[step.member_id, step.group_id] for step in world.memory.memberships]
    enforcer.build_role_links()
    return enforcer


def _beside(name: str, values: list[float]) -> Row:
    reference = statistics.median(_decisions()[0])
    value = statistics.median(values)
    return Row(name, value * 1000, "ms", reference * 1000, value / reference, "-", True, len(values))
