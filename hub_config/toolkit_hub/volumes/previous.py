"""The version before, next to a walk of the live tree: what stayed the same is linked from it instead of copied."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, OTHER, Entry, order, walk
from toolkit_hub.volumes.copying import Tick, open_regular, same_content
from toolkit_hub.volumes.layout import VERSION_UID, Volumes
from toolkit_hub.volumes.manifest import BrokenManifest, read_began, read_entries

__all__ = ["Previous", "version_mode"]


def version_mode(mode: int) -> int:
    """The mode of a version's file or folder: nobody writes, and the group, by which jobs read, may what the owner may."""
    owner = mode >> 6 & 0o5
    return owner << 6 | owner << 3 | mode & 0o5


class Previous:
    """One version's list and files, asked for paths in the order of a walk. Without a version there is nothing in it.

    A list that is missing or damaged is as good as none: everything is copied then.
    """

    def __init__(self, volumes: Volumes, data_id: str, version_id: str | None) -> None:
        self._exit = ExitStack()
        #: When the commit of that version began, in ns: what has not changed since then is in it as it is.
        self._began = 0
        self._entries: Iterator[Entry] = iter(())
        self._next: Entry | None = None
        #: Whether it has something that was not asked for: it is gone from the live tree.
        self.passed_over = False
        self.files: Beneath | None = None
        if version_id is not None:
            self._open(volumes.version(data_id, version_id), volumes.manifest(data_id, version_id))

    def _open(self, folder: Path, manifest: Path) -> None:
        try:
            self.files = self._exit.enter_context(Beneath(folder))
            file = self._exit.enter_context(manifest.open("rb"))
            self._began = read_began(file)
        except (OSError, BrokenManifest):
            self.passed_over = True
            return
        self._entries = read_entries(file)
        self._advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._exit.close()

    def find(self, path: bytes) -> Entry | None:
        """The entry of this path, or None. Each path comes after the one before in the order of a walk."""
        wanted = order(path)
        while self._next is not None and order(self._next.path) < wanted:
            self.passed_over = True
            self._advance()
        if self._next is None or self._next.path != path:
            return None
        found = self._next
        self._advance()
        return found

    def ends(self) -> bool:
        """Whether everything in it was asked for."""
        return self._next is None and not self.passed_over

    def _advance(self) -> None:
        try:
            self._next = next(self._entries, None)
        except BrokenManifest:
            self._next, self.passed_over = None, True

    def has(self, live: Entry, live_files: Beneath, before: Entry | None, tick: Tick) -> bool:
        """Whether the version's file `before` is intact and has the very content of the live one.

        Size and time of modification can be made to look the same by whoever owns a file; the time at which its inode
        changed cannot. Where that is not older than the version, the contents are compared.
        """
        if before is None or before.kind != FILE or self.files is None:
            return False
        if (before.size, before.mtime_ns, before.mode) != (live.size, live.mtime_ns, live.mode):
            return False
        if not self._intact(before):
            return False
        if 0 < live.ctime_ns < self._began:
            return True
        if live.blocks * 512 < live.size:
            return False  # full of holes: quickly copied, and perhaps endless to read
        return self._compare(live, live_files, tick)

    def _intact(self, before: Entry) -> bool:
        assert self.files is not None
        folder, name = split_path(before.path)
        try:
            found = os.stat(name, dir_fd=self.files.folder(folder), follow_symlinks=False)
        except (OSError, NotFound):
            return False
        owned = os.geteuid() != 0 or found.st_uid == VERSION_UID
        seen = (found.st_size, found.st_mtime_ns, stat.S_IMODE(found.st_mode))
        wanted = (before.size, before.mtime_ns, version_mode(before.mode))
        return owned and stat.S_ISREG(found.st_mode) and seen == wanted

    def _compare(self, live: Entry, live_files: Beneath, tick: Tick) -> bool:
        assert self.files is not None
        folder, name = split_path(live.path)
        with ExitStack() as opened, suppress(OSError, NotFound):
            one = open_regular(name, live_files.folder(folder))
            if one is None:
                return False
            opened.callback(os.close, one)
            other = open_regular(name, self.files.folder(folder))
            if other is None:
                return False
            opened.callback(os.close, other)
            same = same_content(one, other, live.size, tick)
            now = os.fstat(one)
            return same and (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
                live.size,
                live.mtime_ns,
                live.ctime_ns,
            )
        return False


def same_trees(live: Beneath, files: Beneath, previous: Previous, tick: Tick) -> bool:
    """Whether the live tree holds just what the version holds; times of folders and links do not count.

    `live` and `files` are the same folder, opened twice: one is walked, in the other files are opened.
    """
    for entry in walk(live):
        tick(0)
        if entry.kind == OTHER:
            continue
        before = previous.find(entry.path)
        if before is None or before.kind != entry.kind:
            return False
        if entry.kind == FOLDER and before.mode != entry.mode:
            return False
        if entry.kind == LINK and before.target != entry.target:
            return False
        if entry.kind == FILE and not previous.has(entry, files, before, tick):
            return False
    return previous.ends()
