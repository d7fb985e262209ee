"""Goes through a live tree once, and makes in a version's folder what it meets."""

from __future__ import annotations

import os

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, entry_of, walk
from toolkit_hub.volumes.copying import clone, copy_content, open_regular
from toolkit_hub.volumes.layout import VERSION_UID
from toolkit_hub.volumes.ledger import Ledger
from toolkit_hub.volumes.manifest import ManifestWriter
from toolkit_hub.volumes.previous import Previous, version_mode
from toolkit_spawner.hardening import CONTAINER_GID

__all__ = ["Builder", "settle"]

#: How often a file is copied that changes while it is read, before what was read last is kept.
TRIES = 3


class Builder:
    """One build. `files` is the live tree, `target` the new version's folder."""

    def __init__(
        self, ledger: Ledger, files: Beneath, target: Beneath, previous: Previous, writer: ManifestWriter
    ) -> None:
        self._ledger, self._files, self._target = ledger, files, target
        self._previous, self._writer = previous, writer
        self._outcome = ledger.outcome
        self._clones = True
        #: The folders that are being filled: the path of the deepest one, and of each the length of its path and its entry's
        #: mode and time, which are set when nothing more comes into it.
        self._way = b""
        self._open: list[tuple[int, int, int]] = []

    def run(self, live: Beneath) -> None:
        for entry in walk(live, problem=self._unreadable):
            self._leave(entry.path)
            try:
                self._make(entry)
            except FileExistsError:
                # A folder that is changed while it is listed may name a thing twice.
                self._outcome.warn(f"{_shown(entry.path)} was renamed while it was committed")
        self._leave(b"")

    def _unreadable(self, path: bytes, why: str) -> None:
        self._outcome.warn(f"{_shown(path)} could not be read, and is not in the version: {why}")

    def _make(self, entry: Entry) -> None:
        if entry.kind == FILE:
            self._file(entry)
        elif entry.kind == FOLDER:
            self._folder(entry)
        elif entry.kind == LINK:
            self._link(entry)
        else:
            self._outcome.warn(f"{_shown(entry.path)} is a device, socket or FIFO, and is not in the version")

    def _folder(self, entry: Entry) -> None:
        parent, name = split_path(entry.path)
        self._ledger.take(entry.blocks * 512, 1)
        os.mkdir(name, 0o700, dir_fd=self._target.folder(parent))
        self._previous.find(entry.path)
        self._writer.add(entry)
        self._open.append((len(entry.path), entry.mode, entry.mtime_ns))
        self._way = entry.path

    def _leave(self, path: bytes) -> None:
        """Finish the folders that `path` is not in."""
        while self._open:
            length, mode, mtime_ns = self._open[-1]
            if path[:length] == self._way and path[length : length + 1] == b"/":
                return
            folder = self._target.folder(self._way)
            _own(folder)
            os.fchmod(folder, version_mode(mode))
            os.utime(folder, ns=(mtime_ns, mtime_ns))
            self._open.pop()
            self._way = self._way[: self._open[-1][0]] if self._open else b""

    def _link(self, entry: Entry) -> None:
        parent, name = split_path(entry.path)
        folder = self._target.folder(parent)
        self._ledger.take(0, 1)
        os.symlink(entry.target, name, dir_fd=folder)
        if os.geteuid() == 0:
            os.chown(name, VERSION_UID, CONTAINER_GID, dir_fd=folder, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=folder, follow_symlinks=False)
        self._previous.find(entry.path)
        self._writer.add(entry)

    def _file(self, entry: Entry) -> None:
        before = self._previous.find(entry.path)
        same = before is not None and self._previous.has(entry, self._files, before, self._ledger.tick)
        if before is not None and same and self._from_previous(entry):
            self._outcome.linked += 1
            self._writer.add(before)
            self._ledger.done(before)
            return
        made = self._copy(entry)
        if made is not None:
            self._writer.add(made)
            self._ledger.done(made)

    def _from_previous(self, entry: Entry) -> bool:
        parent, name = split_path(entry.path)
        assert self._previous.files is not None
        source, target = self._previous.files.folder(parent), self._target.folder(parent)
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            return False  # a file can have only so many names
        return True

    def _copy(self, entry: Entry) -> Entry | None:
        """The entry of what was copied, None if there is nothing to copy any more."""
        parent, name = split_path(entry.path)
        source = self._source(entry, parent, name)
        if source is None:
            return None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(name, flags, 0o600, dir_fd=self._target.folder(parent))
            try:
                return self._fill(entry.path, source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _source(self, entry: Entry, parent: bytes, name: bytes) -> int | None:
        while True:
            try:
                source = open_regular(name, self._files.folder(parent))
            except BlockingIOError:
                if self._ledger.wait_for_lease():
                    continue
                self._unreadable(entry.path, "somebody holds a lease on it")
                return None
            except NotFound:
                source = None
            except PermissionError as error:
                self._unreadable(entry.path, error.strerror or "")
                return None
            if source is None:
                self._outcome.warn(f"{_shown(entry.path)} was removed or replaced while it was committed")
            return source

    def _fill(self, path: bytes, source: int, target: int) -> Entry:
        for _ in range(TRIES):
            was = os.fstat(source)
            os.ftruncate(target, 0)
            stands = self._outcome.disk
            if self._clones and not clone(source, target):
                self._clones = False
            if self._clones:
                self._ledger.take(was.st_blocks * 512, 0)
            else:
                copy_content(source, target, was.st_size, lambda amount: self._ledger.take(amount, 0))
            if _same(was, os.fstat(source)):
                break
            self._outcome.disk = stands
        else:
            self._outcome.warn(f"{_shown(path)} changed while it was committed")
        self._ledger.take(0, 1)
        settle(target, was)
        return entry_of(path, was)._replace(size=os.fstat(target).st_size)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (other.st_size, other.st_mtime_ns, other.st_ctime_ns)


def settle(target: int, source: os.stat_result) -> None:
    """Owner, mode and times of something in a version, which is whole now."""
    _own(target)
    os.fchmod(target, version_mode(source.st_mode))
    os.utime(target, ns=(source.st_mtime_ns, source.st_mtime_ns))


def _own(target: int) -> None:
    if os.geteuid() == 0:
        os.fchown(target, VERSION_UID, CONTAINER_GID)


def _shown(path: bytes) -> str:
    return repr(text_of_path(path))
