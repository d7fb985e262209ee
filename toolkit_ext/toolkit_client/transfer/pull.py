"""Pull: a local folder becomes as a folder of the data is, by fetching what differs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedIOBase
from pathlib import Path

from toolkit_client.errors import InvalidRequest, NotFound, ToolkitError
from toolkit_client.transfer.beneath import FOLDER_FLAGS, Beneath
from toolkit_client.transfer.compare import Comparison, Options, leave_out, without
from toolkit_client.transfer.link import Interrupted, Link, Query, blocks_of
from toolkit_client.transfer.memory import keep_freed_memory
from toolkit_client.transfer.outcome import PAUSES, Outcome, until_through
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.progress import OneAtATime, Progress
from toolkit_client.transfer.push import Listing
from toolkit_client.transfer.receiver import PARTIAL, Receiver, Sums
from toolkit_client.transfer.records import CHUNK_SIZE, END, ENTRY, SMALL_SIZE, Encoder, file_key
from toolkit_client.transfer.remove import remove_content, remove_path
from toolkit_client.transfer.sender import Wanted
from toolkit_client.transfer.staging import hold
from toolkit_client.transfer.streams import SideStreams
from toolkit_client.transfer.walk import FILE, FOLDER, OTHER, Entry, Problem, entry_at, walk

__all__ = ["STAGING", "pull"]

#: Folder beside what is pulled, for files that are not whole yet; it goes when the pull is through.
STAGING = ".toolkit-pull"
#: Files, and bytes, that are asked for at a time.
_FIRST_BATCH = 250
_BATCH_FILES = 2000
_BATCH_BYTES = 64 * 1024 * 1024
_AGAIN = 2


class _Pull:
    """One command; several tries. `names`: of one file, there and here."""

    def __init__(
        self,
        link: Link,
        ref: str,
        remote: bytes,
        version: str,
        local: bytes,
        names: tuple[bytes, bytes] | None,
        all_links: bool,
        options: Options,
        show: Progress,
    ) -> None:
        self._link, self._ref, self._options, self._show = link, ref, options, show
        self._remote, self._version, self._local, self._names = remote, version, local, names
        self._all_links = all_links
        self._leave_out = leave_out(options.exclude)
        self._tries: dict[str, int] = {}
        self._from_the_start: set[bytes] = set()
        self._lock = threading.Lock()

    def attempt(self, outcome: Outcome) -> bool:
        """Fetch what differs now. Returns false if something has to be fetched again. Raises Interrupted."""
        with Beneath(self._local) as local, self._receiving() as (receiver, staging):
            with SideStreams(lambda item: self._fetch_beside(item, side, outcome)) as side:
                try:
                    receiver.revisit(self._fetch_all(self._wanted(local, outcome), receiver, staging, side, outcome))
                finally:
                    receiver.close()
                    sums = [receiver.sums, *side.sums]
                    for some in sums:
                        outcome.take({"files": some.files, "bytes": some.size, "removed": some.removed})
            again = self._settle(sums, outcome)
            if not again:
                self._clean_up(local, staging)
        return not again

    @contextlib.contextmanager
    def _receiving(self) -> Iterator[tuple[Receiver, int]]:
        """A receiver, and the folder of half-fetched files (-1 in a dry run)."""
        with contextlib.ExitStack() as stack:
            local = stack.enter_context(Beneath(self._local))
            staging = _staging(local) if not self._options.dry_run else -1
            if staging >= 0:
                stack.callback(os.close, staging)
            receiver = Receiver(
                local,
                staging,
                replace=self._options.delete,
                skip_links=not self._all_links,
                rename=self._names,
                done=lambda path, size: self._show.passed(1, 0),
            )
            stack.callback(receiver.close)
            yield receiver, staging

    def _wanted(self, local: Beneath, outcome: Outcome) -> Iterator[Wanted]:
        comparison = Comparison(self._options, lambda theirs, mine: listing.has_content(local, mine.path, mine.size))

        def problem(path: bytes, why: str) -> None:
            comparison.spare(path)
            outcome.problem(text_of_path(path), f"cannot be read there: {why}")

        listing = self._listing(self._options.checksum, problem)
        source = without(listing.entries(), self._leave_out)
        files = size = 0
        for item in comparison.wanted(self._here(source, outcome), self._target(local, comparison, outcome)):
            if comparison.unchanged != files:
                self._show.there(comparison.unchanged - files, comparison.unchanged_size - size)
                files, size = comparison.unchanged, comparison.unchanged_size
            yield item
        self._show.there(comparison.unchanged - files, comparison.unchanged_size - size)
        outcome.unchanged = comparison.unchanged

    def _listing(self, digests: bool = False, problem: Problem = lambda path, why: None) -> Listing:
        name = self._names[0] if self._names else None
        return Listing(
            self._link,
            self._ref,
            problem=problem,
            path=self._remote,
            name=name,
            version=self._version,
            digests=digests,
        )

    def count(self) -> None:
        """Tell how much there is, looked up beside the transfer: for the time that it still takes."""
        files = size = 0
        with contextlib.suppress(ToolkitError):  # the pull itself says what is wrong
            for entry in without(self._listing().entries(), self._leave_out):
                files += entry.kind == FILE
                size += entry.size
            self._show.total(files, size)

    def _here(self, entries: Iterator[Entry], outcome: Outcome) -> Iterator[Entry]:
        """What can be fetched, under its name here."""
        for entry in entries:
            if entry.kind == OTHER:
                outcome.problem(text_of_path(entry.path), "neither a file nor a folder nor a link: left out")
            elif entry.path == STAGING.encode() or entry.path.startswith(f"{STAGING}/".encode()):
                outcome.problem(STAGING, "pulls keep their half-fetched files under this name: left out")
            else:
                yield entry if self._names is None else entry._replace(path=self._names[1])

    def _target(self, local: Beneath, comparison: Comparison, outcome: Outcome) -> Iterator[Entry]:
        if self._names is not None:
            with contextlib.suppress(NotFound):
                yield entry_at(local, self._names[1])
            return

        def excluded(path: bytes) -> bool:
            if self._leave_out is None or not self._leave_out(path):
                return path == STAGING.encode()
            comparison.keep(path)
            return True

        def problem(path: bytes, why: str) -> None:
            outcome.problem(text_of_path(path), f"cannot be read here: {why}")

        yield from walk(local, problem=problem, leave_out=excluded)

    # --- fetching -----------------------------------------------------------------------------------------------------

    def _fetch_all(
        self, wanted: Iterator[Wanted], receiver: Receiver, staging: int, side: SideStreams[Sums], outcome: Outcome
    ) -> list[Entry]:
        """Fetch it, large files beside the rest; returns the folders that those went into."""
        written: dict[bytes, Entry] = {}
        coming: tuple[list[Wanted], Future[BufferedIOBase]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="toolkit-ask") as asking:
            try:
                # The next files are asked for before the last ones are read: the other end need not wait for us.
                for batch in self._batches(wanted, side, written, outcome):
                    following = batch, asking.submit(self._ask, batch, staging)
                    before, coming = coming, following
                    if before is not None:
                        self._read(before[0], before[1].result(), receiver, outcome)
                if coming is not None:
                    last, coming = coming, None
                    self._read(last[0], last[1].result(), receiver, outcome)
            finally:
                if coming is not None:
                    coming[1].add_done_callback(_close_unread)
        while not side.finished(60):
            pass
        return list(written.values())

    def _batches(
        self, wanted: Iterator[Wanted], side: SideStreams[Sums], written: dict[bytes, Entry], outcome: Outcome
    ) -> Iterator[list[Wanted]]:
        """What is asked for at a time: little at first, for an early begin."""
        batch: list[Wanted] = []
        size, limit = 0, _FIRST_BATCH
        way: list[Entry] = []
        for item in wanted:
            if self._options.dry_run or item.remove:
                self._here_only(item, outcome)
                continue
            while way and not item.entry.path.startswith(way[-1].path + b"/"):
                way.pop()
            if item.entry.kind == FOLDER:
                way.append(item.entry)
            if side.take(item):
                written.update((folder.path, folder) for folder in way)
                continue
            batch.append(item)
            size += item.entry.size
            if len(batch) >= limit or size >= _BATCH_BYTES:
                yield batch
                batch, size, limit = [], 0, min(limit * 2, _BATCH_FILES)
        if batch:
            yield batch

    def _fetch_beside(self, item: Wanted, side: SideStreams[Sums], outcome: Outcome) -> Sums:
        with self._receiving() as (receiver, staging):
            self._read([item], self._ask([item], staging), receiver, outcome, side)
        return receiver.sums

    def _here_only(self, item: Wanted, outcome: Outcome) -> None:
        shown = text_of_path(item.entry.path) + ("/" if item.entry.kind == FOLDER else "")
        if self._options.dry_run:
            self._show.item("would remove" if item.remove else "would fetch", shown)
            return
        try:
            with Beneath(self._local) as beneath:
                outcome.removed += remove_path(beneath, item.entry.path)
            self._show.item("removed", shown)
        except OSError as error:
            outcome.problem(shown, f"cannot be removed here: {error.strerror or error}")

    def _ask(self, batch: list[Wanted], staging: int) -> BufferedIOBase:
        query: Query = {"path": self._remote, "version": self._version}
        return self._link.open("POST", self._ref, "pull", query=query, body=self._asked(batch, staging))

    def _read(
        self,
        batch: list[Wanted],
        answer: BufferedIOBase,
        receiver: Receiver,
        outcome: Outcome,
        side: SideStreams[Sums] | None = None,
    ) -> None:
        receiver.next_stream()
        with answer:
            blocks = blocks_of(answer)
            for block in blocks if side is None else side.as_long_as_wished(blocks):
                with self._lock:
                    outcome.moved += len(block)
                receiver.feed(block)
                self._show.passed(0, len(block))
        if not receiver.ended:
            raise Interrupted("the connection broke before the end", "trying again goes on from there")
        for item in batch:
            self._show.item("fetched", text_of_path(item.entry.path))

    def _asked(self, batch: list[Wanted], staging: int) -> bytes:
        encoder = Encoder()
        parts = []
        for item in batch:
            entry = item.entry
            offset = 0
            if entry.kind == FILE and entry.size > SMALL_SIZE and entry.path not in self._from_the_start:
                offset = _kept(staging, entry)
                self._show.there(0, offset)
            if self._names is not None:
                entry = entry._replace(path=self._names[0])
            if item.only_mode:
                parts.append(encoder.entry(ENTRY, entry))
            else:
                parts.append(encoder.begin(entry, offset))
        parts.append(encoder.note(END, {}))
        return b"".join(parts)

    # --- afterwards ---------------------------------------------------------------------------------------------------

    def _settle(self, received: list[Sums], outcome: Outcome) -> bool:
        """Take the sums in; returns whether something is fetched again: it came wrong, or changed meanwhile."""
        again = False
        outcome.changed = []
        for sums in received:
            for problem in sums.problems:
                path = problem["path"]
                if problem["code"] in ("digest", "partial") and self._another_try(path):
                    self._from_the_start.add(path.encode("utf-8", "surrogateescape"))
                    again = True
                else:
                    outcome.problem(path, problem["problem"], problem["code"])
            outcome.problem_count += sums.problem_count - len(sums.problems)
            for path in sums.changed:
                if self._another_try(path):
                    again = True
                else:
                    outcome.changed.append(path)
        return again

    def _another_try(self, path: str) -> bool:
        self._tries[path] = self._tries.get(path, 0) + 1
        return self._tries[path] <= _AGAIN

    def _clean_up(self, local: Beneath, staging: int) -> None:
        """Unless another pull into the same folder still needs it; it does it then."""
        if staging >= 0 and _is_ours_alone(staging):
            with contextlib.suppress(OSError, NotFound):
                remove_content(local, STAGING.encode())
                os.rmdir(STAGING, dir_fd=local.root)


def _close_unread(coming: Future[BufferedIOBase]) -> None:
    if coming.exception() is None:
        coming.result().close()


def _staging(local: Beneath) -> int:
    """The folder of half-fetched files, beside what is pulled, held until it is closed. Raises OSError."""
    while True:
        with contextlib.suppress(FileExistsError):
            os.mkdir(STAGING, 0o700, dir_fd=local.root)
        staging = os.open(STAGING, FOLDER_FLAGS, dir_fd=local.root)
        with contextlib.suppress(OSError):  # a file system without locks: then two pulls at once are their user's risk
            hold(staging)
        if os.fstat(staging).st_nlink:
            return staging
        os.close(staging)  # another pull has ended, and has removed it meanwhile


def _is_ours_alone(staging: int) -> bool:
    try:
        fcntl.flock(staging, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _kept(staging: int, entry: Entry) -> int:
    """How far a try before this one has come with the file, in bytes."""
    try:
        name = f"{PARTIAL}{file_key(b'', entry)}"
        size = os.stat(name, dir_fd=staging, follow_symlinks=False).st_size
    except OSError:
        return 0
    return min(size, entry.size) // CHUNK_SIZE * CHUNK_SIZE


def pull(
    link: Link,
    ref: str,
    remote: bytes,
    local: Path,
    *,
    version: str = "",
    name: bytes | None = None,
    all_links: bool = False,
    options: Options | None = None,
    progress: Progress | None = None,
    pauses: tuple[float, ...] = PAUSES,
) -> Outcome:
    """Make the folder `local` as `remote`, a folder of the data or of a `version`, is.

    With a `name`, `remote` is a file, and it becomes the file `name` in `local`. Links that point out of what is pulled are
    left out, unless `all_links`.

    Raises:
        InvalidRequest: the folder cannot be written here.
        ToolkitError: the site refused it; what arrived until then stays.
        Interrupted: no connection, however often it was tried.
    """
    keep_freed_memory()
    options, progress = options or Options(), OneAtATime(progress or Progress())
    names = None
    if name is not None:
        remote, last = split_path(remote)
        names = (last, name)
    path = os.fsencode(local)
    try:
        with contextlib.ExitStack() as stack:
            if not options.dry_run:
                os.makedirs(path, exist_ok=True)
            elif not os.path.lexists(path):
                path = os.fsencode(stack.enter_context(tempfile.TemporaryDirectory()))  # what is not there is empty
            one = _Pull(link, ref, remote, version, path, names, all_links, options, progress)
            if progress.wants_total:
                threading.Thread(target=one.count, daemon=True).start()
            return until_through(one.attempt, Outcome(), progress, pauses)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some, and run the same again: it goes on" if full else "choose another folder"
        raise InvalidRequest(f"cannot write in {str(local)!r}: {error.strerror or error}", hint) from error
