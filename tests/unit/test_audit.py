"""The audit log: what reaches it, what never does, who reads it, and that nobody can edit it."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_client.access_models import NewAccount, NewMember, NewPolicy, NewRole, NewRoleKey
from toolkit_client.errors import InvalidRequest, PermissionDenied
from toolkit_client.models import NewUser
from toolkit_hub import clock
from toolkit_hub.domain import accounts, audit, members, policies, role_keys, roles, users
from toolkit_hub.domain.access import Actor, actor_by_key
from toolkit_hub.domain.audit import HIDDEN, AuditFilter, list_audit, redacted
from toolkit_hub.store import Store
from toolkit_hub.store.access_tables import AuditEntry
from toolkit_hub.store.append_only import REFUSAL, protect, unprotect
from toolkit_hub.store.tables import Base

# --- append-only ------------------------------------------------------------------------------------------------------


#: Ways to change or remove a row, in the words of each database.
EDITS = {
    "both": (
        "UPDATE audit_log SET actor = 'nobody'",
        "UPDATE audit_log SET seq = seq + 1000",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE outcome = 'refused'",
        "INSERT INTO audit_log SELECT * FROM audit_log WHERE true ON CONFLICT (seq) DO UPDATE SET actor = 'nobody'",
    ),
    "sqlite": (
        "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log",
        "REPLACE INTO audit_log SELECT * FROM audit_log",
    ),
    "postgresql": ("TRUNCATE audit_log", "TRUNCATE organizations, audit_log CASCADE"),
}


def test_the_database_refuses_to_change_or_remove(people: People, backend: str) -> None:
    with people.store.begin() as session:
        audit.record(session, None, "organization:get", "urn", outcome="refused", reason="first")
    before = _rows(people.store)
    for statement in (*EDITS["both"], *EDITS[backend]):
        with pytest.raises(DBAPIError, match=REFUSAL), people.store.begin() as session:
            session.execute(text(statement))
        assert _rows(people.store) == before, statement
    with people.store.begin() as session:
        audit.record(session, None, "organization:get", "urn", reason="second")
    assert len(_rows(people.store)) == len(before) + 1


def test_a_downgrade_can_take_it_back_and_a_rebuilt_table_gets_it_again(store: Store) -> None:
    with store.begin() as session:
        audit.record(session, None, "organization:get", "urn")
        unprotect(session.connection())
        session.execute(text("UPDATE audit_log SET actor = 'changed'"))
        protect(session.connection())
    with pytest.raises(DBAPIError, match=REFUSAL), store.begin() as session:
        session.execute(text("DELETE FROM audit_log"))
    assert [row[2] for row in _rows(store)] == ["changed"]


def _rows(store: Store) -> list[tuple[object, ...]]:
    with store.begin(write=False) as session:
        return [tuple(row) for row in session.execute(text("SELECT * FROM audit_log ORDER BY seq"))]


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_change_and_its_entry_are_one_transaction(people: People) -> None:
    with people.store.begin(write=False) as session:
        before = session.scalar(select(func.count()).select_from(AuditEntry))
    with pytest.raises(RuntimeError), people.store.begin() as session:
        accounts.create_account(session, people.actor(session, "alice"), NewAccount(name="acme.alice.x"))
        raise RuntimeError
    with people.store.begin() as session:
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == before
        made, _ = accounts.create_account(session, people.actor(session, "alice"), NewAccount(name="acme.alice.x"))
    with people.store.begin(write=False) as session:
        entry = _newest(session, people.actor(session, "alice"), action="account:new")
        assert (entry.actor, entry.urn, entry.outcome) == ("acme.alice", made.urn, "done")
        assert "*@" in entry.reason  # the statement by which it was allowed


def test_a_job_is_in_it_by_the_same_call_as_its_event(people: People) -> None:
    job = people.submit("alice")
    with people.store.begin(write=False) as session:
        entry = _newest(session, people.actor(session, "alice"), urn=job.urn)
        assert (entry.action, entry.data["event"]) == ("job:new", "job.submitted")


def _newest(session: Session, actor: Actor, **wanted: str) -> audit.AuditRecord:
    return list_audit(session, actor, AuditFilter(limit=1, **wanted)).items[0]  # type: ignore[arg-type]


# --- what never comes in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"password": "hunter2"}, {"password": HIDDEN}),
        ({"newPassword": "hunter2", "name": "joe"}, {"newPassword": HIDDEN, "name": "joe"}),
        ({"spec": {"env": [{"apiKey": "hunter2"}]}}, {"spec": {"env": [{"apiKey": HIDDEN}]}}),
        ({"secretHash": "aa", "TOKEN": "bb", "otp": "123456"}, {"secretHash": HIDDEN, "TOKEN": HIDDEN, "otp": HIDDEN}),
        ({"reason": "tried tkr_abcdefgh"}, {"reason": f"tried {HIDDEN}"}),
        ({"reason": "tkj_j1234_abcdef."}, {"reason": HIDDEN}),
        ({"header": "Authorization: Bearer abcdefghijkl"}, {"header": f"Authorization: Bearer {HIDDEN}"}),
        ({"url": "postgresql://me:hunter2@host/db"}, {"url": f"postgresql://{HIDDEN}@host/db"}),
        ({"hotplug": "yes", "count": 3, "on": None}, {"hotplug": "yes", "count": 3, "on": None}),
    ],
)
def test_secrets_are_left_out(given: dict[str, object], kept: dict[str, object]) -> None:
    assert redacted(given) == kept


def test_long_and_odd_values_are_bounded(people: People) -> None:
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        audit.record(session, alice, "a" * 500, "u\n\x00" * 500, reason="r\x00" * 50_000, data={"x": "y" * 50_000})
    with people.store.begin(write=False) as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(1)).one()
        assert len(entry.urn) == 255
        assert "\n" not in entry.urn
        assert len(entry.reason) < 11_000
        assert len(entry.data["x"]) < 11_000


def test_no_secret_is_anywhere_in_the_database_or_the_logs(
    people: People, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greps every column of every table, and everything that was logged, for what must not be found again."""
    caplog.set_level(logging.DEBUG)
    password = "horse-battery-7391"
    with people.store.begin() as session:
        admin = people.actor(session, "admin")
        users.create_user(session, admin, NewUser(name="carol", password=password), "key-1")
        roles.create_role(session, admin, NewRole(name="acme.admin-keys".replace("-", "_")))
        key = role_keys.create_key(session, admin, "acme.admin_keys", NewRoleKey(name="robot"))
        key = key[0] if isinstance(key, tuple) else key
    with people.store.begin() as session:
        robot = actor_by_key(session, key.token)
        assert robot is not None
        audit.record(session, robot, "job:new", "urn", outcome="refused", reason=f"sent {key.token} and failed")
    hidden = [password, key.token, key.token.split("_", 1)[1]]
    everything = _everything(people.store) + caplog.text
    assert "robot" in everything
    for secret in hidden:
        assert secret not in everything


