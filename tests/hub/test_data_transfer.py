"""Push and pull through a real gate: what arrives, who may, and that it goes on after whatever happens."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.data_house import CuttingLine, DataHouse
from tests.hub.data_house import house as house  # the fixture
from tests.hub.gate_house import eventually
from tests.unit.transfer.test_beneath import nest
from tests.unit.transfer.test_round_trip import picture
from toolkit_client.errors import InsufficientStorage, NotFound, NotSignedIn, PermissionDenied
from toolkit_client.transfer import streams
from toolkit_client.transfer.compare import Options
from toolkit_client.transfer.link import Interrupted
from toolkit_client.transfer.outcome import Outcome
from toolkit_client.transfer.pull import STAGING, pull
from toolkit_client.transfer.push import push
from toolkit_client.transfer.staging import hold
from toolkit_hub.domain import data_usage
from toolkit_hub.store.access_tables import AuditEntry
from toolkit_hub.store.data_tables import DataQuota
from toolkit_hub.store.tables import User
from toolkit_spawner.hardening import CONTAINER_UID

MIB = 1 << 20
QUICK = (0.01,) * 8


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    return folder


def fill(folder: Path, files: int = 40, seed: int = 1) -> None:
    """Small files in folders, two large ones, and what else a tree may have."""
    chance = random.Random(seed)
    for number in range(files):
        path = folder / f"d{number % 5}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 10, 5000, 70_000])))
    (folder / "big").write_bytes(chance.randbytes(7 * MIB + 5))
    (folder / "d1" / "bigger").write_bytes(chance.randbytes(12 * MIB))
    (folder / "empty").mkdir()
    (folder / "new\nline ünï").write_text("x")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_text("no text")
    (folder / "link").symlink_to("d1/f1")
    (folder / "d2").chmod(0o750)
    (folder / "d1" / "f1").chmod(0o751)
    os.utime(folder / "d1" / "f1", ns=(1, 123_456_789_012_345_678))


def test_there_and_back(house: DataHouse, local: Path, tmp_path: Path) -> None:
    fill(local)
    outcome = push(house.link(), "images", local)
    assert (outcome.problems, outcome.changed, outcome.interruptions) == ([], [], 0)
    assert picture(house.live) == picture(local)
    # Everything belongs to the jobs, nothing lies about, and nothing is left to do.
    assert {os.lstat(path).st_uid for path in house.live.rglob("*")} == {CONTAINER_UID}
    assert os.listdir(house.staging) == []
    again = push(house.link(), "acme.alice.images", local)
    assert (again.files, again.unchanged) == (0, outcome.files)
    there = tmp_path / "there"
    assert pull(house.link(), house.data_id, b"", there).problems == []
    assert picture(there) == picture(local)
    assert not (there / STAGING).exists()
    assert pull(house.link(), "images", b"", there).files == 0


def test_pulls_into_the_same_folder_leave_each_other_what_they_need(
    house: DataHouse, local: Path, tmp_path: Path
) -> None:
    """Whoever ends first leaves the folder of half-fetched files to the other one."""
    (local / "file").write_bytes(os.urandom(3 * MIB))
    push(house.link(), "images", local)
    there = tmp_path / "there"
    (there / STAGING).mkdir(parents=True)
    staging = os.open(there / STAGING, os.O_RDONLY)
    hold(staging)  # as a second pull does
    (there / STAGING / "p-of-the-other").touch()
    assert pull(house.link(), "images", b"", there).problems == []
    assert sorted(os.listdir(there)) == [STAGING, "file"]
    assert os.listdir(there / STAGING) == ["p-of-the-other"]
    os.close(staging)
    assert pull(house.link(), "images", b"", there).problems == []
    assert os.listdir(there) == ["file"]


def test_what_differs_is_sent_and_no_more(house: DataHouse, local: Path) -> None:
    fill(local)
    push(house.link(), "images", local)
    (local / "d1" / "f1").write_text("changed")
    (local / "d3" / "new").write_text("new")
    os.unlink(local / "d0" / "f0")
    outcome = push(house.link(), "images", local)
    assert (outcome.files, outcome.removed) == (2, 0)
    assert (house.live / "d0" / "f0").exists()
    assert push(house.link(), "images", local, options=Options(delete=True, dry_run=True)).removed == 0
    assert push(house.link(), "images", local, options=Options(delete=True)).removed == 1
    assert picture(house.live) == picture(local)
    # A content of the same length and time is found by its hash alone.
    times = (local / "d3" / "new").stat()
    (local / "d3" / "new").write_text("wen")
    os.utime(local / "d3" / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert push(house.link(), "images", local).files == 0
    assert push(house.link(), "images", local, options=Options(checksum=True)).files == 1
    assert (house.live / "d3" / "new").read_text() == "wen"


def test_single_files_and_folders(house: DataHouse, local: Path, tmp_path: Path) -> None:
    fill(local)
    link = house.link()
    push(link, "images", local / "big", b"deep/in/it.bin")
    push(link, "images", local / "d1", b"copy")
    assert (house.live / "deep" / "in" / "it.bin").read_bytes() == (local / "big").read_bytes()
    assert picture(house.live / "copy") == picture(local / "d1")
    pull(link, "images", b"deep/in/it.bin", tmp_path / "out", name=b"renamed")
    assert (tmp_path / "out" / "renamed").read_bytes() == (local / "big").read_bytes()
    assert os.listdir(tmp_path / "out") == ["renamed"]
    pull(link, "images", b"copy", tmp_path / "d1")
    assert picture(tmp_path / "d1") == picture(local / "d1")
    with pytest.raises(NotFound):
        pull(link, "images", b"none", tmp_path / "none")


@pytest.mark.parametrize("large", [streams.LARGE, MIB], ids=["one stream", "several streams"])
def test_large_files_go_beside_the_rest(
    house: DataHouse, local: Path, tmp_path: Path, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LARGE", large)
    fill(local)
    chance = random.Random(5)
    for name in ("a/b/c/one", "a/b/two", "d1/three", "d2/four", "z/five"):
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(chance.randbytes(5 * MIB + len(name)))
    for number, folder in enumerate(sorted(path for path in local.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(number, 10**17 + number))
    before = house.made_connections
    outcome = push(house.link(), "images", local)
    assert (outcome.problems, outcome.files) == ([], len([path for path in local.rglob("*") if not path.is_dir()]))
    assert picture(house.live) == picture(local)
    pulled = pull(house.link(), "images", b"", tmp_path / "there")
    assert (pulled.problems, pulled.files) == ([], outcome.files)
    assert picture(tmp_path / "there") == picture(local)
    assert (house.made_connections - before > 8) == (large == MIB)


@pytest.mark.parametrize("large", [streams.LARGE, MIB], ids=["one stream", "several streams"])
@pytest.mark.parametrize("direction", ["push", "pull"])
def test_fifty_cuts_at_random_change_nothing(
    house: DataHouse, local: Path, tmp_path: Path, direction: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command goes on until it is through, and what it made is the source, to the byte."""
    monkeypatch.setattr(streams, "LARGE", large)
    fill(local, files=60)
    chance = random.Random(direction)
    cuts = [int(10 ** chance.uniform(1, 6.2)) for _ in range(500)]
    line = CuttingLine(house.site.jobs_port, cuts, most=50)
    link = house.link(url=line.url)
    try:
        if direction == "push":
            outcome = push(link, "images", local, pauses=(0.001,) * 60)
            result = house.live
        else:
            push(house.link(), "images", local)
            result = tmp_path / "there"
            outcome = pull(link, "images", b"", result, pauses=(0.001,) * 60)
    finally:
        line.close()
    assert line.made >= 50
    assert outcome.interruptions >= 15  # several streams may break at once
    assert outcome.problems == []
    assert picture(result) == picture(local)
    eventually(lambda: os.listdir(house.staging) == [])


