"""Listings, pushes and pulls: the gate's end of `toolkit_client.transfer`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator

from aiohttp import web

from toolkit_client.errors import InvalidRequest, NotFound, ServiceUnavailable
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import text_of_path
from toolkit_client.transfer.receiver import Receiver
from toolkit_client.transfer.records import CONTENT_TYPE, NOTE, Encoder
from toolkit_client.transfer.sender import Sender, digest_of, open_file
from toolkit_client.transfer.serving import asked_for, half_sent, listing_blocks, sums_of
from toolkit_client.transfer.staging import hold, release
from toolkit_client.transfer.walk import FILE, Entry, entry_at, order, walk
from toolkit_hub.domain import data_usage
from toolkit_hub.domain.data_content import record_change
from toolkit_hub.gate.data.budget import Budget
from toolkit_hub.gate.data.call import DataCall
from toolkit_hub.gate.data.volume import OpenVolume
from toolkit_hub.volumes.manifest import read_manifest

__all__ = ["CHANGED", "COMMITTED", "NEW", "listing", "pull", "push"]

#: Marks of an entry in a listing: how it stands to the newest version.
NEW, CHANGED, COMMITTED = 1, 2, 3
#: A request for files to pull; the client asks for some thousand at a time.
_LONGEST_ASKED = 16 * 2**20
_HEADERS = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


# --- listings -----------------------------------------------------------------------------------------------------------


async def listing(call: DataCall) -> web.StreamResponse:
    """What a folder holds, in the order of a walk."""
    volume = await call.volume(staging=call.flag("partials"))
    try:
        blocks = _Listing(call, volume).blocks()
        first = await call.threads.run(next, blocks, b"")  # what can be refused is refused before the answer begins
        return await call.stream(_chained(first, blocks), _HEADERS)
    finally:
        await asyncio.to_thread(volume.close)


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


class _Listing:
    """One listing, made in the threads."""

    def __init__(self, call: DataCall, volume: OpenVolume) -> None:
        self._volume = volume
        self._path = call.path()
        self._name = call.query.get("name")
        self._recursive = not call.flag("flat")
        self._status = call.flag("status") and volume.place.version_id is None
        self._digests = call.flag("digests")
        self._partials = call.flag("partials")
        self._missing_is_empty = call.flag("missing")
        self._notes: list[bytes] = []

    def blocks(self) -> Iterator[bytes]:
        with self._volume.beneath() as beneath:
            yield from listing_blocks(
                self._marked(beneath),
                notes=self._notes,
                digest=lambda entry: self._digest(beneath, entry),
                partials=half_sent(self._volume.staging) if self._partials else None,
            )

    def _marked(self, beneath: Beneath) -> Iterator[tuple[Entry, int]]:
        """The entries by their paths in the data's folder that is listed, each with its status."""
        cut = len(self._path) + 1 if self._path else 0
        if not self._status:
            for entry in self._entries(beneath):
                yield entry._replace(path=entry.path[cut:]), 0
            return
        for entry, mark in _with_status(self._entries(beneath), self._committed()):
            yield entry._replace(path=entry.path[cut:]), mark

    def _entries(self, beneath: Beneath) -> Iterator[Entry]:
        version = self._volume.place.version_id
        if version not in (None, "empty"):
            yield from self._of_version()
            return
        try:
            if self._name is not None:
                yield entry_at(beneath, b"/".join(part for part in (self._path, self._name) if part))
            else:
                yield from walk(beneath, self._path, problem=self._problem, recursive=self._recursive)
        except NotFound:
            if not self._missing_is_empty:
                raise

    def _of_version(self) -> Iterator[Entry]:
        """As its manifest says: the modes of the files themselves are those that a version's have."""
        wanted = self._path if self._name is None else b"/".join(part for part in (self._path, self._name) if part)
        before = wanted + b"/" if wanted else b""
        found = not wanted
        for entry in self._committed():
            if self._name is None and entry.path.startswith(before):
                found = True
                if self._recursive or b"/" not in entry.path[len(before) :]:
                    yield entry
            elif entry.path == wanted:
                if self._name is not None:
                    yield entry
                elif entry.kind == FILE:
                    break
                found = True
        if not found and not self._missing_is_empty:
            raise NotFound(f"there is no {text_of_path(wanted)!r} in this version", "")

    def _committed(self) -> Iterator[Entry]:
        if self._volume.manifest < 0:
            return
        with open(os.dup(self._volume.manifest), "rb", buffering=1 << 16) as file:
            file.seek(0)
            yield from read_manifest(file)

    def _digest(self, beneath: Beneath, entry: Entry) -> bytes:
        if not self._digests or entry.kind != FILE:
            return b""
        whole = b"/".join(part for part in (self._path, entry.path) if part)
        try:
            file = open_file(beneath, whole)
        except (OSError, NotFound):
            return b""
        try:
            return digest_of(file, entry.size)
        finally:
            os.close(file)

    def _problem(self, path: bytes, why: str) -> None:
        below = path[len(self._path) + 1 :] if self._path else path
        self._notes.append(Encoder.note(NOTE, {"path": text_of_path(below), "problem": why}))


