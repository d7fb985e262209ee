"""Where a push puts things, and a pull: what ``LOCAL:REMOTE``, ``REMOTE:LOCAL`` and ``DEST`` mean.

========================  =============================================================================================
``push NAME DIR``         what is in the folder DIR goes into the root of the data
``push NAME DIR:REMOTE``  what is in it goes into the folder REMOTE
``push NAME FILE``        becomes the file of that name in the root
``push NAME FILE:R``      becomes the file R; with ``R/`` or ``.`` it goes into that folder
``pull NAME``             the whole content comes into ``.``
``pull NAME REMOTE DEST`` REMOTE comes into the folder DEST, under its name; with ``REMOTE/`` only what is in it does
``pull NAME A:B``         A becomes B; B is below DEST, if that is given
========================  =============================================================================================

A file that is pulled to a DEST that is no folder becomes that file, as with `cp`. In names, ``\\:`` is a colon.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import click

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.paths import path_of_text, split_path
from toolkit_client.transfer.walk import FOLDER

__all__ = ["PullPlace", "PushPlace", "pull_place", "push_place"]

_COLON = re.compile(r"(?<!\\):")


class PushPlace(NamedTuple):
    """The file or folder here, and the file or folder of the data that it becomes."""

    local: str
    into: bytes


class PullPlace(NamedTuple):
    """What is pulled, and the folder here that it goes into; of a file `name` is the one that it gets there."""

    remote: bytes
    folder: str
    name: bytes | None = None


def push_place(text: str) -> PushPlace:
    """What one ``LOCAL[:REMOTE]`` means.

    Raises:
        InvalidRequest: there is no such file or folder here, or REMOTE is no path.
        click.UsageError: a side of the colon is empty.
    """
    local, remote = (text, None) if os.path.exists(text) else _sides(text, "LOCAL:REMOTE")
    if not os.path.exists(local):
        raise InvalidRequest(f"there is no file or folder {local!r} here", "check the path")
    if os.path.isdir(local):
        return PushPlace(local, path_of_text(remote or ""))
    if remote is None or _means_folder(remote):
        name = os.fsencode(os.path.basename(os.path.abspath(local)))
        folder = path_of_text(remote or "")
        return PushPlace(local, folder + b"/" + name if folder else name)
    return PushPlace(local, path_of_text(remote))


def pull_place(text: str | None, dest: str | None, kind_of: Callable[[bytes], str]) -> PullPlace:
    """What ``[REMOTE[:LOCAL]] [DEST]`` mean; `kind_of` tells what a path of the data is.

    Raises:
        InvalidRequest: REMOTE is no path, or is a file where a folder is meant, or the other way round here.
        click.UsageError: a side of the colon is empty.
        NotFound: there is no such path, as `kind_of` says.
    """
    source, into = _sides(text or ".", "REMOTE:LOCAL")
    remote = path_of_text(source)
    folder = not remote or kind_of(remote) == FOLDER
    if not folder and _means_folder(source):
        raise InvalidRequest(f"{source!r} is a file", f"write {source.rstrip('/.')!r}, without the slash at its end")
    name = split_path(remote)[1]
    if into is not None:
        target = os.path.join(dest, into) if dest else into
        place = PullPlace(remote, target) if folder else _file_place(remote, target, _means_folder(into))
    elif folder:
        content = not remote or _means_folder(source)
        base = dest or "."
        place = PullPlace(remote, base if content else os.path.join(base, os.fsdecode(name)))
    else:
        place = _file_place(remote, dest or ".", dest is None or _means_folder(dest) or os.path.isdir(dest))
    _check_here(place)
    return place


def _sides(text: str, form: str) -> tuple[str, str | None]:
    """Before and behind the first colon."""
    parts = [part.replace("\\:", ":") for part in _COLON.split(text, maxsplit=1)]
    if len(parts) == 1:
        return parts[0], None
    if not all(parts):
        raise click.UsageError(
            f"{text!r} has nothing on one side of its colon: write {form}, or `\\:` for a colon in a name"
        )
    return parts[0], parts[1]


def _means_folder(text: str) -> bool:
    return text.endswith("/") or text.rpartition("/")[2] in (".", "..")


def _file_place(remote: bytes, target: str, into: bool) -> PullPlace:
    """`into`: the target is a folder for the file; otherwise the file itself."""
    if into:
        return PullPlace(remote, target, split_path(remote)[1])
    folder, name = os.path.split(target)
    return PullPlace(remote, folder or ".", os.fsencode(name))


def _check_here(place: PullPlace) -> None:
    plain = place.folder.rstrip("/") or "/"
    if os.path.lexists(plain) and not os.path.isdir(plain):
        raise InvalidRequest(
            f"{place.folder!r} is no folder, and one is needed there", "choose another place, or move it away"
        )
    if place.name is None:
        return
    file = os.path.join(place.folder, os.fsdecode(place.name))
    if os.path.isdir(file) and not os.path.islink(file):
        raise InvalidRequest(
            f"{file!r} is a folder, and the file would be in its place", f"write {file + '/'!r} to put it there"
        )