def _everything(store: Store) -> str:
    """The whole database as text, with what the tables of the code do not name."""
    with store.begin(write=False) as session:
        names = inspect(session.connection()).get_table_names()
        assert set(Base.metadata.tables) <= set(names)
        return "\n".join(
            repr(tuple(row)) for name in names for row in session.execute(text(f'SELECT * FROM "{name}"')).all()
        )


# --- who reads it -----------------------------------------------------------------------------------------------------


def test_who_reads_what(people: People) -> None:
    """All with organization:audit, an account's with account:audit, one's own always."""
    with people.store.begin() as session:
        alice, admin = people.actor(session, "alice"), people.actor(session, "admin")
        account, _ = accounts.create_account(session, alice, NewAccount(name="acme.alice.lab"))
        users.create_user(session, admin, NewUser(name="carol", password="a good password"))
    people.submit("alice", account="acme.alice.lab")
    with people.store.begin(write=False) as session:
        everything = _urns(session, people.actor(session, "admin"))
        assert {entry[0] for entry in everything} >= {"acme.alice", "acme.admin"}
        seen = _urns(session, people.actor(session, "alice"))
        assert seen == {entry for entry in everything if entry[0] == "acme.alice" or _of_alice(people, entry[1])}
        assert _urns(session, people.actor(session, "bob")) == set()
    with people.store.begin() as session:
        alice = people.actor(session, "alice")
        role, _ = roles.create_role(session, alice, NewRole(name="acme.alice.lab.auditors"))
        statement = f"account:audit@{account.urn}"
        policies.add_policy(session, alice, "role", role.id, NewPolicy(policy=statement))
        members.add_member(session, alice, "role", role.id, NewMember(user="acme.bob"))
    with people.store.begin(write=False) as session:
        seen = _urns(session, people.actor(session, "bob"))
        assert seen
        assert all(urn == account.urn or urn.startswith(f"{account.urn}:") for _, urn in seen)
        assert any(":job:" in urn for _, urn in seen)


