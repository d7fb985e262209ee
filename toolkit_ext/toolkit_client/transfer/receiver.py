"""From records to files: the end of a transfer that gets them.

A file is written beside the tree, in a staging folder, checked against its digest, and renamed to its place: whoever looks
there finds the old file or the new one, whole. What was renamed stays, whatever happens to the rest. Names, links and folders in
the tree may be changed by others meanwhile; nothing is followed (`beneath`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from toolkit_client.errors import InsufficientStorage, InvalidRequest, NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.incoming import CREATE, Incoming, Refused, write_all
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.records import (
    BEGIN,
    CHUNK,
    CHUNK_SIZE,
    END,
    ENTRY,
    FINISH,
    HOLE,
    NOTE,
    REMOVE,
    SMALL,
    Decoder,
    Record,
    file_key,
)
from toolkit_client.transfer.remove import open_up, remove_path
from toolkit_client.transfer.sender import open_file
from toolkit_client.transfer.staging import MOMENT
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry, entry_at

__all__ = ["PARTIAL", "Receiver", "Sums", "points_outside"]

#: How the names of half-sent files begin in a staging folder.
PARTIAL = "p-"
#: Of more problems than this only the number is kept.
_TOLD_PROBLEMS = 200
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Sums:
    """What came in. `disk` and `inodes` are what it added, as far as that is known while it is written."""

    files: int = 0
    size: int = 0
    removed: int = 0
    inodes: int = 0
    disk: int = 0
    problem_count: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    #: Files that changed while they were read at the other end.
    changed: list[str] = field(default_factory=list)

    def problem(self, path: bytes, why: str, code: str = "") -> None:
        self.problem_count += 1
        if len(self.problems) < _TOLD_PROBLEMS:
            self.problems.append({"path": text_of_path(path), "problem": why, "code": code})


class Receiver:
    """Puts the records of one stream below `beneath`. Blocks; feed it in a thread. Call `close` at the end of any kind.

    `base` is where `beneath` lies within the data. `staging` is a folder on the same file system where nobody else writes. With
    `replace`, a folder that stands where a file or link is to be goes with all that is in it. `skip_links` refuses links that
    point out of the tree. `rename` gives one path another name here. `before_write` is called with the bytes to come, and may
    raise to end it all.
    """

    def __init__(
        self,
        beneath: Beneath,
        staging: int,
        *,
        base: bytes = b"",
        replace: bool = False,
        skip_links: bool = False,
        rename: tuple[bytes, bytes] | None = None,
        before_write: Callable[[int], None] = lambda size: None,
        done: Callable[[bytes, int], None] = lambda path, size: None,
    ) -> None:
        self._beneath = beneath
        self._staging = staging
        self._base = base
        self._replace = replace
        self._skip_links = skip_links
        self._rename = rename
        self._before_write = before_write
        self._done = done
        self._decoder = Decoder()
        self._prefix = MOMENT.encode() + os.urandom(6).hex().encode() + b"-"
        self._number = 0
        self._umask = _umask()
        self._open: Incoming | None = None
        #: Folders whose own entry is put right when the stream has left them: making names in them changes their time.
        self._folders: list[Entry] = []
        self.sums = Sums()

    @property
    def ended(self) -> bool:
        """Whether the stream came to its END."""
        return self._decoder.ended

    def next_stream(self) -> None:
        """Another stream of the same transfer follows."""
        self._decoder = Decoder()

    def feed(self, data: bytes | bytearray) -> None:
        """Raises:
        InvalidRequest: that is no such stream.
        InsufficientStorage: the disk is full; what was renamed until then stays.
        """
        for record in self._decoder.feed(data):
            if self._rename is not None and record.entry.path == self._rename[0]:
                record = record._replace(entry=record.entry._replace(path=self._rename[1]))
            try:
                self._take(record)
            except (Refused, NotFound) as refused:
                self.sums.problem(record.entry.path, str(refused), getattr(refused, "code", ""))
                self._skip(record, str(refused))
            except OSError as error:
                if error.errno in _FULL:
                    raise _full(error) from error
                self.sums.problem(record.entry.path, error.strerror or str(error))
                self._skip(record, error.strerror or str(error))

    def revisit(self, folders: Iterable[Entry]) -> None:
        """Put the modes and times right of folders that others have written in meanwhile."""
        self._leave_folders(None)
        self._folders += folders
        self._leave_folders(None)

    def close(self) -> None:
        """End of the stream, whole or not: what was half sent stays in the staging folder, to be gone on with."""
        if self._open is not None:
            unneeded = bool(self._open.bad) or self._is_there(self._open.entry)
            self.sums.disk += self._open.close(drop=unneeded)  # a half-sent file takes room as well
            self._open = None
        self._leave_folders(None)

    # --- records ----------------------------------------------------------------------------------------------------

    def _take(self, record: Record) -> None:
        type_ = record.type
        if type_ == SMALL:
            self._between(record.entry)
            self._small(record)
        elif type_ == CHUNK:
            self._current().chunk(record.content)
        elif type_ == ENTRY:
            self._between(record.entry)
            {FOLDER: self._folder, FILE: self._permissions}.get(record.entry.kind, self._link)(record.entry)
        elif type_ == BEGIN:
            self._between(record.entry)
            self._begin(record.entry, record.number, bool(record.mark))
        elif type_ == HOLE and record.number:  # none at all is a sign of life
            self._current().hole(record.number)
        elif type_ == FINISH:
            self._finish(record)
        elif type_ == REMOVE:
            self._between(record.entry)
            self.sums.removed += remove_path(self._beneath, record.entry.path)
        elif type_ == NOTE:
            self._note(record)
        elif type_ == END:
            self._between(None)

    def _between(self, entry: Entry | None) -> None:
        if self._open is not None:
            raise InvalidRequest("the stream is not well-formed: a file has no end", "")
        if entry is not None:
            if not entry.path:
                raise InvalidRequest("the stream is not well-formed: an entry has no name", "")
            if self._folders:
                self._leave_folders(entry.path)

    def _skip(self, record: Record, why: str) -> None:
        """After a refusal: the rest of this file is read and thrown away."""
        if record.type == BEGIN and self._open is None:
            self._open = Incoming.thrown_away(record.entry, why)
        elif self._open is not None and record.type in (CHUNK, HOLE):
            self._open.bad = why

    def _note(self, record: Record) -> None:
        try:
            facts = dict(json.loads(record.extra))
        except (ValueError, TypeError):
            raise InvalidRequest("the stream is not well-formed: a note is no JSON", "") from None
        self.sums.problem(str(facts.get("path", "")).encode("utf-8", "surrogateescape"), str(facts.get("problem", "")))

    # --- files ------------------------------------------------------------------------------------------------------

    def _small(self, record: Record) -> None:
        entry, content = record.entry, record.content
        if entry.kind != FILE or entry.size != len(content):
            raise InvalidRequest("the stream is not well-formed: a file's length is another one", "")
        if hashlib.sha256(content).digest() != record.extra:
            raise Refused("it arrived with another hash than it was sent with", "digest")
        self._before_write(entry.size)
        mode = entry.mode
        name = self._fresh_name()
        file = os.open(name, CREATE, mode & ~self._umask, dir_fd=self._staging)
        try:
            write_all(file, content)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
            if mode & self._umask:
                os.fchmod(file, mode)
        except BaseException:
            self._drop(name)
            raise
        finally:
            os.close(file)
        self._place(name, entry)
        self.sums.disk += (entry.size + 4095) // 4096 * 4096

    def _permissions(self, entry: Entry) -> None:
        """Of a file that is there already, only the mode is another one."""
        file = open_file(self._beneath, entry.path)
        try:
            os.fchmod(file, entry.mode)
        finally:
            os.close(file)

    def _begin(self, entry: Entry, offset: int, sparse: bool) -> None:
        if entry.kind != FILE or offset % CHUNK_SIZE or offset > entry.size:
            raise InvalidRequest("the stream is not well-formed: a file begins in its middle", "")
        self._before_write(entry.size - offset)
        # Where it cannot go in the end, it is refused at its beginning.
        self._way_to(entry)
        kept = f"{PARTIAL}{file_key(self._base, entry)}"
        self._open = Incoming.begin(entry, self._staging, kept, self._fresh_name(), offset, sparse=sparse)

    def _current(self) -> Incoming:
        if self._open is None:
            raise InvalidRequest("the stream is not well-formed: content without a file", "")
        return self._open

    def _finish(self, record: Record) -> None:
        whole = self._current()
        self._open = None
        path = whole.entry.path
        if not whole.is_right(record.extra):
            whole.close(drop=True)
            if not whole.bad:
                self.sums.problem(path, "it arrived with another hash than it was sent with", "digest")
            return
        try:
            self.sums.disk += whole.settle()
            self._place(whole.name, whole.entry)
            whole.drop_other()
        except (Refused, NotFound, OSError) as error:
            self._drop(whole.name)
            self.sums.problem(path, (error.strerror or str(error)) if isinstance(error, OSError) else str(error))
        finally:
            whole.let_go()
        if record.mark:
            self.sums.changed.append(text_of_path(path))

    def _is_there(self, entry: Entry) -> bool:
        """Whether somebody else has sent the same file meanwhile: then nobody goes on with what came of it here."""
        with contextlib.suppress(NotFound, OSError):
            there = entry_at(self._beneath, entry.path)
            return (there.kind, there.size, there.mtime_ns) == (FILE, entry.size, entry.mtime_ns)
        return False

    # --- places -----------------------------------------------------------------------------------------------------

    def _way_to(self, entry: Entry) -> tuple[int, bytes]:
        folder, name = split_path(entry.path)
        return self._beneath.folder(folder, make=True), name

    def _place(self, name: bytes, entry: Entry) -> None:
        """Rename what is in the staging folder to where it belongs."""
        try:
            parent, last = self._way_to(entry)
            try:
                os.rename(name, last, src_dir_fd=self._staging, dst_dir_fd=parent)
            except FileNotFoundError:
                self._beneath.forget()  # the folder that was kept open was removed
                parent, last = self._way_to(entry)
                os.rename(name, last, src_dir_fd=self._staging, dst_dir_fd=parent)
            except (IsADirectoryError, OSError) as error:
                if error.errno not in (errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY):
                    raise
                self._make_way(entry)
                parent, last = self._way_to(entry)
                os.rename(name, last, src_dir_fd=self._staging, dst_dir_fd=parent)
        except BaseException:
            self._drop(name)
            raise
        self.sums.files += 1
        self.sums.size += entry.size
        self.sums.inodes += 1
        self._done(entry.path, entry.size)

    def _make_way(self, entry: Entry) -> None:
        if not self._replace:
            raise Refused("a folder of that name is there; with --delete it would be replaced")
        remove_path(self._beneath, entry.path)
        self._beneath.forget()

    def _link(self, entry: Entry) -> None:
        if entry.kind != LINK or not entry.target or b"\0" in entry.target:
            raise Refused("it is neither a file nor a folder nor a link")
        if self._skip_links and points_outside(entry):
            raise Refused(f"a link that points out of it, to {text_of_path(entry.target)[:200]}", "link")
        name = self._fresh_name()
        os.symlink(entry.target, name, dir_fd=self._staging)
        if os.utime in os.supports_follow_symlinks:
            times = (entry.mtime_ns, entry.mtime_ns)
            os.utime(name, ns=times, dir_fd=self._staging, follow_symlinks=False)
        self._place(name, entry)

    def _folder(self, entry: Entry) -> None:
        parent, name = self._way_to(entry)
        try:
            os.mkdir(name, (entry.mode | 0o700) & 0o777, dir_fd=parent)
            self.sums.inodes += 1
            self.sums.disk += 4096
        except FileExistsError:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=parent)
                self._beneath.forget()
                os.mkdir(name, (entry.mode | 0o700) & 0o777, dir_fd=self._way_to(entry)[0])
            elif found.st_mode & 0o700 != 0o700:
                open_up(parent, name)
        self._folders.append(entry)

    def _leave_folders(self, path: bytes | None) -> None:
        """Put the modes and times right of the folders that `path` is not in."""
        while self._folders:
            entry = self._folders[-1]
            if path is not None and path.startswith(entry.path + b"/"):
                return
            self._folders.pop()
            try:
                folder = self._beneath.folder(entry.path)
                os.utime(folder, ns=(entry.mtime_ns, entry.mtime_ns))
                if os.fstat(folder).st_mode & 0o777 != entry.mode:
                    os.fchmod(folder, entry.mode)
            except (NotFound, OSError) as error:
                if isinstance(error, PermissionError):
                    self.sums.problem(entry.path, "its mode and time belong to somebody else")

    # --- the staging folder -----------------------------------------------------------------------------------------

    def _fresh_name(self) -> bytes:
        self._number += 1
        return self._prefix + b"%d" % self._number

    def _drop(self, name: bytes) -> None:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._staging)


def points_outside(entry: Entry) -> bool:
    """Whether a link leads out of the tree that it is in, as far as its text tells."""
    if entry.target.startswith(b"/"):
        return True
    depth = entry.path.count(b"/")
    for part in entry.target.split(b"/"):
        if part == b"..":
            depth -= 1
        elif part not in (b"", b"."):
            depth += 1
        if depth < 0:
            return True
    return False


def _full(error: OSError) -> InsufficientStorage:
    if error.errno == errno.EDQUOT:
        return InsufficientStorage("the account's quota of disk space is used up", "remove content, or ask for more")
    return InsufficientStorage("the disk is full", "what has arrived is kept; go on when there is room again")


def _umask() -> int:
    """The process's umask, read without changing it: other threads make files meanwhile."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return 0o777  # unknown: modes are set for each file