def test_commands_that_are_killed_and_started_again_get_there(house: DataHouse, local: Path, tmp_path: Path) -> None:
    """No try has more than one connection, and none of them is through but the last: each goes on from what is there."""
    (local / "big").write_bytes(random.Random(3).randbytes(20 * MIB))
    for cut in (3 * MIB, 6 * MIB, 9 * MIB):
        line = CuttingLine(house.site.jobs_port, [cut])
        with pytest.raises(Interrupted):
            push(house.link(url=line.url), "images", local, pauses=())
        line.close()
        eventually(lambda: _gate_is_idle(house))
    (partial,) = house.staging.iterdir()
    there = partial.stat().st_size
    assert there >= 12 * MIB  # of each try, what was on its way when it was cut is lost, and no more
    assert push(house.link(), "images", local).moved <= 20 * MIB - there + MIB
    assert (house.live / "big").read_bytes() == (local / "big").read_bytes()
    assert os.listdir(house.staging) == []


@pytest.fixture
def removed_after(tmp_path: Path) -> Iterator[None]:
    """pytest removes what tests leave recursively, and Python does not go that deep."""
    yield
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


@pytest.mark.usefixtures("removed_after")
def test_deep_and_wide_and_long(house: DataHouse, local: Path, tmp_path: Path) -> None:
    nest(local, 600, b"d" * 20)
    (local / ("n" * 255)).write_text("x")
    for number in range(2000):
        (local / f"w{number}").touch()
    assert push(house.link(), "images", local).problems == []
    assert pull(house.link(), "images", b"", tmp_path / "there").problems == []
    again = push(house.link(), "images", tmp_path / "there")
    assert (again.files, again.problems) == (0, [])