def _with_status(live: Iterator[Entry], committed: Iterator[Entry]) -> Iterator[tuple[Entry, int]]:
    """Each live entry, and how it stands to what was committed: both come in the order of a walk."""
    old = next(committed, None)
    for entry in live:
        key = order(entry.path)
        while old is not None and order(old.path) < key:
            old = next(committed, None)
        if old is None or old.path != entry.path:
            yield entry, NEW
        elif _as_committed(entry, old):
            yield entry, COMMITTED
        else:
            yield entry, CHANGED


def _as_committed(entry: Entry, old: Entry) -> bool:
    if entry.kind != old.kind or entry.mode != old.mode or entry.target != old.target:
        return False
    return entry.kind != FILE or (entry.size, entry.mtime_ns) == (old.size, old.mtime_ns)


# --- pull ---------------------------------------------------------------------------------------------------------------


async def pull(call: DataCall) -> web.StreamResponse:
    """The files that the body names, from where the caller has them already."""
    asked = await call.body(_LONGEST_ASKED)
    wanted = list(asked_for(asked, as_entry=call.text("version") not in ("", "empty")))
    volume = await call.volume()
    try:
        beneath = await call.threads.run(volume.at, call.path())
        blocks = Sender(beneath).blocks(wanted)
        try:
            return await call.stream(blocks, _HEADERS)
        finally:
            await call.threads.run(beneath.close)
    finally:
        await asyncio.to_thread(volume.close)


# --- push ---------------------------------------------------------------------------------------------------------------


async def push(call: DataCall) -> web.StreamResponse:
    """Take files in. The answer says what came of each that could not be taken."""
    volume = await call.volume(staging=True)
    try:
        await call.threads.run(hold, volume.staging)
        try:
            return await _Push(call, volume).run()
        finally:
            await call.threads.run(release, volume.staging)
    finally:
        await asyncio.to_thread(volume.close)


class _Push:
    """One push, fed block by block: while one is written, the next one comes in."""

    def __init__(self, call: DataCall, volume: OpenVolume) -> None:
        self._call, self._volume = call, volume
        self._path = call.path()
        self._noted = (0, 0)

    async def run(self) -> web.StreamResponse:
        call = self._call
        budget = Budget(await call.room(), self._volume.root, call.means.site.disk_floor)
        beneath = await call.threads.run(self._volume.at, self._path, make=True)
        receiver = Receiver(
            beneath,
            self._volume.staging,
            base=self._path,
            replace=call.flag("replace"),
            before_write=budget.take,
        )
        writing: asyncio.Task[None] | None = None
        try:
            async for block in call.blocks():
                if writing is not None:
                    await writing
                writing = asyncio.create_task(call.threads.run(receiver.feed, block))
                if receiver.sums.disk - self._noted[0] > 64 * 2**20:
                    await self._note(receiver)
                    budget.renew(await call.room())
            if writing is not None:
                await writing
            if not receiver.ended:
                raise InvalidRequest("the stream breaks off before its end", "send it again: what has arrived is kept")
        finally:
            if writing is not None:
                await asyncio.wait([writing])
            await call.threads.run(receiver.close)
            await call.threads.run(beneath.close)
            with contextlib.suppress(ServiceUnavailable):  # the next measurement finds it
                await self._note(receiver, last=True)
        return web.json_response(sums_of(receiver))

    async def _note(self, receiver: Receiver, *, last: bool = False) -> None:
        """Count what has arrived to the account's use; at the end, tell what was changed."""
        sums, place = receiver.sums, self._call.place
        disk, inodes = sums.disk - self._noted[0], sums.inodes - self._noted[1]
        self._noted = (sums.disk, sums.inodes)
        store = self._call.means.store
        if disk or inodes:
            await store.write(data_usage.add_usage, place.data_id, disk, inodes)
        if last and (sums.files or sums.removed or sums.inodes):
            facts = {"files": sums.files, "bytes": sums.size, "removed": sums.removed}
            await store.write(record_change, self._call.actor, "data.pushed", place, self._path, facts)
