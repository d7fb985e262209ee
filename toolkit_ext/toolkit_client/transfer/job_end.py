"""The job's end of ``toolkit job upload``, ``download`` and ``ls``, a program that their other end runs in the job.

::

    python3 -I -m toolkit_client.transfer.job_end WHAT QUERY

QUERY is JSON. On stdout there is a line of JSON first: ``{}``, or the error; then what the gate answers for data (`serving`).
Paths are those of the container without their first slash. The program has no more rights than any command in the job, and the
other end trusts nothing that it says.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from toolkit_client.errors import Conflict, InternalError, NotFound, ToolkitError
from toolkit_client.transfer.beneath import FOLDER_FLAGS, Beneath
from toolkit_client.transfer.partial import PartialBusy, open_partial
from toolkit_client.transfer.paths import path_of_text, text_of_path
from toolkit_client.transfer.receiver import PARTIAL, Receiver
from toolkit_client.transfer.records import NOTE, Encoder
from toolkit_client.transfer.remove import remove_path
from toolkit_client.transfer.sender import Sender, digest_of, open_file
from toolkit_client.transfer.serving import asked_for, half_sent, listing_blocks, sums_of
from toolkit_client.transfer.walk import FILE, Entry, entry_at, entry_of, walk

__all__ = ["STAGING", "main"]

#: Folder beside what is uploaded, for files that are not whole yet.
STAGING = b".toolkit-push"
_READ = 1 << 20
#: Seconds for which a new transfer waits for one that was cut to let go; that ends by itself before.
_BUSY_S = 8.0

Query = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Answer one request; returns the exit status, which is 0 when the answer was an error as well."""
    what, query = arguments[0], json.loads(arguments[1])
    try:
        blocks = WHATS[what](query)
        first = next(blocks)  # what can be refused is refused before the answer begins
    except ToolkitError as error:
        return _write(json.dumps(error.body()).encode() + b"\n")
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        refused = Conflict(f"{where}{error.strerror or error}, in the job", "see what the job's user may do there")
        return _write(json.dumps(refused.body()).encode() + b"\n")
    _write(b"{}\n" + first)
    for block in blocks:
        _write(block)
    return 0


def _write(data: bytes) -> int:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return 0


def _path(query: Query) -> bytes:
    return path_of_text(str(query.get("path", "")))


def _folder(query: Query, *, make: bool = False) -> Beneath:
    """The folder that is asked about. Raises `NotFound`, OSError."""
    path = b"/" + _path(query)
    if make:
        os.makedirs(path, exist_ok=True)
    try:
        return Beneath(path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no folder {text_of_path(path)!r} in the job", "") from None


# --- what there is ------------------------------------------------------------------------------------------------------


def resolve(query: Query) -> Iterator[bytes]:
    """Where a path of the user's leads, from the home on and through links; and what is there, None for nothing."""
    written = os.fsencode(str(query["path"]))
    if written == b"~" or written.startswith(b"~/"):
        written = written[2:]
    path = os.path.realpath(os.path.join(os.fsencode(os.path.expanduser("~")), written))
    try:
        kind = entry_of(path, os.stat(path)).kind
    except FileNotFoundError:
        kind = None
    except NotADirectoryError:
        raise NotFound(f"something on the way to {query['path']!r} is no folder", "") from None
    yield json.dumps({"path": text_of_path(path.lstrip(b"/")), "kind": kind}).encode()


def listing(query: Query) -> Iterator[bytes]:
    """As the gate's."""
    notes: list[bytes] = []

    def problem(path: bytes, why: str) -> None:
        notes.append(Encoder.note(NOTE, {"path": text_of_path(path), "problem": why}))

    try:
        beneath = _folder(query)
    except NotFound:
        if not query.get("missing"):
            raise
        yield from listing_blocks([], notes=notes, partials={} if query.get("partials") else None)
        return
    with beneath:
        yield from listing_blocks(
            ((entry, 0) for entry in _entries(beneath, query, problem)),
            notes=notes,
            digest=(lambda entry: _digest(beneath, entry)) if query.get("digests") else lambda entry: b"",
            partials=_partials(beneath) if query.get("partials") else None,
        )


def _entries(beneath: Beneath, query: Query, problem: Callable[[bytes, str], None]) -> Iterator[Entry]:
    name = query.get("name")
    if name is None:
        flat = bool(query.get("flat"))
        yield from walk(beneath, problem=problem, leave_out=lambda path: path == STAGING, recursive=not flat)
        return
    try:
        yield entry_at(beneath, path_of_text(str(name)))
    except NotFound:
        if not query.get("missing"):
            raise


def _digest(beneath: Beneath, entry: Entry) -> bytes:
    if entry.kind != FILE:
        return b""
    try:
        file = open_file(beneath, entry.path)
    except (OSError, NotFound):
        return b""
    try:
        return digest_of(file, entry.size)
    finally:
        os.close(file)


def _partials(beneath: Beneath) -> dict[str, int]:
    try:
        staging = os.open(STAGING, FOLDER_FLAGS, dir_fd=beneath.root)
    except OSError:
        return {}
    try:
        deadline = time.monotonic() + _BUSY_S
        while _busy(staging) and time.monotonic() < deadline:
            time.sleep(0.1)
        return half_sent(staging)
    finally:
        os.close(staging)


def _busy(staging: int) -> bool:
    """Whether some half-sent file is still held, as by a transfer whose other end has just gone."""
    for name in os.listdir(staging):
        if name.startswith(PARTIAL):
            try:
                os.close(open_partial(staging, name))
            except PartialBusy:
                return True
    return False


# --- out and in ---------------------------------------------------------------------------------------------------------


def pull(query: Query) -> Iterator[bytes]:
    """The files that stdin names."""
    wanted = list(asked_for(sys.stdin.buffer.read()))
    with _folder(query) as beneath:
        yield from Sender(beneath).blocks(wanted)


def push(query: Query) -> Iterator[bytes]:
    """Take in what comes on stdin; the answer says what came of it."""
    with _folder(query, make=True) as beneath:
        with contextlib.suppress(FileExistsError):
            os.mkdir(STAGING, 0o700, dir_fd=beneath.root)
        staging = os.open(STAGING, FOLDER_FLAGS, dir_fd=beneath.root)
        try:
            receiver = Receiver(beneath, staging, base=_path(query), replace=bool(query.get("replace")))
            try:
                while block := os.read(0, _READ):
                    receiver.feed(block)
            finally:
                receiver.close()
        finally:
            os.close(staging)
    if not receiver.ended:
        raise InternalError("the stream breaks off before its end", "send it again: what has arrived is kept")
    yield json.dumps(sums_of(receiver)).encode()


def clean(query: Query) -> Iterator[bytes]:
    """After an upload that is through: what helped it is removed."""
    with contextlib.suppress(NotFound, OSError), _folder(query) as beneath:
        remove_path(beneath, STAGING)
    yield b"{}"


WHATS: dict[str, Callable[[Query], Iterator[bytes]]] = {
    "resolve": resolve,
    "listing": listing,
    "pull": pull,
    "push": push,
    "clean": clean,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
