"""Trees go through the stream and arrive as they were, cut at any byte and gone on with as often as it takes."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit_client.errors import InsufficientStorage
from toolkit_client.transfer import receiver as receiver_module
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.compare import Comparison, Options, leave_out
from toolkit_client.transfer.receiver import PARTIAL, Receiver
from toolkit_client.transfer.records import CHUNK_SIZE, SMALL_SIZE, file_key
from toolkit_client.transfer.sender import Sender, Wanted
from toolkit_client.transfer.walk import FILE, Entry, walk

MIB = 1 << 20
PLAIN = Options()
NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"a.b", b"new\nline", b"\xff\xfe", "ü𝄞".encode(), b"-rf", b" ", b"n" * 255]),
    st.binary(min_size=1, max_size=5).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")),
)
FILES = st.builds(
    lambda size, fill: ("file", (bytes([fill]) * size)[:size]),
    st.sampled_from([0, 1, 4096, SMALL_SIZE, SMALL_SIZE + 1, MIB, MIB + 1, 3 * MIB]),
    st.sampled_from([0, 7]),
)
LINKS = st.sampled_from([("link", b"a"), ("link", b"nowhere/else"), ("link", b"../out")])
FOLDERS: st.SearchStrategy[tuple[str, object]] = st.deferred(
    lambda: st.dictionaries(NAMES, st.one_of(FILES, LINKS, FOLDERS), max_size=3).map(lambda inside: ("folder", inside))
)
TREES = st.one_of(FILES, LINKS, FOLDERS)
#: A stream that breaks after so many bytes; a disk that is full after so many files.
FAULTS = st.one_of(
    st.tuples(st.just("cut"), st.integers(1, 4 * MIB)),
    st.tuples(st.just("full"), st.integers(0, 6)),
)
ROOTS = st.dictionaries(NAMES, TREES, max_size=4)
MODES = [0o644, 0o600, 0o755, 0o400, 0o664]


def build(folder: bytes, tree: dict[bytes, tuple[str, object]], chance: random.Random) -> None:
    """Make the tree, with modes and times of all kinds."""
    for name, (kind, content) in tree.items():
        path = folder + b"/" + name
        if kind == "link":
            os.symlink(content, path)
            continue
        if kind == "folder":
            os.mkdir(path)
            build(path, content, chance)
            os.chmod(path, chance.choice([0o755, 0o700, 0o775]))
        else:
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, chance.choice(MODES))
        when = chance.randrange(10**18)
        os.utime(path, ns=(when, when))


def picture(folder: Path | bytes) -> dict[bytes, tuple[object, ...]]:
    """All that a tree is: kinds, contents, modes, times."""
    root = os.fsencode(folder)
    found: dict[bytes, tuple[object, ...]] = {}
    with Beneath(root) as beneath:
        for entry in walk(beneath):
            read = Path(os.fsdecode(root + b"/" + entry.path)).read_bytes() if entry.kind == FILE else b""
            time = 0 if entry.kind == "link" else entry.mtime_ns
            found[entry.path] = (entry.kind, entry.mode if entry.kind != "link" else 0, time, entry.target, read)
    return found


def full_after(files: int) -> Callable[[int], None]:
    """What the receiver calls before it writes: there is room for so many files."""
    left = iter(range(files))

    def before_write(size: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return before_write


class Ends:
    """Two folders, and what becomes of one stream between them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target, self.staging = (folder / name for name in ("source", "target", "staging"))
        for place in (self.source, self.target, self.staging):
            place.mkdir()

    def wanted(self, options: Options, sender: Beneath, receiver: Beneath) -> Iterator[Wanted]:
        out = leave_out(options.exclude)
        comparison = Comparison(options)
        for item in comparison.wanted(walk(sender, leave_out=out), walk(receiver, leave_out=out)):
            yield item._replace(offset=self._kept(item.entry)) if item.entry.kind == FILE and not item.remove else item

    def _kept(self, entry: Entry) -> int:
        try:
            return os.stat(self.staging / f"{PARTIAL}{file_key(b'', entry)}").st_size // CHUNK_SIZE * CHUNK_SIZE
        except FileNotFoundError:
            return 0

    def sync(self, options: Options = PLAIN, cut: int | None = None, **more: object) -> Receiver:
        """One try; `cut`: the stream breaks after so many bytes."""
        staging = os.open(self.staging, os.O_RDONLY)
        with Beneath(self.source) as source, Beneath(self.target) as target, Beneath(self.target) as seen:
            receiver = Receiver(target, staging, replace=options.delete, **more)
            left = cut
            try:
                for block in Sender(source).blocks(self.wanted(options, source, seen)):
                    piece = block if left is None else block[:left]
                    receiver.feed(piece)
                    if left is not None:
                        left -= len(piece)
                        if not left:
                            break
            finally:
                receiver.close()
                os.close(staging)
        return receiver


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(before=ROOTS, after=ROOTS, seed=st.integers(0, 2**32), faults=st.lists(FAULTS, max_size=4))
def test_a_target_becomes_as_its_source(
    tmp_path: Path, before: dict[bytes, object], after: dict[bytes, object], seed: int, faults: list[tuple[str, int]]
) -> None:
    folder = tmp_path / f"t{seed}-{random.random()}"
    folder.mkdir()
    ends, chance = Ends(folder), random.Random(seed)
    build(os.fsencode(ends.source), after, chance)
    build(os.fsencode(ends.target), before, chance)
    options = Options(delete=True)
    for kind, when in faults:
        if kind == "cut":
            ends.sync(options, when)
        else:
            with contextlib.suppress(InsufficientStorage):
                ends.sync(options, before_write=full_after(when))
        # Whatever is there by now is whole: of the old tree, or of the new one.
        whole = {entry[4] for entry in picture(ends.source).values()} | {
            content for kind, content in _all(before) if kind == "file"
        }
        assert {entry[4] for entry in picture(ends.target).values() if entry[0] == FILE} <= whole
    receiver = ends.sync(options)
    assert (receiver.ended, receiver.sums.problems) == (True, [])
    assert picture(ends.target) == picture(ends.source)
    # Nothing is left to do, and nothing lies about.
    assert ends.sync(options).sums.files == 0
    assert not [name for name in os.listdir(ends.staging) if not name.startswith(PARTIAL)]
    shutil.rmtree(folder)


