"""A commit keeps what was there, whatever its users do to the live files: before, after, and while it is made."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.volumes.trees import DATA, Volume, contents
from toolkit_client.errors import InsufficientStorage
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.walk import walk
from toolkit_hub.volumes import building, copying
from toolkit_hub.volumes.layout import VERSION_UID
from toolkit_hub.volumes.ledger import Budget, Progress, Stopped
from toolkit_hub.volumes.manifest import BrokenManifest, read_manifest
from toolkit_hub.volumes.snapshot import Snapshot

OLD = 1_500_000_000_123_456_789


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "data")


def test_a_version_has_what_was_live_whatever_is_done_later(volume: Volume) -> None:
    in_place, cut, gone = (
        volume.write("a/in-place", "before"),
        volume.write("cut", "long text"),
        volume.write("gone", "x"),
    )
    os.link(cut, volume.live / "second-name")
    (volume.live / "link").symlink_to("a/in-place")
    (volume.live / "empty").mkdir()
    was = contents(volume.live)
    made = volume.commit()
    assert (made.files, made.bytes, made.warnings) == (4, 6 + 9 + 1 + 9, [])
    with in_place.open("r+b") as file:
        file.write(b"AFTER!")
    os.truncate(cut, 1)
    gone.unlink()
    volume.write("new")
    assert contents(volume.version()) == was
    assert contents(volume.live) != was
    inodes = {os.lstat(path).st_ino for path in volume.live.rglob("*")}
    assert not inodes & {os.lstat(path).st_ino for path in volume.version().rglob("*")}


def test_nobody_writes_in_a_version_and_its_list_knows_the_true_modes(volume: Volume) -> None:
    for name, mode in (("run", 0o750), ("plain", 0o644), ("private", 0o600), ("odd", 0o4777), ("closed", 0o000)):
        volume.write(name, name).chmod(mode)
    (volume.live / "folder").mkdir(mode=0o700)
    os.utime(volume.live / "folder", ns=(OLD, OLD))
    os.utime(volume.live / "run", ns=(OLD, OLD))
    volume.commit()
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in volume.version().iterdir()}
    assert modes == {"run": 0o550, "plain": 0o444, "private": 0o440, "odd": 0o555, "closed": 0, "folder": 0o550}
    assert {path.lstat().st_uid for path in [volume.version(), *volume.version().iterdir()]} == {VERSION_UID}
    listed = volume.listed()
    assert {name.decode(): entry.mode for name, entry in listed.items()} == {
        "run": 0o750, "plain": 0o644, "private": 0o600, "odd": 0o777, "closed": 0, "folder": 0o700,
    }  # fmt: skip
    for name in ("run", "folder"):
        assert (volume.version() / name).lstat().st_mtime_ns == OLD == listed[name.encode()].mtime_ns
    assert stat.S_IMODE(volume.version().stat().st_mode) == 0o555


def test_between_versions_what_did_not_change_is_linked(volume: Volume) -> None:
    for name in ("same", "content", "mode", "deep/same"):
        volume.write(name, name)
    assert volume.commit().linked == 0
    assert volume.nothing_new()
    volume.write("content", "changed")
    (volume.live / "mode").chmod(0o755)
    assert not volume.nothing_new()
    made = volume.commit()
    assert (made.files, made.linked) == (4, 2)
    same = {
        name: (volume.version(0) / name).stat().st_ino == (volume.version(1) / name).stat().st_ino
        for name in ("same", "content", "mode", "deep/same")
    }
    assert same == {"same": True, "content": False, "mode": False, "deep/same": True}
    assert (volume.version(0) / "content").read_text() == "content"


@pytest.mark.parametrize("change", ["new", "gone", "mode", "target", "kind"])
def test_what_makes_a_tree_another_one(volume: Volume, change: str) -> None:
    volume.write("folder/file", "x")
    (volume.live / "link").symlink_to("here")
    volume.commit()
    volume.write("folder/file", "x").touch()
    file = volume.live / "folder/file"
    if change == "new":
        (volume.live / "another").mkdir()
    elif change == "gone":
        file.unlink()
    elif change == "mode":
        (volume.live / "folder").chmod(0o700)
    else:
        (volume.live / "link").unlink()
        (volume.live / "link").symlink_to("there") if change == "target" else (volume.live / "link").mkdir()
    assert not volume.nothing_new()


def test_a_change_that_hides_behind_the_old_size_and_time_is_found(volume: Volume) -> None:
    file = volume.write("file", "before")
    os.utime(file, ns=(OLD, OLD))
    volume.commit()
    file.write_text("after!")
    os.utime(file, ns=(OLD, OLD))
    assert not volume.nothing_new()
    volume.commit()
    assert (volume.version(0) / "file").read_text() == "before"
    assert (volume.version(1) / "file").read_text() == "after!"


def test_a_new_inode_with_the_same_content_is_linked_after_a_look(volume: Volume) -> None:
    file = volume.write("file", "same")
    os.utime(file, ns=(OLD, OLD))
    volume.commit()
    file.unlink()
    os.utime(volume.write("file", "same"), ns=(OLD, OLD))
    assert volume.nothing_new()
    assert volume.commit().linked == 1


def test_a_damaged_version_is_no_source(volume: Volume) -> None:
    volume.write("file", "good")
    volume.commit()
    damaged = volume.version() / "file"
    damaged.chmod(0o644)
    damaged.write_text("BAD!")
    assert volume.commit().linked == 0
    assert (volume.version() / "file").read_text() == "good"
    volume.volumes.manifest(DATA, volume.versions[-1]).write_bytes(b"toolkit")
    assert volume.commit().linked == 0
    assert (volume.version() / "file").read_text() == "good"


def test_holes_stay_holes(volume: Volume) -> None:
    with volume.write("sparse", b"begin").open("r+b") as file:
        file.seek(3 * 2**30)
        file.write(b"middle")
        file.truncate(1 << 40)
    volume.commit()
    copy = volume.version() / "sparse"
    assert copy.stat().st_size == 1 << 40
    assert copy.stat().st_blocks * 512 < 2**20
    with copy.open("rb") as file:
        file.seek(3 * 2**30)
        assert file.read(8) == b"middle\0\0"


def test_a_copy_by_hand_is_the_same(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    content = os.urandom(3 * 2**20 + 17)
    volume.write("file", content)
    volume.commit()
    assert (volume.version() / "file").read_bytes() == content


def test_what_is_no_file_is_left_out_and_said(volume: Volume) -> None:
    volume.write("file", "x")
    os.mkfifo(volume.live / "fifo")
    os.mknod(volume.live / "socket", 0o666 | stat.S_IFSOCK)
    os.mknod(volume.live / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    made = volume.commit()
    assert sorted(volume.listed()) == [b"file"]
    assert made.warning_count == 3
    assert "'fifo' is a device, socket or FIFO" in made.warnings[0]
    assert volume.nothing_new()


def swap(volume: Volume, monkeypatch: pytest.MonkeyPatch, name: str, change: object) -> None:
    """Do something to the tree between the look at `name` and its opening."""
    opened = copying.open_regular

    def open_after(wanted: bytes, folder: int) -> int | None:
        if wanted == name.encode():
            change()  # type: ignore[operator]
        return opened(wanted, folder)

    monkeypatch.setattr(building, "open_regular", open_after)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("becomes", ["link", "fifo", "nothing", "folder"])
def test_what_is_swapped_in_the_middle_is_never_followed(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    target = volume.write("a/target", "harmless")

    def change() -> None:
        target.unlink()
        if becomes == "link":
            target.symlink_to(secret)
        elif becomes == "fifo":
            os.mkfifo(target)
        elif becomes == "folder":
            target.mkdir()

    swap(volume, monkeypatch, "target", change)
    made = volume.commit()
    assert contents(volume.version()) == {b"a": "folder"}
    assert made.warnings == ["'a/target' was removed or replaced while it was committed"]


def test_a_folder_above_that_becomes_a_link_is_not_followed(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "target").write_text("SECRET")
    volume.write("a/b/target", "harmless")

    def change() -> None:
        (volume.live / "a/b").rename(volume.live / "a/moved")
        (volume.live / "a/b").symlink_to(tmp_path / "outside")

    swap(volume, monkeypatch, "target", change)
    volume.commit()
    assert b"SECRET" not in contents(volume.version()).values()


def test_a_file_that_changes_all_the_time_is_kept_and_said(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    file = volume.write("log", "line\n")
    copied = copying.copy_content

    def copy_while_written(*arguments: object) -> None:
        copied(*arguments)  # type: ignore[arg-type]
        with file.open("ab") as more:
            more.write(b"line\n")

    monkeypatch.setattr(building, "copy_content", copy_while_written)
    monkeypatch.setattr(building, "clone", lambda *_: False)
    made = volume.commit()
    assert made.warnings == ["'log' changed while it was committed"]
    assert (volume.version() / "log").read_text() == "line\n" * building.TRIES
    monkeypatch.undo()
    assert not volume.nothing_new()


def test_a_tree_that_is_thousands_of_folders_deep(tmp_path: Path) -> None:
    memory = Path("/dev/shm")  # a disk takes a millisecond for each of these folders
    volume = Volume(Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path)))
    here = os.open(volume.live, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir(b"d", dir_fd=here)
        deeper = os.open(b"d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(os.open(b"bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    before = len(os.listdir("/proc/self/fd"))
    volume.commit()
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(volume.listed()) == 5001
    assert volume.nothing_new()
    subprocess.run(["rm", "-rf", volume.volumes.root], check=True)


def test_a_commit_that_is_stopped_or_has_no_room_leaves_nothing(volume: Volume) -> None:
    volume.write("file", os.urandom(100_000))
    volume.commit()
    volume.write("file", os.urandom(100_000))
    for budget in (Budget(bytes=50_000), Budget(inodes=0), Budget(floor=1 << 60)):
        with pytest.raises(InsufficientStorage) as caught:
            volume.commit(budget)
        assert caught.value.hint
        assert volume.left() == []
    progress = Progress()
    progress.stop.set()
    with Snapshot(volume.volumes, DATA, "x", None, progress=progress) as stopped, pytest.raises(Stopped):
        stopped.build()
    assert volume.left() == []


def test_while_it_is_made_its_list_is_locked(volume: Volume) -> None:
    with volume.snapshot("made"):
        assert volume.left() == [".made.list"]
        with (volume.volumes.versions(DATA) / ".made.list").open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert volume.left() == []


def test_two_commits_at_once_do_not_meet(volume: Volume) -> None:
    for number in range(50):
        volume.write(f"{number}", str(number))
    was = contents(volume.live)

    def commit(name: str) -> None:
        with volume.snapshot(name) as snapshot:
            snapshot.build()

    threads = [threading.Thread(target=commit, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [contents(volume.volumes.version(DATA, name)) for name in "ab"] == [was, was]


def test_a_list_that_breaks_off_says_so(volume: Volume) -> None:
    volume.write("a/file", "x")
    volume.commit()
    manifest = volume.volumes.manifest(DATA, volume.versions[-1])
    whole = manifest.read_bytes()
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        with manifest.open("rb") as file, pytest.raises(BrokenManifest):
            list(read_manifest(file))


NAME = st.binary(min_size=1, max_size=12).filter(lambda name: name not in (b".", b"..") and not set(name) & set(b"/\0"))
THING = st.one_of(st.binary(max_size=64), st.tuples(st.just("link"), NAME), st.just("fifo"))
TREE = st.recursive(
    st.dictionaries(NAME, THING, max_size=5),
    lambda inner: st.dictionaries(NAME, st.one_of(THING, inner), max_size=4),
    max_leaves=12,
)


def plant(folder: bytes, tree: dict[bytes, object]) -> None:
    for name, thing in tree.items():
        path = folder + b"/" + name
        if isinstance(thing, dict):
            os.mkdir(path)
            plant(path, thing)
        elif isinstance(thing, bytes):
            with open(path, "wb") as file:
                file.write(thing)
        elif thing == "fifo":
            os.mkfifo(path)
        else:
            os.symlink(thing[1], path)  # type: ignore[index]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=TREE, second=TREE)
def test_any_tree_is_committed_as_it_is(place: Path, first: dict[bytes, object], second: dict[bytes, object]) -> None:
    """Two trees in one volume, one after the other: each version is the tree, and its list is a walk of it."""
    volume = Volume(place / os.urandom(6).hex())
    seen = []
    for tree in (first, second):
        subprocess.run(["find", volume.live, "-mindepth", "1", "-delete"], check=True)
        plant(os.fsencode(volume.live), tree)
        seen.append(contents(volume.live))
        with Beneath(volume.live) as live:
            walked = [entry for entry in walk(live) if entry.kind != "other"]
        volume.commit()
        assert volume.nothing_new()
        listed = volume.listed()
        assert list(listed) == [entry.path for entry in walked]
        for entry in walked:
            found = listed[entry.path]
            assert (found.kind, found.mode, found.size, found.target) == (
                entry.kind,
                entry.mode,
                entry.size,
                entry.target,
            )
            assert found.mtime_ns == entry.mtime_ns
    assert [contents(volume.version(number)) for number in (0, 1)] == seen
