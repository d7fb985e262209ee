"""Push: the data becomes as a local folder is, by sending what differs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit_client.errors import InvalidRequest, NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.compare import Comparison, Options, leave_out, without
from toolkit_client.transfer.link import Link, Query, interruptions, records_of
from toolkit_client.transfer.memory import keep_freed_memory
from toolkit_client.transfer.outcome import PAUSES, Outcome, until_through
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.progress import OneAtATime, Progress
from toolkit_client.transfer.records import CHUNK_SIZE, ENTRY, NOTE, SMALL_SIZE, file_key
from toolkit_client.transfer.sender import Sender, Wanted, digest_of, open_file
from toolkit_client.transfer.streams import SideStreams, folders_above
from toolkit_client.transfer.walk import FILE, FOLDER, OTHER, Entry, Problem, entry_at, order, walk

__all__ = ["Listing", "push"]

#: A file that arrived with a wrong hash, or changed meanwhile, is sent again so many times.
_AGAIN = 2
#: Seconds between signs of life of a main stream that waits for others: the gate gives up on silence.
_SIGN_OF_LIFE_S = 20.0


class Listing:
    """What the other end has, as it comes. `partials` are known once the first entry is.

    `problem` is told of what could not be read there, after the entry before it and before the one that follows.
    """

    def __init__(
        self,
        link: Link,
        ref: str,
        *,
        problem: Problem = lambda path, why: None,
        **query: str | bytes | bool | None,
    ) -> None:
        self._records = records_of(link.open("GET", ref, "listing", query=query))
        self._problem = problem
        self.partials: dict[str, int] = {}
        self.digests = query.get("digests") is True
        self.digest = b""

    def entries(self) -> Iterator[Entry]:
        for entry, _ in self.marked():
            yield entry

    def marked(self) -> Iterator[tuple[Entry, int]]:
        """The entries, each with its mark: how it stands to the newest version, where `status` was asked for."""
        for record in self._records:
            if record.type == ENTRY:
                self.digest = record.extra
                yield record.entry, record.mark
            elif record.type == NOTE:
                facts = json.loads(record.extra)
                if "partials" in facts:
                    self.partials = dict(facts["partials"])
                else:
                    path = str(facts.get("path", "")).encode("utf-8", "surrogateescape")
                    self._problem(path, str(facts.get("problem", "")))

    def has_content(self, beneath: Beneath, path: bytes, size: int) -> bool:
        """Whether the file `path` here has the content of the entry that came last; digests were asked for."""
        try:
            file = open_file(beneath, path)
        except (OSError, NotFound):
            return False
        try:
            return digest_of(file, size) == self.digest
        finally:
            os.close(file)


class _Push:
    """One command; several tries."""

    def __init__(
        self,
        link: Link,
        ref: str,
        local: bytes,
        file: bytes,
        into: bytes,
        name: bytes | None,
        options: Options,
        show: Progress,
    ) -> None:
        """With a `name`, only the file `file` of the folder `local` is sent, and gets that name."""
        self._link, self._ref, self._options, self._show = link, ref, options, show
        self._local, self._file, self._into, self._name = local, file, into, name
        self._leave_out = leave_out(options.exclude)
        self._tries: dict[str, int] = {}
        #: Half-sent files that turned out wrong are not gone on with.
        self._from_the_start: set[str] = set()
        self._lock = threading.Lock()

    def attempt(self, outcome: Outcome) -> bool:
        """Send what differs now. Returns false if something has to be sent again. Raises Interrupted."""
        with Beneath(self._local) as beneath:
            # Asked before the push begins: what is refused is refused here.
            listing = Listing(
                self._link,
                self._ref,
                path=self._into,
                name=self._name,
                partials=True,
                digests=self._options.checksum,
                missing=True,
            )
            items = self._wanted(beneath, listing, outcome)
            if self._options.dry_run:
                for item in items:
                    self._show.item("would remove" if item.remove else "would send", self._shown(item))
                return True
            with SideStreams(lambda item: self._send_beside(item, side, outcome)) as side:
                blocks = Sender(beneath).blocks(self._with_large_ones_beside(items, side))
                sums = [self._send(self._counted(blocks, outcome)), *side.sums]
        return self._settle(sums, outcome)

    def _send(self, blocks: Iterator[bytes]) -> dict[str, Any]:
        """One stream; the sums that answer it."""
        query: Query = {"path": self._into, "replace": self._options.delete}
        answer = self._link.open("POST", self._ref, "push", query=query, body=blocks)
        with answer, interruptions("the site"):
            sums: dict[str, Any] = json.loads(answer.read())
            return sums

    def _send_beside(self, item: Wanted, side: SideStreams[dict[str, Any]], outcome: Outcome) -> dict[str, Any]:
        with Beneath(self._local) as beneath:
            blocks = side.as_long_as_wished(Sender(beneath).blocks([item]))
            sums = self._send(self._counted(blocks, outcome))
        self._tell(item)
        return sums

    def _with_large_ones_beside(
        self, items: Iterator[Wanted], side: SideStreams[dict[str, Any]]
    ) -> Iterator[Wanted | None]:
        """What goes in the main stream. Folders that large files went into get their times at its end."""
        written: set[bytes] = set()
        for item in items:
            if side.take(item):
                written.update(folders_above(item.as_path or item.entry.path))
            else:
                yield item
                self._tell(item)
        while not side.finished(_SIGN_OF_LIFE_S):
            yield None
        if self._name is None and written:
            with Beneath(self._local) as beneath:
                for path in sorted(written, key=order):
                    with contextlib.suppress(NotFound, OSError):
                        yield Wanted(entry_at(beneath, path))

    def _wanted(self, beneath: Beneath, listing: Listing, outcome: Outcome) -> Iterator[Wanted]:
        comparison = Comparison(
            self._options, lambda mine, _: listing.has_content(beneath, self._here(mine.path), mine.size)
        )
        theirs = without(listing.entries(), self._leave_out, comparison.keep)
        files = size = 0
        for item in comparison.wanted(self._source(beneath, comparison, outcome), theirs):
            if comparison.unchanged != files:
                self._show.there(comparison.unchanged - files, comparison.unchanged_size - size)
                files, size = comparison.unchanged, comparison.unchanged_size
            yield self._continued(item, listing)
        self._show.there(comparison.unchanged - files, comparison.unchanged_size - size)
        outcome.unchanged = comparison.unchanged

    def _source(self, beneath: Beneath, comparison: Comparison, outcome: Outcome) -> Iterator[Entry]:
        if self._name is not None:
            yield entry_at(beneath, self._here(self._name))._replace(path=self._name)
            return

        def problem(path: bytes, why: str) -> None:
            comparison.spare(path)
            outcome.problem(text_of_path(path), why)

        for entry in walk(beneath, problem=problem, leave_out=self._leave_out):
            if entry.kind == OTHER:
                outcome.problem(text_of_path(entry.path), "neither a file nor a folder nor a link: left out")
            else:
                yield entry

    def _here(self, path: bytes) -> bytes:
        """The local name of what is called `path` there: a single file may have another one."""
        return self._file if self._name is not None else path

    def _continued(self, item: Wanted, listing: Listing) -> Wanted:
        """From where a try before this one was cut; and under its local name, if that is another one."""
        entry = item.entry
        if entry.kind == FILE and not item.remove and entry.size > SMALL_SIZE:
            key = file_key(self._into, entry)
            there = listing.partials.get(key, 0) // CHUNK_SIZE * CHUNK_SIZE
            if 0 < there <= entry.size and text_of_path(entry.path) not in self._from_the_start:
                item = item._replace(offset=there)
                self._show.there(0, there)
        if self._name is not None and not item.remove:
            item = item._replace(entry=entry._replace(path=self._here(entry.path)), as_path=self._name)
        return item

    def _counted(self, blocks: Iterator[bytes], outcome: Outcome) -> Iterator[bytes]:
        for block in blocks:
            yield block
            with self._lock:
                outcome.moved += len(block)
            self._show.passed(0, len(block))

    def _settle(self, answers: list[dict[str, Any]], outcome: Outcome) -> bool:
        """Take the sums in. What arrived wrong, or changed meanwhile, is sent again; returns whether nothing has to be."""
        again = False
        outcome.changed = []
        for sums in answers:
            outcome.take(sums)
            told = sums.get("problems", [])
            for problem in told:
                path = str(problem.get("path", ""))
                if problem.get("code") in ("digest", "partial") and self._another_try(path):
                    self._from_the_start.add(path)
                    again = True
                else:
                    outcome.problem(path, str(problem.get("problem", "")), str(problem.get("code", "")))
            outcome.problem_count += max(0, int(sums.get("problemCount", 0)) - len(told))
            for path in sums.get("changed", []):
                if self._another_try(path):
                    again = True
                else:
                    outcome.changed.append(path)
        return not again

    def _another_try(self, path: str) -> bool:
        self._tries[path] = self._tries.get(path, 0) + 1
        return self._tries[path] <= _AGAIN

    def _tell(self, item: Wanted) -> None:
        self._show.item("removed" if item.remove else "sent", self._shown(item))
        if item.entry.kind == FILE and not item.remove:
            self._show.passed(1, 0)

    def _shown(self, item: Wanted) -> str:
        path = item.as_path or item.entry.path
        return text_of_path(path) + ("/" if item.entry.kind == FOLDER else "")


def push(
    link: Link,
    ref: str,
    local: Path,
    into: bytes = b"",
    options: Options | None = None,
    progress: Progress | None = None,
    pauses: tuple[float, ...] = PAUSES,
) -> Outcome:
    """Make `into`, a folder of the data, as the folder `local`; or, if that is a file, make it the file `into`.

    Raises:
        InvalidRequest: there is no such file or folder, or it cannot be read.
        ToolkitError: the site refused it; what arrived until then stays.
        Interrupted: no connection, however often it was tried.
    """
    keep_freed_memory()
    options, progress = options or Options(), OneAtATime(progress or Progress())
    path = os.fsencode(local)
    name: bytes | None = None
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            raise InvalidRequest(f"there is no file or folder {str(local)!r} here", "check the path")
        into, name = split_path(into) if into else (b"", os.path.basename(os.path.abspath(path)))
    root = path if name is None else os.path.dirname(os.path.abspath(path))
    one = _Push(link, ref, root, os.path.basename(path), into, name, options, progress)
    try:
        _count(progress, root if name is None else None, os.stat(path).st_size, options)
        return until_through(one.attempt, Outcome(), progress, pauses)
    except OSError as error:
        raise InvalidRequest(f"cannot read {str(local)!r}: {error.strerror or error}", "") from error


def _count(progress: Progress, root: bytes | None, size: int, options: Options) -> None:
    """How much there is, looked up beside the transfer: for the time that it still takes."""
    if not progress.wants_total:
        return
    if root is None:
        progress.total(1, size)
        return

    def count() -> None:
        files = total = 0
        try:
            with Beneath(root) as beneath:
                for entry in walk(beneath, leave_out=leave_out(options.exclude)):
                    files += entry.kind == FILE
                    total += entry.size
        except (OSError, NotFound):
            return  # the push itself says what is wrong
        progress.total(files, total)

    threading.Thread(target=count, daemon=True).start()