def _all(tree: dict[bytes, object]) -> Iterator[tuple[str, object]]:
    for kind, content in tree.values():  # type: ignore[misc]
        yield kind, content
        if kind == "folder":
            yield from _all(content)


@pytest.fixture
def ends(tmp_path: Path) -> Ends:
    return Ends(tmp_path)


def test_a_large_file_goes_on_where_it_was_cut(ends: Ends) -> None:
    content = random.Random(1).randbytes(5 * MIB + 17)
    (ends.source / "big").write_bytes(content)
    ends.sync(cut=3 * MIB + 1000)
    assert not (ends.target / "big").exists()
    (partial,) = ends.staging.iterdir()
    assert partial.stat().st_size == 3 * MIB
    sent = Sender(Beneath(ends.source))
    with Beneath(ends.source) as source, Beneath(ends.target) as target:
        list(sent.blocks(ends.wanted(Options(), source, target)))
    assert sent.bytes == 2 * MIB + 17
    ends.sync()
    assert (ends.target / "big").read_bytes() == content
    assert list(ends.staging.iterdir()) == []


@pytest.mark.parametrize("first", ["whole", "given up"])
def test_a_file_that_somebody_else_was_sending_leaves_nothing(ends: Ends, first: str) -> None:
    """As a client whose connection has gone, and who sends again while the other end still waits for the rest."""
    content = random.Random(1).randbytes(3 * MIB)
    (ends.source / "big").write_bytes(content)
    with Beneath(ends.source) as source:
        stream = b"".join(Sender(source).blocks([Wanted(entry) for entry in walk(source)]))
    staging = os.open(ends.staging, os.O_RDONLY)
    with Beneath(ends.target) as one, Beneath(ends.target) as two:
        cut, whole = Receiver(one, staging), Receiver(two, staging)
        cut.feed(stream[: 2 * MIB])
        whole.feed(stream[: 2 * MIB])
        assert len(list(ends.staging.iterdir())) == 2
        if first == "given up":
            cut.close()
        whole.feed(stream[2 * MIB :])
        cut.close()
        whole.close()
    os.close(staging)
    assert (ends.target / "big").read_bytes() == content
    assert list(ends.staging.iterdir()) == []


