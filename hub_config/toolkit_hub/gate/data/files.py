"""Single files in and out, whole folders as an archive, and changes of names.

Whatever it is, a browser gets content only to save it: users wrote it, and it is never a page of this host.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from aiohttp import web

from toolkit_client.errors import Conflict, InvalidRequest, NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import path_of_text, split_path, text_of_path, told_path
from toolkit_client.transfer.remove import remove_content, remove_path
from toolkit_client.transfer.sender import open_file
from toolkit_client.transfer.walk import FOLDER, entry_at
from toolkit_hub.domain import data_usage
from toolkit_hub.domain.data_content import record_change
from toolkit_hub.gate.data.budget import Budget
from toolkit_hub.gate.data.call import DataCall
from toolkit_hub.volumes.archive import archive_blocks
from toolkit_hub.volumes.part_upload import PartUpload, UploadedFile

__all__ = ["archive", "download", "have", "make_folders", "move", "remove", "upload"]

_READ = 512 * 1024
_LONGEST_BODY = 4 * 2**20
#: A browser sends a file in parts of some MiB.
_LONGEST_PART = 64 * 2**20
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")


def _saved_as(name: bytes) -> dict[str, str]:
    """Headers of what is only ever saved."""
    shown = name.decode("utf-8", "replace")
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", shown)
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


# --- out ----------------------------------------------------------------------------------------------------------------


async def download(call: DataCall) -> web.StreamResponse:
    """One file, or the range of it that is asked for."""
    path = call.path()
    volume = await call.volume()
    try:
        file = await call.threads.run(_open, volume.beneath(), path)
    finally:
        await asyncio.to_thread(volume.close)
    try:
        size = os.fstat(file).st_size
        headers = _saved_as(split_path(path)[1]) | {"Accept-Ranges": "bytes"}
        start, end, partial = _range(call.request.headers.get("Range"), size)
        headers["Content-Length"] = str(end - start)
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        if call.request.method == "HEAD":
            return web.Response(headers=headers)
        return await call.stream(_bytes_of(file, start, end), headers, status=206 if partial else 200)
    finally:
        os.close(file)


def _open(beneath: Beneath, path: bytes) -> int:
    with beneath:
        return open_file(beneath, path)


def _bytes_of(file: int, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        block = os.pread(file, min(_READ, end - start), start)
        if not block:
            raise ConnectionResetError("the file became shorter while it was read")
        start += len(block)
        yield block


def _range(header: str | None, size: int) -> tuple[int, int, bool]:
    """First byte, the byte behind the last, and whether that is a part. A range that cannot be is as if none were asked for
    (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or not (match[1] or match[2]):
        return 0, size, False
    if match[1] is None:
        start, end = max(size - int(match[2]), 0), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    return (start, end, True) if start < end else (0, size, False)


async def archive(call: DataCall) -> web.StreamResponse:
    """A folder as one tar file, made while it is sent."""
    path = call.path()
    volume = await call.volume()
    try:
        entry = await call.threads.run(_entry, volume.beneath(), path)
        if entry.kind != FOLDER:
            raise InvalidRequest(f"{text_of_path(path)!r} is no folder", "download it as a file")
        name = split_path(path)[1] or os.fsencode(call.place.full_name.rpartition(".")[2] or "data")
        beneath = volume.beneath()
        headers = _saved_as(name + b".tar") | {"Content-Type": "application/x-tar"}
        try:
            return await call.stream(archive_blocks(beneath, path, name), headers)
        finally:
            await call.threads.run(beneath.close)
    finally:
        await asyncio.to_thread(volume.close)


def _entry(beneath: Beneath, path: bytes) -> Any:
    with beneath:
        return entry_at(beneath, path)


# --- in -----------------------------------------------------------------------------------------------------------------


def _uploaded(call: DataCall) -> UploadedFile:
    path = call.path()
    if not path:
        raise InvalidRequest("the file has no name", "give its path")
    return UploadedFile(path, call.number("size"), call.number("mtime") * 1_000_000, call.actor.user_id)


async def have(call: DataCall) -> web.StreamResponse:
    """How much of a file is here already, for whoever goes on with it."""
    volume = await call.volume(staging=True)
    try:
        size = await call.threads.run(PartUpload.have, volume.staging, _uploaded(call))
    finally:
        await asyncio.to_thread(volume.close)
    return web.json_response({"have": size})


async def upload(call: DataCall) -> web.StreamResponse:
    """One part of a file: bytes from `offset` on of the `size` that it has. `Content-Digest` (RFC 9530) is checked."""
    wanted, offset, digest = _uploaded(call), call.number("offset"), _content_digest(call)
    volume = await call.volume(staging=True)
    try:
        budget = Budget(await call.room(), volume.root, call.means.site.disk_floor)
        budget.take(min(wanted.size - offset, _LONGEST_PART) if wanted.size > offset else 0)
        part = await call.threads.run(PartUpload, volume.staging, wanted, offset)
        try:
            received = 0
            async for block in call.blocks():
                received += len(block)
                if received > _LONGEST_PART:
                    raise InvalidRequest("a part has 64 MiB at most", "send smaller parts")
                await call.threads.run(part.write, block)
            with volume.beneath() as beneath:
                there = await call.threads.run(part.finish, beneath, digest)
        finally:
            await call.threads.run(part.close)
    finally:
        await asyncio.to_thread(volume.close)
    await call.means.store.write(data_usage.add_usage, call.place.data_id, received, int(there == wanted.size))
    if there == wanted.size:
        await _tell(call, "data.uploaded", wanted.path, bytes=wanted.size)
    return web.json_response({"have": there, "whole": there == wanted.size})


def _content_digest(call: DataCall) -> bytes | None:
    header = call.request.headers.get("Content-Digest")
    if header is None:
        return None
    match = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", header)
    try:
        return base64.b64decode(match[1], validate=True) if match else None
    except binascii.Error:
        raise InvalidRequest("Content-Digest is not well-formed", "see RFC 9530") from None


# --- names --------------------------------------------------------------------------------------------------------------


async def remove(call: DataCall) -> web.StreamResponse:
    """Remove files and folders; `.` is all that is there."""
    paths = [path_of_text(text) for text in _texts(await _json(call), "paths")]
    volume = await call.volume()
    try:
        removed = await call.threads.run(_remove_all, volume.beneath(), paths)
    finally:
        await asyncio.to_thread(volume.close)
    for path in paths:
        await _tell(call, "data.removed", path, names=removed)
    return web.json_response({"removed": removed})


def _remove_all(beneath: Beneath, paths: list[bytes]) -> int:
    with beneath:
        for path in paths:
            if path:
                entry_at(beneath, path)  # what is not there is said before anything goes
        return sum(remove_path(beneath, path) if path else remove_content(beneath, b"") for path in paths)


async def make_folders(call: DataCall) -> web.StreamResponse:
    """Make folders, with those that they lie in. One that is there already is fine."""
    paths = [path_of_text(text) for text in _texts(await _json(call), "paths")]
    volume = await call.volume()
    try:
        await call.threads.run(_make_all, volume.beneath(), paths)
    finally:
        await asyncio.to_thread(volume.close)
    for path in paths:
        await _tell(call, "data.folderMade", path)
    return web.json_response({"made": len(paths)})


def _make_all(beneath: Beneath, paths: list[bytes]) -> None:
    with beneath:
        for path in paths:
            beneath.folder(path, make=True)


async def move(call: DataCall) -> web.StreamResponse:
    """Give a file or folder another name or place in the same data. What is there already is not overwritten, unless that is
    asked for."""
    body = await _json(call)
    source, target = (path_of_text(_text(body, name)) for name in ("from", "to"))
    if not source or not target:
        raise InvalidRequest("the data's own root cannot be moved", "`toolkit data set --name` renames the data")
    if _within(source, target):
        raise InvalidRequest("a folder cannot be moved into itself", "")
    volume = await call.volume()
    try:
        await call.threads.run(_move, volume.beneath(), source, target, bool(body.get("overwrite")))
    finally:
        await asyncio.to_thread(volume.close)
    await _tell(call, "data.moved", source, to=told_path(target)[:300])
    return web.json_response({"moved": text_of_path(target)})


def _within(folder: bytes, path: bytes) -> bool:
    return path.startswith(folder + b"/")


def _move(beneath: Beneath, source: bytes, target: bytes, overwrite: bool) -> None:
    with beneath, Beneath(os.dup(beneath.root)) as other:
        entry_at(beneath, source)
        try:
            there = entry_at(other, target)
        except NotFound:
            there = None
        if there is not None and not overwrite:
            raise Conflict(f"there is a {there.kind} {text_of_path(target)!r} already", "give another name, or --force")
        (from_folder, from_name), (to_folder, to_name) = split_path(source), split_path(target)
        try:
            os.rename(
                from_name,
                to_name,
                src_dir_fd=beneath.folder(from_folder),
                dst_dir_fd=other.folder(to_folder, make=True),
            )
        except (IsADirectoryError, NotADirectoryError, OSError) as error:
            why = f"{text_of_path(target)!r} cannot be overwritten: {error.strerror}"
            raise Conflict(why, "remove it first") from None


async def _json(call: DataCall) -> dict[str, Any]:
    try:
        body = json.loads(await call.body(_LONGEST_BODY))
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise InvalidRequest("the request is no JSON object", "")
    return body


def _texts(body: dict[str, Any], name: str) -> list[str]:
    found = body.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise InvalidRequest(f"{name} is a list of paths", "")
    return found


def _text(body: dict[str, Any], name: str) -> str:
    found = body.get(name)
    if not isinstance(found, str):
        raise InvalidRequest(f"{name} is a path", "")
    return found


async def _tell(call: DataCall, type_: str, path: bytes, **facts: int | str) -> None:
    await call.means.store.write(record_change, call.actor, type_, call.place, path, facts)
