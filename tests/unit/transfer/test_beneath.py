"""What is reached below a folder stays below it, whatever is put there and when."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest

from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_client.transfer.beneath import KEPT_OPEN, Beneath, NotAFolder
from toolkit_client.transfer.paths import checked_path, path_of_text
from toolkit_client.transfer.remove import remove_content, remove_path
from toolkit_client.transfer.walk import entry_at, order, walk

DEPTH = 5000


def nest(folder: Path, depth: int, name: bytes = b"d") -> bytes:
    """Folders within each other, deeper than one path can name, with a file in the last one; the path of that."""
    current = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=current)
        deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
        os.close(current)
        current = deeper
    os.close(os.open(b"end", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=current))
    os.close(current)
    return b"/".join([name] * depth + [b"end"])


@pytest.mark.parametrize("text", ["..", "a/../b", "a/..", "x\0y", "n" * 256])
def test_paths_that_lead_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        path_of_text(text)


@pytest.mark.parametrize("path", [b"/a", b"a//b", b"a/", b".", b"a/./b", b"../a"])
def test_paths_of_the_wire_are_taken_as_they_are_or_not_at_all(path: bytes) -> None:
    with pytest.raises(InvalidRequest):
        checked_path(path)


def test_slashes_and_dots_say_nothing() -> None:
    assert path_of_text("./a//b/./") == b"a/b"
    assert path_of_text("/") == path_of_text(".") == b""
    assert path_of_text("n" * 255) == b"n" * 255


@pytest.mark.parametrize("target", ["/", "..", "../outside", "real"])
def test_links_are_not_followed(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    (root / "link").symlink_to(target)
    with Beneath(root) as beneath:
        with pytest.raises(NotAFolder, match="a symbolic link, which is not followed"):
            beneath.folder(b"link")
        with pytest.raises(NotAFolder):
            entry_at(beneath, b"link/file")
        assert [entry.path for entry in walk(beneath)] == [b"link", b"real"]
        assert entry_at(beneath, b"link").target == target.encode()
        assert remove_path(beneath, b"link") == 1
    assert (tmp_path / "outside" / "file").exists()
    assert (root / "real").exists()


def test_files_are_no_folders(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Beneath(tmp_path) as beneath:
        with pytest.raises(NotAFolder, match="but a file"):
            beneath.folder(b"file/x")
        with pytest.raises(NotFound):
            beneath.folder(b"none/x")


def test_nesting_is_not_bounded_by_the_length_of_a_path(tmp_path: Path) -> None:
    end = nest(tmp_path, DEPTH)
    before = len(os.listdir("/proc/self/fd"))
    with Beneath(tmp_path) as beneath:
        entries = list(walk(beneath))
        assert entries[-1].path == end
        assert len(entries) == DEPTH + 1
        # From the deepest to the top and back: closed folders are opened again.
        beneath.folder(end.rpartition(b"/")[0])
        beneath.folder(b"d")
        beneath.folder(end.rpartition(b"/")[0])
        assert len(os.listdir("/proc/self/fd")) <= before + KEPT_OPEN + 3
        assert remove_content(beneath, b"") == DEPTH + 1
    assert os.listdir(tmp_path) == []


def test_a_walk_goes_by_the_bytes_of_names(tmp_path: Path) -> None:
    names = [b"a", b"a.b", b"a b", b"a\nb", b"\xff\xfe", "é".encode(), "𝄞".encode(), b"A", b"a!"]
    for name in names:
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name + b"/x", os.O_CREAT))
    with Beneath(tmp_path) as beneath:
        paths = [entry.path for entry in walk(beneath)]
    assert paths == sorted(paths, key=order)
    assert set(paths) == {*names, *(name + b"/x" for name in names)}


def test_what_cannot_be_read_is_told_and_the_rest_is_walked(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    told = []
    with Beneath(tmp_path) as beneath:
        found = []
        for entry in walk(beneath, problem=lambda path, why: told.append(path)):
            found.append(entry.path)
            if entry.path == b"a":  # gone, and something else, between its name and its content
                os.rename(tmp_path / "b", tmp_path / "z")
                (tmp_path / "b").symlink_to("/")
    assert found == [b"a", b"a/x", b"b", b"c", b"c/x"]
    assert told == []


def test_a_folder_that_is_swapped_for_a_link_all_the_time_leads_nowhere(tmp_path: Path) -> None:
    """The classic race: a folder when it is looked at, a link when it is used."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "swap").mkdir(parents=True)
    (root / "swap" / "inside").touch()
    outside.mkdir()
    (outside / "secret").write_text("keep")
    ended, swaps = threading.Event(), 0

    def swap() -> None:
        nonlocal swaps
        while not ended.is_set():
            os.rename(root / "swap", root / "away")
            os.symlink(outside, root / "swap")
            os.unlink(root / "swap")
            os.rename(root / "away", root / "swap")
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    met: set[bytes] = set()
    try:
        for _ in range(100_000):
            with Beneath(root) as beneath, contextlib.suppress(NotFound, OSError):
                met |= {os.fsencode(name) for name in os.listdir(beneath.folder(b"swap"))}
                met |= {entry.path for entry in walk(beneath)}
            if swaps > 300 and b"inside" in met:
                break
    finally:
        ended.set()
        thread.join()
    assert swaps > 300
    assert b"inside" in met
    assert not any(b"secret" in path for path in met)
    assert os.listdir(outside) == ["secret"]


def test_trees_with_shut_folders_are_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "b").chmod(0)
    (tmp_path / "a").chmod(0o500)
    with Beneath(tmp_path) as beneath:
        assert remove_path(beneath, b"a") == 3
        assert remove_path(beneath, b"a") == 0
    assert os.listdir(tmp_path) == []
