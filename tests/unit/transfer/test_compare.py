"""What has to go over the wire, and above all what has to go: nothing that is excluded, or that may still be there."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from toolkit_client.transfer.compare import Comparison, Options, leave_out, without
from toolkit_client.transfer.walk import FILE, FOLDER, Entry, order


def tree(*paths: str) -> list[Entry]:
    """Files at these paths, with the folders that they lie in, as a walk gives them; a slash at the end makes a folder."""
    found = {}
    for path in (text.encode() for text in paths):
        parts = path.rstrip(b"/").split(b"/")
        for end in range(1, len(parts)):
            found[b"/".join(parts[:end])] = FOLDER
        found[path.rstrip(b"/")] = FOLDER if path.endswith(b"/") else FILE
    return [Entry(path, found[path], 0o755, 0, 0) for path in sorted(found, key=order)]


def changes(source: list[Entry], target: list[Entry], *exclude: str) -> tuple[list[str], list[str]]:
    """What is sent and what is removed, with `--delete`."""
    options = Options(delete=True, exclude=exclude)
    comparison, out = Comparison(options), leave_out(exclude)
    wanted = list(comparison.wanted(without(source, out), without(target, out, comparison.keep)))
    gone = [item.entry.path.decode() for item in wanted if item.remove]
    return [item.entry.path.decode() for item in wanted if not item.remove], gone


def test_what_only_the_target_has_goes_once_with_all_that_is_in_it() -> None:
    assert changes(tree("a", "d/x"), tree("a", "b/c/d", "b/e", "d/x", "d/y", "z")) == (["d"], ["b", "d/y", "z"])


def test_what_is_excluded_stays_with_the_folders_that_it_is_in() -> None:
    target = tree("old/a.log", "old/b.txt", "old/deep/c.txt", "old/deep/d.log", "old/plain/x", "runs/tmp/x", "z.log")
    sent, gone = changes(tree("new.log", "new.txt"), target, "*.log", "runs/tmp")
    assert sent == ["new.txt"]
    assert gone == ["old/b.txt", "old/deep/c.txt", "old/plain/x", "old/plain"]
    assert changes(tree("x/y"), tree("x/y", "AAA/one", "AAA/b/c"), "AAA")[1] == []
    assert changes(tree("AAA/one", "AAA/b/c"), [], "AAA")[0] == []


@pytest.mark.parametrize("seed", range(200))
def test_of_the_target_there_stay_the_source_and_what_is_excluded(seed: int) -> None:
    chance = random.Random(seed)

    def some() -> list[Entry]:
        names = [
            "/".join(chance.choice("abkx") for _ in range(chance.randint(1, 4))) for _ in range(chance.randint(0, 12))
        ]
        return tree(*(name for name in names if not any(other.startswith(f"{name}/") for other in names)))

    source, target, out = some(), some(), leave_out(["k"])
    assert out is not None
    kinds = {entry.path: entry.kind for entry in source}
    if any(kinds.get(entry.path, entry.kind) != entry.kind for entry in target):
        return  # one is to take the place of the other
    _, gone = changes(source, target, "k")
    left = {entry.path.decode() for entry in target}
    for path in gone:
        left -= {one for one in left if one == path or one.startswith(f"{path}/")}
    kept = {entry.path.decode() for entry in source}
    for entry in target:
        parts = entry.path.decode().split("/")
        if "k" in parts:
            kept |= {"/".join(parts[:end]) for end in range(1, len(parts) + 1)}
    assert left == {entry.path.decode() for entry in target} & kept


def test_nothing_goes_where_the_source_could_not_be_read() -> None:
    comparison = Comparison(Options(delete=True))

    def source() -> Iterator[Entry]:
        yield from tree("a/")
        comparison.spare(b"a")  # as a walk tells it: after the folder, before what follows
        yield from tree("c")

    wanted = list(comparison.wanted(source(), tree("a/x", "a/y/z", "b", "c")))
    assert [item.entry.path for item in wanted if item.remove] == [b"b"]
