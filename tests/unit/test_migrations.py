"""A database of the version before, with rows in it, brought to this one's: nobody gains or loses anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.support.postgres import Cluster
from toolkit_hub import clock
from toolkit_hub.domain import access, rules
from toolkit_hub.store import Store
from toolkit_hub.store.store import _alembic_config
from toolkit_hub.store.tables import Base, User

ORGANIZATION = "00000000-0000-4000-8000-000000000000"
NOW = clock.now()


def id_of(name: str) -> str:
    return f"{name:0<8}".encode().hex()[:8] + ORGANIZATION[8:]


@pytest.fixture
def old_store(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """At revision 0001: alice, bob and the administrator root, a child account, a job with a run."""
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    if backend == "postgresql":
        cluster: Cluster = request.getfixturevalue("postgres")
        url = cluster.url(cluster.create())
    store = Store(url)
    _to(store, "0001")
    with store.engine.begin() as connection:
        _fill(connection)
    yield store
    store.close()


def _to(store: Store, revision: str) -> None:
    config = _alembic_config()
    with store.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def _fill(connection: sa.Connection) -> None:
    def add(table: str, **values: Any) -> None:
        columns = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(f":{name}" for name in values)
        types = [sa.bindparam(name, type_=sa.DateTime(timezone=True)) for name in values if name == "created"]
        connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({marks})").bindparams(*types), values)

    made = {"created": NOW}
    add("organizations", id=ORGANIZATION, name="acme", **made)
    for name in ("root", "alice", "bob"):
        home = {"id": id_of(f"h{name}"), "name": name, "full_name": f"acme.{name}"}
        add("accounts", organization_id=ORGANIZATION, **home, **made)
        user = {"id": id_of(name), "name": name, "home_account_id": home["id"], "admin": name == "root"}
        add("users", organization_id=ORGANIZATION, **user, **made)
        add("idempotency_keys", user_id=user["id"], key="k", request_hash="h", resource_id="r", **made)
    child = {"id": id_of("child"), "parent_id": id_of("halice"), "name": "x", "full_name": "acme.alice.x"}
    add("accounts", organization_id=ORGANIZATION, **child, **made)
    job = {"id": id_of("job"), "seq": 1, "account_id": child["id"], "creator_id": id_of("alice"), "state": "RUNNING"}
    words = {"state_info": "", "target": "run", "kind": "job", "image": "i", "tags": "[]", "spec": "{}"}
    numbers = {"cpu": 1.0, "mem": 1.0, "bid": 0, "max_run_time": 0}
    flags = {"interactive": False, "preemptable": False, "restartable": False}
    add("jobs", **job, **words, **numbers, **flags, **made)
    server = {**job, "id": id_of("server"), "seq": 2, "account_id": id_of("halice")}
    add("jobs", **server, **words | {"kind": "server"}, **numbers, **flags | {"interactive": True}, **made)
    sitting = {**job, "id": id_of("sitting"), "seq": 3}
    add("jobs", **sitting, **words, **numbers, **flags | {"interactive": True}, **made)
    run = {
        "id": id_of("run"),
        "job_id": job["id"],
        "index": 0,
        "server_name": "j1",
        "owner": "alice",
        "state": "RUNNING",
    }
    add("runs", **run, state_info="", secret="s", server_removed=False, **made)


def test_rows_of_before_are_kept_and_get_their_roles(old_store: Store) -> None:
    old_store.migrate()
    with old_store.begin() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Base.metadata) == []
        assert {user.name: user.hub_name for user in session.scalars(sa.select(User))} == {
            name: name for name in ("root", "alice", "bob")
        }
        alice = access.actor_by_name(session, "alice")
        assert alice is not None
        o, home, child = "acme", "acme.alice", "acme.alice.x"
        assert [(rule.action, rule.named) for rule in rules.list_rules(session, alice)] == [
            ("user:set", f"{o}:user:alice"),
            ("*:get", o),
            ("*:get", f"{o}:user:*"),
            ("*:get", f"{o}:team:*"),
            ("*", f"{o}:account:{home}"),
            ("*", f"{o}:account:{home}:*"),
            ("*", f"{o}:account:{child}"),
            ("*", f"{o}:account:{child}:*"),
        ]
        job = f"{ORGANIZATION}:account:{id_of('child')}:job:{id_of('job')}"
        for name, may in (("alice", True), ("bob", False), ("root", True)):
            actor = access.actor_by_name(session, name)
            assert actor is not None
            assert access.allowed(session, actor, "job:exec", job) == may
            assert access.allowed(session, actor, "organization:maintain", ORGANIZATION) == (name == "root")
            sitting = job.replace(id_of("job"), id_of("sitting"))
            assert access.allowed(session, actor, "job:exec", sitting) == may, "others may be in it"
            server = f"{ORGANIZATION}:account:{id_of('halice')}:job:{id_of('server')}"
            assert access.allowed(session, actor, "job:exec", server) == (name == "alice")


def test_what_refers_to_a_remade_table_still_does(old_store: Store) -> None:
    old_store.migrate()
    with old_store.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(sa.text("DELETE FROM users"))


def test_a_name_is_free_again_when_its_holder_is_archived(old_store: Store) -> None:
    old_store.migrate()
    with old_store.begin() as session:
        bob = session.scalars(sa.select(User).where(User.name == "bob")).one()
        bob.archived, bob.hub_name = NOW, None
        session.flush()
        again = {"organization_id": ORGANIZATION, "kind": "person", "created": NOW}
        session.add(User(name="bob", hub_name="bob", home_account_id=bob.home_account_id, **again))
    with pytest.raises(sa.exc.IntegrityError), old_store.begin() as session:
        session.add(User(name="bob", hub_name="bob2", home_account_id=id_of("hbob"), **again))


def test_there_is_a_way_back(old_store: Store) -> None:
    old_store.migrate()
    config = _alembic_config()
    with old_store.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        connection.commit()
        admins = connection.execute(sa.text("SELECT name FROM users WHERE admin")).scalars().all()
        assert admins == ["root"]
    old_store.migrate()