def _urns(session: Session, actor: Actor) -> set[tuple[str, str]]:
    return {(entry.actor, entry.urn) for entry in list_audit(session, actor, AuditFilter(limit=1000)).items}


def _of_alice(people: People, urn: str) -> bool:
    with people.store.begin(write=False) as session:
        names = [one.urn for one in accounts.list_accounts(session, people.actor(session, "alice"))]
    return any(urn == name or urn.startswith(f"{name}:") for name in names)


def test_filters_and_pages(people: People) -> None:
    for index in range(5):
        people.submit("alice", name=f"job{index}")
    with people.store.begin() as session:
        audit.record(session, people.actor(session, "bob"), "job:get", "urn", outcome="refused", reason="no")
    with people.store.begin(write=False) as session:
        admin, alice = people.actor(session, "admin"), people.actor(session, "alice")
        whole = list_audit(session, alice, AuditFilter(action="job")).items
        pages, cursor = [], None
        while True:
            page = list_audit(session, alice, AuditFilter(action="job", limit=2, cursor=cursor))
            pages += page.items
            cursor = page.next
            if cursor is None:
                break
        assert pages == whole
        assert [entry.data["name"] for entry in whole] == [f"job{index}" for index in (4, 3, 2, 1, 0)]
        by_name = list_audit(session, admin, AuditFilter(actor="alice", action="job:new")).items
        by_id = list_audit(session, admin, AuditFilter(actor=alice.user_id, action="job:*")).items
        assert by_name == by_id == whole
        by_urn = list_audit(session, admin, AuditFilter(urn="acme:account:acme.alice", action="job")).items
        assert (
            by_urn == list_audit(session, admin, AuditFilter(urn=by_urn[0].urn.rsplit(":", 2)[0], action="job")).items
        )
        assert by_urn == whole
        middle = whole[2]
        assert middle in list_audit(session, alice, AuditFilter(since=middle.time)).items
        assert middle not in list_audit(session, alice, AuditFilter(until=middle.time)).items
        late = clock.now() + timedelta(hours=1)
        assert list_audit(session, alice, AuditFilter(since=late)).items == []
        refused = list_audit(session, people.actor(session, "bob"), AuditFilter(outcome="refused")).items
        assert [entry.reason for entry in refused] == ["no"]
        for wrong in (AuditFilter(outcome="maybe"), AuditFilter(cursor="1; DROP TABLE"), AuditFilter(urn="other:*")):
            with pytest.raises(InvalidRequest):
                list_audit(session, admin, wrong)


def test_a_wildcard_of_the_database_is_none_of_the_filter(people: People) -> None:
    people.submit("alice")
    with people.store.begin(write=False) as session:
        admin = people.actor(session, "admin")
        for wanted in (AuditFilter(urn="acme:account:%"), AuditFilter(action="%"), AuditFilter(action="job_new")):
            assert list_audit(session, admin, wanted).items == []


def test_a_refusal_that_nobody_recorded_leaves_nothing(people: People) -> None:
    """Refusals are written by whoever answers, in a transaction of its own: that of the change is rolled back."""
    with pytest.raises(PermissionDenied), people.store.begin() as session:
        users.create_user(session, people.actor(session, "alice"), NewUser(name="eve", password="a good password"))
    with people.store.begin(write=False) as session:
        assert _urns(session, people.actor(session, "alice")) == set()