def test_special_files_are_told_and_left_out(house: DataHouse, local: Path, tmp_path: Path) -> None:
    os.mkfifo(local / "fifo")
    (local / "ok").write_text("x")
    (local / "setuid").write_text("x")
    (local / "setuid").chmod(0o6755)
    outcome = push(house.link(), "images", local)
    assert [problem["path"] for problem in outcome.problems] == ["fifo"]
    assert stat.S_IMODE((house.live / "setuid").stat().st_mode) == 0o755
    # A job may make what it likes in its volume.
    os.mkfifo(house.live / "pipe")
    (house.live / "evil").symlink_to("/etc/passwd")
    (house.live / "setuid").chmod(0o4755)
    back = pull(house.link(), "images", b"", tmp_path / "there")
    assert {problem["path"] for problem in back.problems} == {"pipe", "evil"}
    assert sorted(os.listdir(tmp_path / "there")) == ["ok", "setuid"]
    assert stat.S_IMODE((tmp_path / "there" / "setuid").stat().st_mode) == 0o755
    assert pull(house.link(), "images", b"", tmp_path / "all", all_links=True).problem_count == 1
    assert os.readlink(tmp_path / "all" / "evil") == "/etc/passwd"


# --- rights ---------------------------------------------------------------------------------------------------------------


def test_who_may_read_may_not_write(house: DataHouse, local: Path, tmp_path: Path) -> None:
    fill(local, 3)
    with pytest.raises(NotFound):
        push(house.link("bob"), "acme.alice.images", local)
    house.grant("bob", "data:get")
    pull(house.link("bob"), "acme.alice.images", b"", tmp_path / "there")
    with pytest.raises(PermissionDenied, match="data:set"):
        push(house.link("bob"), "acme.alice.images", local)
    assert os.listdir(house.live) == []
    house.grant("bob", "data:set")
    assert push(house.link("bob"), "acme.alice.images", local).problems == []


def test_nobody_and_strangers_hear_nothing(house: DataHouse) -> None:
    assert house.at("listing", user=None).status_code == 401
    assert house.at("listing", user="bob").json()["error"]["message"] == "no such data"
    assert house.at("listing", ref="none").json()["error"]["message"] == "no such data"
    reader = house.hub.token("alice", "access:servers!user=alice")  # a token that does not reach the toolkit
    assert house.at("listing", user=None, headers={"Authorization": f"Bearer {reader}"}).status_code == 401
    assert (
        house.at("listing", user=None, headers={"Cookie": "toolkit-gate=x; jupyterhub-services=y"}).status_code == 401
    )