def test_a_half_sent_file_that_was_spoilt_does_not_arrive(ends: Ends) -> None:
    (ends.source / "big").write_bytes(random.Random(1).randbytes(3 * MIB))
    ends.sync(cut=2 * MIB + 1000)
    (partial,) = ends.staging.iterdir()
    partial.write_bytes(bytes(2 * MIB))
    receiver = ends.sync()
    assert [(problem["path"], problem["code"]) for problem in receiver.sums.problems] == [("big", "digest")]
    assert list(ends.target.iterdir()) == []
    ends.sync()  # from the start
    assert (ends.target / "big").read_bytes() == (ends.source / "big").read_bytes()


@pytest.mark.parametrize("size", [10, SMALL_SIZE + 10, 2 * MIB + 5])
def test_a_byte_that_changes_on_the_way_is_noticed(ends: Ends, size: int) -> None:
    (ends.source / "f").write_bytes(random.Random(2).randbytes(size))
    (ends.target / "f").write_bytes(b"as it was")
    staging = os.open(ends.staging, os.O_RDONLY)
    with Beneath(ends.source) as source, Beneath(ends.target) as target:
        receiver = Receiver(target, staging)
        stream = bytearray(b"".join(Sender(source).blocks(Wanted(entry) for entry in walk(source))))
        stream[len(stream) - 60 - size % 5 if size > 10 else -40] ^= 1
        receiver.feed(bytes(stream))
        receiver.close()
    os.close(staging)
    assert receiver.sums.problem_count == 1
    assert receiver.sums.files == 0
    assert (ends.target / "f").read_bytes() == b"as it was"
    assert list(ends.staging.iterdir()) == []


def test_holes_stay_holes(ends: Ends) -> None:
    size = 1 << 40
    with open(ends.source / "sparse", "wb") as file:
        file.truncate(size)
        for at in (0, 5 * MIB + 4096, 700 * MIB, size - 3):
            file.seek(at)
            file.write(b"abc")
    ends.sync()
    found = (ends.target / "sparse").stat()
    assert found.st_size == size
    assert found.st_blocks * 512 < 64 * 1024
    with open(ends.target / "sparse", "rb") as file:
        for at in (0, 5 * MIB + 4096, 700 * MIB, size - 3):
            file.seek(at)
            assert file.read(3) == b"abc"


