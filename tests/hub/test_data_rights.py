"""Each address of the data host asks for its right, whoever comes and with whatever; and a disk that is really full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.data_house import DataHouse
from toolkit_client.access_models import NewLock, NewRole, NewRoleKey
from toolkit_client.errors import InsufficientStorage
from toolkit_client.transfer.push import push
from toolkit_hub.domain import job_tokens, locks, role_keys, roles
from toolkit_hub.gate.data.host import ROUTES, DataRoute
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.store.tables import Job, Run

MIB = 1 << 20


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataHouse]:
    made = DataHouse(tmp_path_factory.mktemp("house") / "state")
    (made.live / "f").write_text("content")
    try:
        yield made
    finally:
        made.stop()


def test_every_address_names_its_action() -> None:
    assert {route.action for route in ROUTES} == {"data:get", "data:set"}
    assert {route.action for route in ROUTES} <= set(ACTIONS)
    assert len({(route.method, route.what) for route in ROUTES}) == len(ROUTES)
    for route in ROUTES:
        writes = route.what in ("push", "upload", "remove", "mkdir", "move")
        assert route.action == ("data:set" if writes else "data:get"), route


def test_every_address_is_in_the_documents() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    for route in ROUTES:
        assert f"`{route.method} …/{route.what}`" in text, f"{route.method} {route.what} is missing in docs/data.md"


def _ask(house: DataHouse, route: DataRoute, **more: object) -> int:
    """The status; of what has passed the door but makes no sense behind it, 200."""
    target = f"{route.what}?path=g&size=0&mtime=0&offset=0"
    answer = house.at(target, route.method, content=b"", **more)  # type: ignore[arg-type]
    refused = answer.status_code in (401, 403) or (answer.status_code == 404 and "no such data" in answer.text)
    return answer.status_code if refused else 200


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.what}")
def test_who_may(house: DataHouse, route: DataRoute) -> None:
    reads = route.action == "data:get"
    assert _ask(house, route, user=None) == 401
    assert _ask(house, route, user=None, headers={"Authorization": "Bearer no-such-token"}) == 401
    assert _ask(house, route, user="bob") == 404
    policy = house.grant("bob", "data:get")
    try:
        assert _ask(house, route, user="bob") == (200 if reads else 403)
    finally:
        house.revoke("bob", policy)
    assert _ask(house, route, user="bob") == 404
    policy = house.grant("bob", "data:set")  # who may write and not read
    try:
        assert _ask(house, route, user="bob") == (404 if reads else 200)
    finally:
        house.revoke("bob", policy)
    assert _ask(house, route, user="alice") == 200


def test_role_keys_and_jobs_tokens(house: DataHouse) -> None:
    route = next(route for route in ROUTES if route.what == "listing")
    writes = next(route for route in ROUTES if route.what == "mkdir")
    with house.store.begin() as session:
        alice = house.actor(session, "alice")
        policies = [f"data:get@{house.urn}"]
        role, _ = roles.create_role(session, alice, NewRole(name="acme.alice.reader", policies=policies))
        key, _ = role_keys.create_key(session, alice, role.id, NewRoleKey())

    def ask(token: str, what: DataRoute = route) -> int:
        return _ask(house, what, user=None, headers={"Authorization": f"Bearer {token}"})

    assert ask(key.token) == 200
    assert ask(key.token, writes) == 403
    with_role, without = house.job(role_id=role.id), house.job()

    def token(job_id: str) -> str:
        with house.store.begin(write=False) as session:
            return job_tokens.job_token(session.get_one(Job, job_id).runs[-1])

    assert ask(token(with_role)) == 200
    assert ask(token(without)) == 404
    with house.store.begin() as session:
        for run in session.query(Run).filter(Run.job_id == with_role):
            run.state = "SUCCEEDED"
    assert ask(token(with_role)) == 401
    with house.store.begin() as session:
        locks.lock(session, house.actor(session, "root"), NewLock(type="role", ref="acme.alice.reader"))
    assert ask(key.token) == 401


def test_a_locked_user_is_told_so(house: DataHouse) -> None:
    route = next(route for route in ROUTES if route.what == "listing")
    with house.store.begin() as session:
        locks.lock(session, house.actor(session, "root"), NewLock(type="user", ref="acme.alice", why="lost laptop"))
    try:
        answer = house.at("listing")
        assert answer.status_code == 403
        assert "lost laptop" in answer.text
        assert _ask(house, route) == 403
    finally:
        with house.store.begin() as session:
            locks.unlock(session, house.actor(session, "root"), "user", "acme.alice")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(tmp_path: Path, small_disk: Path) -> None:
    house = DataHouse(tmp_path / "state", data_root=str(small_disk / "data"))
    source = tmp_path / "source"
    source.mkdir()
    for name in "abcdef":
        (source / name).write_bytes(os.urandom(5 * MIB))
    try:
        with pytest.raises(InsufficientStorage, match="the disk is full") as told:
            push(house.link(), "images", source)
        assert told.value.status == 507
        assert "what has arrived is kept" in told.value.hint
        kept = sorted(os.listdir(house.live))
        assert kept[:2] == ["a", "b"]
        assert all((house.live / name).read_bytes() == (source / name).read_bytes() for name in kept)
        # Without a restart it goes on as soon as there is room: other things were in the way.
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        outcome = push(house.link(), "images", source)
        assert outcome.problems == []
        assert outcome.unchanged == len(kept)
        assert sorted(os.listdir(house.live)) == list("abcdef")
        assert os.listdir(house.staging) == []
    finally:
        house.stop()


def test_the_machine_keeps_its_floor_of_free_space(tmp_path: Path, small_disk: Path) -> None:
    house = DataHouse(tmp_path / "state", data_root=str(small_disk / "data"), disk_floor=1.0)
    (tmp_path / "f").write_bytes(b"x")
    try:
        with pytest.raises(InsufficientStorage, match="less than 1 GiB would stay free"):
            push(house.link(), "images", tmp_path / "f")
    finally:
        house.stop()