def _slow_push(house: DataHouse, local: Path, began: threading.Event, go_on: threading.Event, user: str) -> list[Any]:
    """A push in a thread that stops in its middle until it is told to go on."""
    result: list[Any] = []
    (local / "a").write_bytes(os.urandom(3 * MIB))
    (local / "b").write_bytes(os.urandom(3 * MIB))

    class Slow(Outcome):
        pass

    link = house.link(user)
    inner = link.open

    def open_slowly(method: str, ref: str, what: str, **more: Any) -> Any:
        if what == "push":
            blocks = more["body"]

            def slowly() -> Iterator[bytes]:
                for block in blocks:
                    yield block
                    if not began.is_set():
                        began.set()
                        go_on.wait(20)

            more["body"] = slowly()
        return inner(method, ref, what, **more)

    link.open = open_slowly  # type: ignore[method-assign]

    def run() -> None:
        try:
            result.append(push(link, "acme.alice.images", local, pauses=()))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    result.append(thread)
    return result


def test_a_right_that_is_taken_away_ends_a_push_that_is_under_way(house: DataHouse, local: Path) -> None:
    policy = house.grant("bob", "data:get", "data:set")
    began, go_on = threading.Event(), threading.Event()
    result = _slow_push(house, local, began, go_on, "bob")
    assert began.wait(10)
    house.revoke("bob", policy)
    eventually(lambda: len(result) > 1 or _gate_is_idle(house), 15)
    go_on.set()
    result[0].join(20)
    assert isinstance(result[1], NotFound | PermissionDenied | Interrupted)
    assert not (house.live / "b").exists()


def _gate_is_idle(house: DataHouse) -> bool:
    """Whether the gate has let go of every request."""
    return house.thread.run(_count_pushes(house)) == 0


async def _count_pushes(house: DataHouse) -> int:
    return len(house._gates[0]._busy)


def test_a_disabled_user_and_a_revoked_token_are_refused(house: DataHouse, local: Path) -> None:
    link = house.link()
    (local / "x").write_text("x")
    push(link, "images", local)
    house.hub.tokens.clear()
    eventually(lambda: _refused(lambda: link.json("POST", "images", "mkdir", body={"paths": ["y"]})), 10)
    link = house.link()
    with house.store.begin() as session:
        from toolkit_hub import clock

        session.get_one(User, house.users["alice"]).disabled = clock.now()
    with pytest.raises((PermissionDenied, NotSignedIn)):
        push(link, "images", local)


def _refused(act: Callable[[], Any]) -> bool:
    try:
        act()
    except NotSignedIn:
        return True
    time.sleep(0.2)
    return False


def test_pushes_and_refusals_are_in_the_audit_log(house: DataHouse, local: Path) -> None:
    fill(local, 3)
    push(house.link(), "images", local)
    house.grant("bob", "data:get")
    with pytest.raises(PermissionDenied):
        push(house.link("bob"), "acme.alice.images", local)

    def entries() -> list[tuple[str, str, str]]:
        with house.store.begin(write=False) as session:
            found = session.query(AuditEntry).filter(AuditEntry.urn == house.urn, AuditEntry.action == "data:set")
            return [(entry.actor, entry.outcome, entry.data.get("event", "")) for entry in found]

    eventually(lambda: len(entries()) >= 2)
    assert ("acme.alice", "done", "data.pushed") in entries()
    assert ("acme.bob", "refused", "") in entries()


# --- room -----------------------------------------------------------------------------------------------------------------


