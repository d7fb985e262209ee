"""One folder of a volume, to look at: a page of its entries, folders first, each kind by the bytes of its names.

However much a folder holds, only one page of it is ever kept: a page begins behind a place (or ends before one), so that no page
costs more than the first.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from toolkit_client.errors import InvalidRequest, NotFound, ServiceUnavailable
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import text_of_path
from toolkit_client.transfer.walk import FOLDER, Entry, entry_at
from toolkit_hub.volumes.jobs_user import as_jobs_user
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.manifest import BrokenManifest, read_manifest

__all__ = ["PAGE", "FolderPage", "Spot", "look"]

#: Entries of a page.
PAGE = 500
#: Bytes of a path that can be looked at so (PATH_MAX): each entry of a page has a link with the whole of it.
LONGEST_PATH = 4096


class Spot(NamedTuple):
    """A place in the order of a folder: whether it is among what is no folder, and the name."""

    late: bool
    name: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Spot | None:
        """What `str` made. None for anything else."""
        return cls(raw[:1] == b"f", raw[1:]) if raw[:1] in (b"d", b"f") else None

    def __bytes__(self) -> bytes:
        return (b"f" if self.late else b"d") + self.name


@dataclass(frozen=True)
class FolderPage:
    """`first` is the position of the first entry, from 0, of `total`. `before` and `after`: where the pages next to it are."""

    entries: list[Entry]
    total: int
    first: int
    before: Spot | None
    after: Spot | None


def look(
    volumes: Volumes,
    data_id: str,
    version_id: str | None,
    path: bytes,
    *,
    after: Spot | None = None,
    before: Spot | None = None,
    page: int = PAGE,
) -> FolderPage:
    """The page of the folder `path` that begins behind `after`, or ends before `before`. Blocks.

    Raises:
        InvalidRequest: the path is too long to be looked at.
        NotFound: there is no such folder.
        ServiceUnavailable: the files cannot be read.
    """
    if len(path) > LONGEST_PATH:
        raise InvalidRequest(
            "this folder lies too deep to be looked at here",
            "in a terminal: `toolkit data content ls`, `toolkit data pull`",
        )
    try:
        if version_id is None:
            return _look_at_files(volumes, data_id, path, after, before, page)
        if version_id == "empty":
            return _pick(iter(_found(path, [], there=not path)), after, before, page)
        return _look_at_version(volumes, data_id, version_id, path, after, before, page)
    except (OSError, BrokenManifest) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ServiceUnavailable(
            f"this folder cannot be read: {why}", "an administrator can look at `toolkit admin doctor`"
        ) from error


def _look_at_files(
    volumes: Volumes, data_id: str, path: bytes, after: Spot | None, before: Spot | None, page: int
) -> FolderPage:
    """The live content: the names that it has now, and of those on the page what they are."""
    try:
        root = os.open(volumes.live(data_id), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # nothing was ever put there
        return _pick(iter(_found(path, [], there=not path)), after, before, page)
    with as_jobs_user(), Beneath(root) as beneath, os.scandir(beneath.folder(path)) as names:
        found = _pick((_named(path, item) for item in names), after, before, page)
        entries = []
        for entry in found.entries:
            with contextlib.suppress(NotFound):  # it went just now
                entries.append(entry_at(beneath, entry.path))
    return FolderPage(entries, found.total, found.first, found.before, found.after)


def _named(folder: bytes, item: os.DirEntry[str]) -> Entry:
    """As much of an entry as its name and kind."""
    try:
        kind = FOLDER if item.is_dir(follow_symlinks=False) else ""
    except OSError:
        kind = ""
    return Entry(_joined(folder, os.fsencode(item.name)), kind, 0, 0, 0)


def _look_at_version(
    volumes: Volumes, data_id: str, version_id: str, path: bytes, after: Spot | None, before: Spot | None, page: int
) -> FolderPage:
    """As its list says: the files themselves have a version's modes, and not those that were committed."""
    with open(volumes.manifest(data_id, version_id), "rb", buffering=1 << 16) as file:
        return _pick(_children(read_manifest(file), path), after, before, page)


def _children(entries: Iterable[Entry], path: bytes) -> Iterator[Entry]:
    """What lies in the folder `path`, of a list in the order of a walk. Raises NotFound."""
    inside, there = _joined(path, b""), not path
    for entry in entries:
        if entry.path.startswith(inside):
            if b"/" not in entry.path[len(inside) :]:
                yield entry
        elif entry.path == path:
            there = entry.kind == FOLDER
        elif there:
            break  # the folder's part of the list is over
    yield from _found(path, [], there=there)


def _found(path: bytes, entries: list[Entry], *, there: bool) -> list[Entry]:
    if not there:
        raise NotFound(f"there is no folder {text_of_path(path)!r} in it", "it may have been moved or removed")
    return entries


def _pick(entries: Iterator[Entry], after: Spot | None, before: Spot | None, page: int) -> FolderPage:
    """One page of the entries, which come in any order."""
    total = earlier = later = 0

    def wanted() -> Iterator[Entry]:
        nonlocal total, earlier, later
        for entry in entries:
            total += 1
            spot = spot_of(entry)
            if before is not None and spot >= before:
                later += 1
            elif after is not None and spot <= after:
                earlier += 1
            else:
                yield entry

    if before is not None and after is None:
        picked = heapq.nlargest(page, wanted(), key=spot_of)[::-1]
        earlier = total - later - len(picked)
    else:
        picked = heapq.nsmallest(page, wanted(), key=spot_of)
    more = total - earlier - len(picked)
    return FolderPage(
        picked,
        total,
        earlier,
        spot_of(picked[0]) if picked and earlier else None,
        spot_of(picked[-1]) if picked and more else None,
    )


def spot_of(entry: Entry) -> Spot:
    return Spot(entry.kind != FOLDER, entry.path.rpartition(b"/")[2])


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name
