"""Commits from the request to the row, quotas and sizes, on both databases, with real files."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.unit.conftest import People
from toolkit_client.access_models import NewData, NewMember, NewPolicy, NewRole
from toolkit_client.data_models import Commit, NewVersion, QuotaPatch
from toolkit_client.errors import (
    Conflict,
    InsufficientStorage,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    ServiceUnavailable,
)
from toolkit_client.transfer.staging import MOMENT
from toolkit_hub.domain import data, data_usage, data_versions, members, policies, roles
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.garbage import volumes as garbage
from toolkit_hub.garbage.sweep import Ground, LeftAlone, Who
from toolkit_hub.keeping import commits as commits_module
from toolkit_hub.keeping.commits import Commits
from toolkit_hub.keeping.usage_keeper import UsageKeeper
from toolkit_hub.store.access_tables import Data
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.snapshot import Snapshot
from toolkit_hub.volumes.usage import Measured, measure

ResultT = TypeVar("ResultT")
NONE = DataLimits()


class Site:
    """The data `images` of alice, and what commits it."""

    def __init__(self, people: People, root: Path) -> None:
        self.people, self.volumes = people, Volumes(root)
        self.commits = Commits(people.store, self.volumes, NONE, floor=0)
        self.usage = UsageKeeper(people.store, self.volumes, period=30)
        self.id = self.do("alice", data.create_data, NewData(name="images"))[0].id
        self.volumes.ensure(self.id)
        self.live = self.volumes.live(self.id)

    def actor(self, who: str) -> Actor:
        with self.people.store.begin(write=False) as session:
            return self.people.actor(session, who)

    def do(self, who: str, work: Any, *args: Any, **more: Any) -> Any:
        with self.people.store.begin() as session:
            return work(session, self.people.actor(session, who), *args, **more)

    async def commit_now(self, message: str = "", key: str | None = None, who: str = "alice", **more: Any) -> Commit:
        new = NewVersion(message=message, **more)
        return await self.commits.commit(self.actor(who), self.id, new, key)

    def commit(self, message: str = "", key: str | None = None, who: str = "alice", **more: Any) -> Commit:
        return asyncio.run(self.commit_now(message, key, who, **more))

    def versions(self) -> list[str]:
        return sorted(os.listdir(self.volumes.versions(self.id)))

    def numbers(self) -> list[int]:
        found, _ = self.do("alice", data_versions.list_versions, self.id)
        return [one.version for one in found]

    def room(self, limits: DataLimits = NONE) -> data_usage.Room:
        with self.people.store.begin(write=False) as session:
            account = session.get_one(Data, self.id).account_id
            return data_usage.room_of(session, account, limits)


@pytest.fixture
def site(people: People, tmp_path: Path) -> Site:
    return Site(people, tmp_path / "data")


# --- versions -------------------------------------------------------------------------------------------------------------


def test_commits_get_numbers_authors_and_messages(site: Site) -> None:
    (site.live / "a").write_text("one")
    first = site.commit("the first")
    assert (first.state, first.version and first.version.version) == ("made", 1)
    (site.live / "b").write_text("more")
    assert site.commit().version is not None
    found, cursor = site.do("alice", data_versions.list_versions, "images", limit=1)
    assert ([one.version for one in found], cursor) == ([2], "2")
    found, cursor = site.do("alice", data_versions.list_versions, "images", limit=1, below=2)
    assert cursor is None
    one = found[0]
    assert one == first.version
    assert (one.data, one.author, one.message) == ("acme.alice.images", "acme.alice", "the first")
    assert (one.files, one.bytes) == (1, 3)
    assert (site.volumes.version(site.id, one.id) / "a").read_text() == "one"
    assert site.do("alice", data_versions.get_version, "images", "latest").version == 2


def test_nothing_to_commit_makes_no_version(site: Site) -> None:
    assert site.commit() == Commit(state="unchanged")
    assert site.versions() == []
    assert site.commit(allow_empty=True).state == "made"
    again = site.commit()
    assert (again.state, again.version and again.version.version) == ("unchanged", 1)
    assert site.commit(allow_empty=True).state == "made"
    assert site.numbers() == [2, 1]


def test_which_version_a_label_means(site: Site) -> None:
    def find(label: str) -> Any:
        with site.people.store.begin(write=False) as session:
            found = data_versions.find_version(session, session.get_one(Data, site.id), label)
            return found if found == "empty" else found.number

    assert find("empty") == "empty"
    with pytest.raises(NotFound) as none_yet:
        find("latest")
    assert "data commit acme.alice.images" in none_yet.value.hint
    for _ in range(2):
        site.commit(allow_empty=True)
    assert [find(label) for label in ("1", "2", "latest")] == [1, 2, 2]
    for label in ("3", "0"):
        with pytest.raises(NotFound, match=f"no version {label}") as missing:
            find(label)
        assert "versions 1 to 2" in missing.value.hint
    for label in ("", "-1", "1.0", "newest", "٣"):
        with pytest.raises(InvalidRequest):
            find(label)


def test_who_may_commit_and_who_may_look(site: Site) -> None:
    with pytest.raises(NotFound):
        site.commit(who="bob")
    role = site.do("alice", roles.create_role, NewRole(name="acme.alice.readers"))[0].id
    urn = site.do("alice", data.get_data, "images").urn
    site.do("alice", policies.add_policy, "role", role, NewPolicy(policy=f"data:get@{urn}"))
    site.do("alice", members.add_member, "role", role, NewMember(user="bob"))
    site.commit(allow_empty=True)
    assert site.do("bob", data_versions.list_versions, site.id)[0][0].version == 1
    with pytest.raises(PermissionDenied):
        site.commit(who="bob", allow_empty=True)
    assert len(site.versions()) == 2


def test_the_same_key_makes_one_version(site: Site) -> None:
    (site.live / "a").write_text("one")
    first = site.commit("m", "key")
    (site.live / "a").write_text("two")
    again = site.commit("m", "key")
    assert again.version == first.version
    with pytest.raises(Conflict):
        site.commit("another", "key")
    assert site.numbers() == [1]


def test_a_long_commit_is_asked_for_again_and_joined(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.live / "a").write_text("one")
    hold = threading.Event()
    build = Snapshot.build
    monkeypatch.setattr(Snapshot, "build", lambda self: (hold.wait(), build(self))[1])
    monkeypatch.setattr(commits_module, "PATIENCE_S", 0.05)

    async def run() -> None:
        assert (await site.commit_now(key="key")).state == "running"
        with pytest.raises(Conflict):
            await site.commit_now("another", key="key")
        joined = [asyncio.create_task(site.commit_now(key="key")) for _ in range(2)]
        hold.set()
        states = [(await one).state for one in joined]
        while states[-1] == "running":
            states.append((await site.commit_now(key="key")).state)
        assert states[-1] == "made"
        assert (await site.commit_now(key="key")).state == "made"

    asyncio.run(run())
    assert site.numbers() == [1]


def test_commits_at_once_are_made_one_after_the_other(site: Site) -> None:
    async def run() -> list[Commit]:
        (site.live / "a").write_text("one")
        return await asyncio.gather(*(site.commit_now(str(number), allow_empty=True) for number in range(5)))

    made = asyncio.run(run())
    assert sorted(one.version.version for one in made if one.version) == [1, 2, 3, 4, 5]
    assert sum(one.linked for one in made) == 4
    assert len(site.versions()) == 10


def test_the_service_ends_in_the_middle(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (site.live / str(number)).write_text("x")
    build = Snapshot.build
    began = threading.Event()

    def slow(self: Snapshot) -> Any:
        began.set()
        self._ledger._progress.stop.wait()
        return build(self)

    monkeypatch.setattr(Snapshot, "build", slow)

    async def run() -> None:
        asked = asyncio.create_task(site.commit_now())
        await asyncio.to_thread(began.wait)
        await site.commits.close()
        with pytest.raises(ServiceUnavailable):
            await asked

    asyncio.run(run())
    assert site.versions() == []
    assert site.numbers() == []


def test_the_right_is_asked_for_again_at_the_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.live / "a").write_text("x")
    build = Snapshot.build

    def archived_meanwhile(self: Snapshot) -> Any:
        made = build(self)
        site.do("alice", data.archive_data, site.id)
        return made

    monkeypatch.setattr(Snapshot, "build", archived_meanwhile)
    with pytest.raises(NotFound):
        site.commit()
    assert site.versions() == []


# --- clean-up -------------------------------------------------------------------------------------------------------------


def ground(site: Site) -> Ground:
    nowhere = Path("/nonexistent")
    return Ground(site.people.store, None, "", nowhere, nowhere, nowhere, site.volumes, None)  # type: ignore[arg-type]


async def sweep(site: Site) -> list[str]:
    removed = []
    for look in (garbage.unfinished_versions, garbage.nameless_versions, garbage.staged):
        for due in await look(ground(site), 100):
            await due.remove(Who())
            removed.append(due.name.partition("/")[2])
    return removed


def test_what_broken_commits_and_pushes_leave_is_removed_in_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made = site.commit(allow_empty=True).version
    assert made is not None
    (site.live / "a").write_text("x")
    broken, whole, held = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2, 3))
    snapshot = Snapshot(site.volumes, site.id, broken, None)
    snapshot._folder.mkdir()
    (snapshot._folder / "half").write_text("x")
    snapshot._file.close()  # as the end of its process does
    with Snapshot(site.volumes, site.id, whole, None) as finished:
        finished.build()
    (site.volumes.staging(site.id) / "upload").write_text("half")
    with Snapshot(site.volumes, site.id, held, None):
        assert asyncio.run(sweep(site)) == []
        monkeypatch.setattr(garbage, "BEGIN_GRACE_S", -1)
        with pytest.raises(LeftAlone, match="being committed"):
            asyncio.run(sweep(site))
    assert not (site.volumes.versions(site.id) / f".{broken}").exists()
    monkeypatch.setattr(garbage, "NAMELESS_GRACE_S", -1)
    monkeypatch.setattr(garbage, "STAGED_GRACE_S", -1)
    assert asyncio.run(sweep(site)) == [whole, "upload"]
    assert site.versions() == sorted([made.id, f"{made.id}.list"])
    assert os.listdir(site.volumes.staging(site.id)) == []


def test_what_a_killed_push_was_writing_is_removed_unless_one_is_on_its_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = site.volumes.staging(site.id) / f"{MOMENT}1"
    written.touch()
    assert asyncio.run(sweep(site)) == []
    monkeypatch.setattr(garbage, "MOMENT_GRACE_S", -1)
    staging = os.open(written.parent, os.O_RDONLY)
    fcntl.flock(staging, fcntl.LOCK_SH)
    with pytest.raises(LeftAlone, match="on its way"):
        asyncio.run(sweep(site))
    assert written.exists()
    os.close(staging)
    assert asyncio.run(sweep(site)) == [written.name]
    assert not written.exists()


# --- use and quotas -------------------------------------------------------------------------------------------------------


def test_what_is_measured(site: Site) -> None:
    assert measure(site.volumes.folder(site.id)) == Measured()
    assert measure(site.volumes.root / "nothing") == Measured()
    (site.live / "folder").mkdir()
    (site.live / "folder" / "file").write_bytes(b"x" * 5000)
    os.link(site.live / "folder" / "file", site.live / "again")
    os.truncate(os.open(site.live / "sparse", os.O_CREAT | os.O_WRONLY), 2**30)
    (site.live / "link").symlink_to("/etc")
    found = measure(site.volumes.folder(site.id))
    assert (found.bytes, found.files, found.inodes) == (2 * 5000 + 2**30, 3, 4)
    assert found.disk < 2**20
    site.commit()
    after = measure(site.volumes.folder(site.id))
    assert (after.bytes, after.files) == (found.bytes, found.files)
    # A version's folder, the one in it, its files (of which the linked ones are two now), its link and its list.
    assert after.inodes == found.inodes + 7
    (site.live / "folder" / "file").touch()
    (site.live / "new").write_text("x")
    site.commit()
    assert measure(site.volumes.folder(site.id)).inodes == after.inodes + 8, "only `sparse` is the same file"


def test_use_is_measured_apart_and_what_comes_meanwhile_is_kept(site: Site) -> None:
    (site.live / "file").write_bytes(b"x" * 5000)
    store = site.people.store
    with store.begin() as session:
        data_usage.add_usage(session, site.id, 8192, 1)
        before = data_usage.added_since(session, site.id)
        data_usage.add_usage(session, site.id, 4096, 1)  # while the walk is under way
        data_usage.store_usage(session, site.id, Measured(5000, 8192, 1, 1), before)
    room = site.room()
    assert (room.bytes_used, room.files_used, room.bytes_left) == (8192 + 4096, 2, None)
    asyncio.run(site.usage.measure(site.id))
    size = site.do("alice", data_usage.size_of, "images")[1]
    assert (size.bytes, size.files, size.inodes) == (5000, 1, 1)
    assert size.as_of is not None


def test_which_volumes_are_due(site: Site) -> None:
    def due(period: timedelta = timedelta(minutes=30)) -> list[str]:
        with site.people.store.begin(write=False) as session:
            return data_usage.due_volumes(session, period, 10)

    other = site.do("alice", data.create_data, NewData(name="other"))[0].id
    assert due() == [site.id, other]
    asyncio.run(site.usage.round())
    assert due() == []
    assert due(timedelta(seconds=-1)) == []
    with site.people.store.begin() as session:
        data_usage.add_usage(session, other, 0, -1)
    assert due(timedelta(seconds=-1)) == [other]
    assert due() == []


def test_sums_and_limits_of_an_account(site: Site) -> None:
    other = site.do("alice", data.create_data, NewData(name="other"))[0].id
    with site.people.store.begin() as session:
        for data_id in (site.id, other):
            data_usage.add_usage(session, data_id, 1000, 10)
    room = site.room(DataLimits(1500, None))
    assert (room.bytes_used, room.bytes_left, room.files_left, room.as_of) == (2000, 0, None, None)
    set_ = site.do("admin", data_usage.set_quota, "acme.alice", QuotaPatch(data_limit=5000), DataLimits(1500, 15))
    assert (set_.data_limit, set_.files_limit, set_.own) == (5000, 15, True)
    room = site.room(DataLimits(1, 1))
    assert (room.bytes_left, room.files_left) == (3000, 0)
    site.do("admin", data_usage.set_quota, "acme.alice", QuotaPatch(files_limit=None), NONE)
    assert site.room(DataLimits(1, 1)).files_left is None
    site.do("alice", data.archive_data, other)
    assert site.room().bytes_used == 2000, "what is archived takes its room"
    mine = site.do("alice", data_usage.get_quota, "acme.alice", NONE)
    assert (mine.data_used, mine.data_limit) == (2000, 5000)
    assert [one.name for one in site.do("alice", data_usage.list_quotas, NONE)] == ["acme.alice"]
    with pytest.raises(NotFound):
        site.do("bob", data_usage.get_quota, "acme.alice", NONE)
    with pytest.raises(PermissionDenied):
        site.do("alice", data_usage.set_quota, "acme.alice", QuotaPatch(data_limit=None), NONE)
    with pytest.raises(NotFound):
        site.do("bob", data_usage.set_quota, "acme.alice", QuotaPatch(data_limit=None), NONE)


def test_a_commit_beyond_the_quota_is_refused_and_leaves_nothing(site: Site) -> None:
    (site.live / "file").write_bytes(os.urandom(100_000))
    site.do("admin", data_usage.set_quota, "acme.alice", QuotaPatch(data_limit=50_000), NONE)
    with pytest.raises(InsufficientStorage, match="quota"):
        site.commit()
    assert site.versions() == []
    site.do("admin", data_usage.set_quota, "acme.alice", QuotaPatch(data_limit=150_000), NONE)
    assert site.commit().state == "made"
    room = replace(site.room(), as_of=None)
    assert 100_000 <= room.bytes_used < 150_000