def test_a_quota_that_is_reached_in_the_middle(house: DataHouse, local: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (local / name).write_bytes(os.urandom(2 * MIB))
    with house.store.begin() as session:
        account = session.get_one(User, house.users["alice"]).home_account_id
        session.add(DataQuota(account_id=account, bytes=5 * MIB, files=None))
    with pytest.raises(InsufficientStorage, match="quota") as told:
        push(house.link(), "images", local)
    assert "what has arrived is kept" in told.value.hint
    kept = sorted(os.listdir(house.live))
    assert kept == ["a", "b"]
    assert all((house.live / name).read_bytes() == (local / name).read_bytes() for name in kept)
    # It is counted, so the next push does not get as much again.
    eventually(lambda: _used(house) >= 4 * MIB)
    with pytest.raises(InsufficientStorage):
        push(house.link(), "images", local)
    assert sorted(os.listdir(house.live)) == ["a", "b"]
    with house.store.begin() as session:
        session.get_one(DataQuota, account).bytes = None
    assert push(house.link(), "images", local).problems == []


def _used(house: DataHouse) -> int:
    with house.store.begin(write=False) as session:
        account = session.get_one(User, house.users["alice"]).home_account_id
        return data_usage.room_of(session, account, data_usage.DataLimits()).bytes_used


def test_half_sent_files_are_counted(house: DataHouse, local: Path) -> None:
    """Else whoever breaks off all of his pushes would fill the disk."""
    with house.store.begin() as session:
        account = session.get_one(User, house.users["alice"]).home_account_id
        session.add(DataQuota(account_id=account, bytes=20 * MIB, files=None))
    for _ in range(8):
        (local / "big").write_bytes(os.urandom(12 * MIB))
        line = CuttingLine(house.site.jobs_port, [6 * MIB])
        with pytest.raises((Interrupted, InsufficientStorage)):
            push(house.link(url=line.url), "images", local, pauses=())
        line.close()
        eventually(lambda: _gate_is_idle(house))
    with pytest.raises(InsufficientStorage):
        push(house.link(), "images", local)
    assert 8 * MIB < sum(path.stat().st_size for path in house.staging.iterdir()) <= 20 * MIB


def test_a_quota_of_files(house: DataHouse, local: Path) -> None:
    for number in range(20):
        (local / f"f{number:02}").touch()
    with house.store.begin() as session:
        account = session.get_one(User, house.users["alice"]).home_account_id
        session.add(DataQuota(account_id=account, bytes=None, files=10))
    with pytest.raises(InsufficientStorage, match="10 files and folders"):
        push(house.link(), "images", local)
    assert len(os.listdir(house.live)) <= 10


# --- several at once ------------------------------------------------------------------------------------------------------


def test_two_pushes_to_one_path_end_in_one_of_both(house: DataHouse, tmp_path: Path) -> None:
    sources = []
    for number in range(2):
        folder = tmp_path / f"source{number}"
        folder.mkdir()
        (folder / "same").write_bytes(random.Random(number).randbytes(6 * MIB + number))
        (folder / "small").write_bytes(b"%d" % number * 100)
        os.utime(folder / "same", ns=(5, 5))
        sources.append(folder)
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda path=path: outcomes.append(push(house.link(), "images", path)))
        for path in sources
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 2
    assert all(outcome.problems == [] for outcome in outcomes)
    for name in ("same", "small"):
        assert (house.live / name).read_bytes() in [(source / name).read_bytes() for source in sources]


def test_the_same_file_from_two_sides(house: DataHouse, tmp_path: Path) -> None:
    """Both would go on with the same half-sent file: one of them takes another."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "same").write_bytes(random.Random(7).randbytes(9 * MIB))
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(push(house.link(), "images", source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [outcome.problems for outcome in outcomes] == [[]] * 4
    assert (house.live / "same").read_bytes() == (source / "same").read_bytes()
    eventually(lambda: os.listdir(house.staging) == [])


def test_a_file_that_grows_while_it_is_pulled(house: DataHouse, tmp_path: Path) -> None:
    log = house.live / "log"
    log.write_bytes(b"x" * 4 * MIB)
    ended = threading.Event()

    def grow() -> None:
        with log.open("ab", buffering=0) as file:
            while not ended.is_set():
                file.write(b"x" * 1000)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        outcome = pull(house.link(), "images", b"", tmp_path / "there", pauses=QUICK)
    finally:
        ended.set()
        thread.join()
    assert outcome.problems == []
    assert outcome.changed in ([], ["log"])
    assert set((tmp_path / "there" / "log").read_bytes()) == {ord("x")}
