"""A file that comes in parts, as browsers send it: kept beside the tree until it is whole, then put in its place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.incoming import write_all_at
from toolkit_client.transfer.partial import PartialBusy, open_partial
from toolkit_client.transfer.paths import split_path, text_of_path

__all__ = ["PartUpload", "UploadedFile"]


@dataclass(frozen=True)
class UploadedFile:
    """What it will be; also what tells a half-sent file from another one. `sender` is who sends it."""

    path: bytes
    size: int
    mtime_ns: int
    sender: str

    @property
    def staging_name(self) -> str:
        facts = b"%s %d %d %s" % (self.sender.encode(), self.size, self.mtime_ns, self.path)
        return "u-" + hashlib.sha256(facts).hexdigest()[:40]


class PartUpload:
    """One part on its way. Blocks; used in a thread with the rights of the jobs' user."""

    def __init__(self, staging: int, wanted: UploadedFile, offset: int) -> None:
        """Raises `Conflict` when the part does not follow what is there, or somebody sends the same file; OSError."""
        self._staging, self._wanted, self._offset = staging, wanted, offset
        try:
            self._file = open_partial(staging, wanted.staging_name)
        except PartialBusy:
            raise Conflict("a part of the same file is on its way just now", "wait for it") from None
        have = os.fstat(self._file).st_size
        if offset > have or offset > wanted.size:
            os.close(self._file)
            raise Conflict(f"the part begins at byte {offset}, and {have} bytes are here", "go on from there")
        os.ftruncate(self._file, offset)
        self._at = offset
        self._hash = hashlib.sha256()

    @classmethod
    def have(cls, staging: int, wanted: UploadedFile) -> int:
        """Bytes that are here already."""
        try:
            return os.stat(wanted.staging_name, dir_fd=staging, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def write(self, block: bytes) -> None:
        """Raises `InvalidRequest` for more than the file's size, OSError."""
        if self._at + len(block) > self._wanted.size:
            raise InvalidRequest("more bytes came than the file has", "the file changed meanwhile: send it again")
        self._hash.update(block)
        write_all_at(self._file, memoryview(block), self._at)
        self._at += len(block)

    def finish(self, beneath: Beneath, digest: bytes | None) -> int:
        """The part has come; with the last one the file is put in its place. Returns the bytes that are here now.

        Raises:
            InvalidRequest: it is not what was sent (its SHA-256 is not `digest`); the part is thrown away.
            NotAFolder: something else than a folder is on its way.
            Conflict: a folder of its name is in its place.
        """
        if digest is not None and digest != self._hash.digest():
            os.ftruncate(self._file, self._offset)
            raise InvalidRequest("the part arrived with another hash than it was sent with", "send it again")
        if self._at < self._wanted.size:
            return self._at
        times = (self._wanted.mtime_ns, self._wanted.mtime_ns)
        os.fchmod(self._file, 0o644)
        os.utime(self._file, ns=times)
        folder, name = split_path(self._wanted.path)
        parent = beneath.folder(folder, make=True)
        try:
            os.rename(self._wanted.staging_name, name, src_dir_fd=self._staging, dst_dir_fd=parent)
        except IsADirectoryError:
            shown = text_of_path(self._wanted.path)
            raise Conflict(f"a folder is at {shown!r}", "remove or rename it, or give the file another name") from None
        return self._at

    def close(self) -> None:
        """What has come of it stays."""
        os.close(self._file)
