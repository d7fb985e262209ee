"""A commit: the live tree of a volume, while its users go on writing in it, becomes a version that never changes.

Files are built under a name that begins with a dot and renamed when all of them are on the disk. While a commit is under way its
list is locked (`flock`), so that what a stopped process has left can be told from what is being made.

A file of a version is never the inode of a live file: what a job writes must not reach into history. It is, in this order,
linked from the version before if it has not changed since, or a clone that shares its blocks, or a copy.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from toolkit_client.errors import InsufficientStorage
from toolkit_client.transfer.beneath import Beneath
from toolkit_hub.volumes.building import Builder, settle
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.ledger import Budget, Ledger, Outcome, Progress
from toolkit_hub.volumes.manifest import ManifestWriter
from toolkit_hub.volumes.previous import Previous, same_trees
from toolkit_spawner.run_files import remove_tree

__all__ = ["Snapshot"]


class Snapshot:
    """One commit under way. Blocks; for one thread. Closing it lets go of the lock, and removes what was not kept."""

    def __init__(
        self,
        volumes: Volumes,
        data_id: str,
        version_id: str,
        previous_id: str | None,
        *,
        progress: Progress | None = None,
        budget: Budget | None = None,
    ) -> None:
        """Raises `OSError` when the volume's folders cannot be made."""
        self._volumes, self._data_id, self._version_id = volumes, data_id, version_id
        self._previous_id = previous_id
        self._finished = False
        volumes.ensure(data_id)
        versions = volumes.versions(data_id)
        self._ledger = Ledger(progress or Progress(), budget or Budget(), versions)
        self._folder, self._list = versions / f".{version_id}", versions / f".{version_id}.list"
        self._file: BinaryIO = self._list.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. What was built to its end stays: whether a row names it, the clean-up asks the store."""
        if not self._finished:
            with suppress(OSError):  # what cannot be removed now is removed by the clean-up
                remove_tree(self._folder)
            self._list.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk its last bytes have no place; then it is not kept
            self._file.close()

    def discard(self) -> None:
        """Remove what was built to its end; no row names it."""
        remove_tree(self._volumes.version(self._data_id, self._version_id))
        self._volumes.manifest(self._data_id, self._version_id).unlink(missing_ok=True)

    def nothing_new(self) -> bool:
        """Whether the live tree is just as the previous version has it, or empty where there is none.

        Raises:
            Stopped: it was asked to end.
            OSError: the tree cannot be read.
        """
        live = self._volumes.live(self._data_id)
        with Beneath(live) as walked, Beneath(live) as files, self._previous() as previous:
            return same_trees(walked, files, previous, self._ledger.tick)

    def build(self) -> Outcome:
        """Make the version's files and its list, and give them their names.

        Raises:
            InsufficientStorage: the disk is full, or the budget is spent.
            Stopped: it was asked to end.
            OSError: the tree cannot be read, or not be written.
        """
        try:
            self._build()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise InsufficientStorage(
                f"the version does not fit on the disk of the data, or in what is left of the account's quota: {error.strerror}; "
                "nothing was committed",
                "remove what is no longer needed, or ask an administrator for room",
            ) from error
        return self._ledger.outcome

    def _previous(self) -> Previous:
        return Previous(self._volumes, self._data_id, self._previous_id)

    def _build(self) -> None:
        live, versions = self._volumes.live(self._data_id), self._volumes.versions(self._data_id)
        began = os.fstat(self._file.fileno()).st_mtime_ns
        self._folder.mkdir(mode=0o700)
        with ExitStack() as stack:
            walked, files = (stack.enter_context(Beneath(live)) for _ in range(2))
            target = stack.enter_context(Beneath(self._folder))
            previous = stack.enter_context(self._previous())
            # Pages that are written through a mapping change a file's times only when they were clean before.
            _syncfs(walked.root)
            made = self._ledger.outcome
            writer = ManifestWriter(self._file, began)
            Builder(self._ledger, files, target, previous, writer).run(walked)
            settle(target.root, os.fstat(walked.root))
            made.files, made.bytes = writer.files, writer.bytes
            writer.end()
            _syncfs(target.root)
        self._folder.rename(self._volumes.version(self._data_id, self._version_id))
        self._list.rename(self._volumes.manifest(self._data_id, self._version_id))
        self._finished = True
        _sync_folder(versions)


_LIBC = ctypes.CDLL(None, use_errno=True)


def _syncfs(file: int) -> None:
    """Have the file system write what it still holds in memory. Raises `OSError`."""
    if _LIBC.syncfs(file) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
