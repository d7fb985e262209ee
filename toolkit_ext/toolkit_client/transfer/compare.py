"""What has to be sent so that one tree becomes as another: two walks in the same order, compared while they run."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from toolkit_client.transfer.paths import text_of_path
from toolkit_client.transfer.sender import Wanted
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, order

__all__ = ["Comparison", "Options", "leave_out", "without"]


@dataclass(frozen=True)
class Options:
    """How a transfer is wished for.

    `checksum`: files of the same length are compared by their content, not by their time. `delete`: what only the target has
    goes. `exclude`: patterns of what is left alone at either end: it is neither sent nor removed, with all that is in it.
    """

    checksum: bool = False
    delete: bool = False
    dry_run: bool = False
    exclude: tuple[str, ...] = ()


def leave_out(patterns: Iterable[str]) -> Callable[[bytes], bool] | None:
    """Whether a path is excluded: a pattern without a slash is matched with names, one with a slash with whole paths."""
    names: list[str] = []
    paths: list[str] = []
    for pattern in patterns:
        bare = pattern.strip("/")
        if bare:
            (paths if "/" in pattern.rstrip("/") else names).append(fnmatch.translate(bare))
    if not names and not paths:
        return None
    name_matches = re.compile("|".join(names) or r"\Z(?!)").match
    path_matches = re.compile("|".join(paths) or r"\Z(?!)").match

    def excluded(path: bytes) -> bool:
        text = text_of_path(path)
        return bool(name_matches(text.rpartition("/")[2]) or path_matches(text))

    return excluded


def without(
    entries: Iterable[Entry], excluded: Callable[[bytes], bool] | None, met: Callable[[bytes], None] = lambda path: None
) -> Iterator[Entry]:
    """The entries of a walk that are not excluded, nor in a folder that is; `met` is told of those that are."""
    if excluded is None:
        yield from entries
        return
    inside = b""
    for entry in entries:
        if inside and entry.path.startswith(inside):
            continue
        if excluded(entry.path):
            met(entry.path)
            inside = entry.path + b"/"
        else:
            yield entry


class Comparison:
    """Goes through the source and the target at once; `unchanged` and so on count what it met."""

    def __init__(self, options: Options, same_content: Callable[[Entry, Entry], bool] | None = None) -> None:
        """`same_content` decides about files of one length when `options.checksum` is set; it may read them."""
        self._options = options
        self._same_content = same_content if options.checksum else None
        #: Folders on the way that are as they should be, until something in them changes and their time with it.
        self._quiet: list[Entry] = []
        self._gone = b""
        self._spared: list[bytes] = []
        #: Folders that are to go unless something in them is excluded: the innermost last.
        self._doomed: list[Entry] = []
        self._kept: set[bytes] = set()
        self.unchanged = 0
        #: Bytes of the files among them.
        self.unchanged_size = 0

    def spare(self, path: bytes) -> None:
        """The source could not be read there: whether the target has too much below it, nobody knows, and nothing goes."""
        self._spared.append(path)

    def keep(self, path: bytes) -> None:
        """It is there and excluded, so the folders that it is in stay."""
        self._kept.update(folder.path for folder in self._doomed if path.startswith(folder.path + b"/"))

    def wanted(self, source: Iterable[Entry], target: Iterable[Entry]) -> Iterator[Wanted]:
        """What is to be sent, in the order of the walk."""
        theirs = iter(target)
        other = next(theirs, None)
        for entry in source:
            key = order(entry.path)
            while other is not None and order(other.path) < key:
                yield from self._only_there(other)
                other = next(theirs, None)
            if self._doomed:
                yield from self._leave_doomed(entry.path)
            if other is not None and other.path == entry.path:
                yield from self._both(entry, other)
                other = next(theirs, None)
            else:
                yield from self._send(entry)
        while other is not None:
            yield from self._only_there(other)
            other = next(theirs, None)
        yield from self._leave_doomed(b"")

    def _both(self, entry: Entry, other: Entry) -> Iterator[Wanted]:
        if entry.kind != other.kind:
            if other.kind == FOLDER and self._options.delete:
                yield from self._remove(other)
            yield from self._send(entry)
        elif entry.kind == FOLDER:
            if entry.mode == other.mode and _same_time(entry, other):
                self._leave(entry.path)
                self._quiet.append(entry)
            else:
                yield from self._send(entry)
        elif entry.kind == LINK:
            if entry.target != other.target:
                yield from self._send(entry)
            else:
                self.unchanged += 1
        elif not self._same_file(entry, other):
            yield from self._send(entry)
        elif entry.mode != other.mode:
            yield from self._announced(Wanted(entry._replace(kind=FILE), only_mode=True))
        else:
            self.unchanged += 1
            self.unchanged_size += entry.size

    def _same_file(self, entry: Entry, other: Entry) -> bool:
        if entry.kind != FILE or entry.size != other.size:
            return entry.kind != FILE
        if self._same_content is not None:
            return self._same_content(entry, other)
        return _same_time(entry, other)

    def _only_there(self, other: Entry) -> Iterator[Wanted]:
        if self._options.delete and not (self._gone and other.path.startswith(self._gone)):
            if self._spared and any(_at_or_below(other.path, path) for path in self._spared):
                return
            yield from self._leave_doomed(other.path)
            if other.kind == FOLDER and self._options.exclude:
                self._doomed.append(other)
            else:
                yield from self._remove(other)

    def _leave_doomed(self, path: bytes) -> Iterator[Wanted]:
        """Remove the folders that `path` is not in, where nothing is kept."""
        while self._doomed and not path.startswith(self._doomed[-1].path + b"/"):
            folder = self._doomed.pop()
            if folder.path not in self._kept:
                yield from self._remove(folder)

    def _remove(self, other: Entry) -> Iterator[Wanted]:
        self._gone = other.path + b"/"
        yield from self._announced(Wanted(other, remove=True))

    def _send(self, entry: Entry) -> Iterator[Wanted]:
        if entry.kind in (FILE, FOLDER, LINK):
            yield from self._announced(Wanted(entry))

    def _announced(self, item: Wanted) -> Iterator[Wanted]:
        self._leave(item.entry.path)
        for folder in self._quiet:
            yield Wanted(folder)
        self._quiet.clear()
        yield item

    def _leave(self, path: bytes) -> None:
        """Forget the folders that `path` is not in."""
        while self._quiet and not path.startswith(self._quiet[-1].path + b"/"):
            self._quiet.pop()


def _at_or_below(path: bytes, folder: bytes) -> bool:
    return path == folder or not folder or path.startswith(folder + b"/")


def _same_time(entry: Entry, other: Entry) -> bool:
    # Some file systems keep microseconds.
    return entry.mtime_ns // 1000 == other.mtime_ns // 1000