def test_special_files_stay_where_they_are(ends: Ends) -> None:
    os.mkfifo(ends.source / "fifo")
    os.mknod(ends.source / "socket", stat.S_IFSOCK | 0o600)
    if os.geteuid() == 0:
        os.mknod(ends.source / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (ends.source / "setuid").write_text("x")
    (ends.source / "setuid").chmod(0o4755)
    os.link(ends.source / "setuid", ends.source / "twin")
    ends.sync()
    assert sorted(path.name for path in ends.target.iterdir()) == ["setuid", "twin"]
    assert stat.S_IMODE((ends.target / "setuid").stat().st_mode) == 0o755
    assert (ends.target / "twin").stat().st_nlink == 1


def test_a_file_that_is_replaced_keeps_its_other_names(ends: Ends) -> None:
    (ends.target / "f").write_text("old")
    os.link(ends.target / "f", ends.target / "other")
    (ends.source / "f").write_text("new")
    ends.sync()
    assert (ends.target / "other").read_text() == "old"


def test_a_link_in_the_place_of_a_folder_is_replaced_and_not_followed(ends: Ends, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (ends.target / "d").symlink_to(outside)
    (ends.target / "f").symlink_to(outside / "victim")
    (ends.source / "d").mkdir()
    (ends.source / "d" / "x").write_text("x")
    (ends.source / "f").write_text("f")
    ends.sync()
    assert list(outside.iterdir()) == []
    assert (ends.target / "d" / "x").read_text() == "x"
    assert not (ends.target / "d").is_symlink()
    assert not (ends.target / "f").is_symlink()


def test_links_out_of_the_tree_are_left_out_where_that_is_wished(ends: Ends) -> None:
    for name, target in {"a": "/etc/passwd", "b": "../x", "c": "d/../../x", "ok": "sub/../x", "up": "x"}.items():
        (ends.source / name).symlink_to(target)
    receiver = ends.sync(skip_links=True)
    assert sorted(path.name for path in ends.target.iterdir()) == ["ok", "up"]
    assert {problem["path"] for problem in receiver.sums.problems} == {"a", "b", "c"}
    assert {problem["code"] for problem in receiver.sums.problems} == {"link"}


def test_a_full_folder_goes_for_a_file_only_on_demand(ends: Ends) -> None:
    (ends.source / "x").write_text("file")
    (ends.target / "x").mkdir()
    (ends.target / "x" / "inside").touch()
    receiver = ends.sync()
    assert "a folder of that name is there" in receiver.sums.problems[0]["problem"]
    assert (ends.target / "x" / "inside").exists()
    ends.sync(Options(delete=True))
    assert (ends.target / "x").read_text() == "file"


def test_a_full_disk_ends_it_and_keeps_what_came(ends: Ends) -> None:
    for name in ("a", "b", "c"):
        (ends.source / name).write_text(name)
    with pytest.raises(InsufficientStorage, match="the disk is full"):
        ends.sync(before_write=full_after(2))
    assert sorted(path.name for path in ends.target.iterdir()) == ["a", "b"]
    assert list(ends.staging.iterdir()) == []


def test_what_is_excluded_is_neither_sent_nor_removed(ends: Ends) -> None:
    for name in ("keep.txt", "skip.log", "sub/skip.log", "sub/x", "cache/y"):
        (ends.source / name).parent.mkdir(exist_ok=True)
        (ends.source / name).write_text(name)
    (ends.target / "mine.log").write_text("mine")
    (ends.target / "old").write_text("old")
    ends.sync(Options(delete=True, exclude=("*.log", "cache/")))
    assert sorted(path.relative_to(ends.target).as_posix() for path in ends.target.rglob("*")) == [
        "keep.txt",
        "mine.log",
        "sub",
        "sub/x",
    ]


def test_only_the_mode_changed(ends: Ends) -> None:
    (ends.source / "f").write_bytes(bytes(2 * MIB))
    ends.sync()
    inode = (ends.target / "f").stat().st_ino
    (ends.source / "f").chmod(0o755)
    receiver = ends.sync()
    assert (ends.target / "f").stat().st_ino == inode
    assert stat.S_IMODE((ends.target / "f").stat().st_mode) == 0o755
    assert receiver.sums.size == 0


def test_a_file_that_grows_while_it_is_read_is_told(ends: Ends) -> None:
    path = ends.source / "log"
    path.write_bytes(bytes(SMALL_SIZE + MIB))
    with Beneath(ends.source) as source:
        blocks = Sender(source).blocks([Wanted(entry) for entry in walk(source)])
        staging = os.open(ends.staging, os.O_RDONLY)
        with Beneath(ends.target) as target:
            receiver = Receiver(target, staging)
            receiver.feed(next(blocks))
            with path.open("ab") as more:
                more.write(b"and more")
            for block in blocks:
                receiver.feed(block)
            receiver.close()
        os.close(staging)
    assert receiver.sums.changed == ["log"]
    assert (ends.target / "log").stat().st_size == SMALL_SIZE + MIB


def test_the_umask_changes_no_mode(ends: Ends) -> None:
    (ends.source / "wide").write_text("x")
    (ends.source / "wide").chmod(0o777)
    before = os.umask(0o077)
    try:
        assert receiver_module._umask() == 0o077
        ends.sync()
    finally:
        os.umask(before)
    assert stat.S_IMODE((ends.target / "wide").stat().st_mode) == 0o777
