"""Files of images and containers: single ones of an image, read without running anything of it; a container's own layer."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tarfile
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

__all__ = ["PROBE_LABEL", "overlay_layer", "read_image_files"]

#: Label of a container that only shows an image's files and is never started.
PROBE_LABEL = "toolkit.probe"
#: Bits of the engine's file modes (Go's): what tells a link, and what tells that it is no regular file.
GO_SYMLINK = 1 << 27
GO_TYPE_BITS = 1 << 31 | GO_SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
LINKS_FOLLOWED = 3


def read_image_files(
    client: Any, image: str, paths: Sequence[str], limit: int, labels: dict[str, str]
) -> dict[str, bytes]:
    """See `Engine.image_files`. `client` is a docker ``APIClient``, whose errors pass."""
    labels = {PROBE_LABEL: "files", **labels}
    config = {"Image": image, "Entrypoint": ["none"], "Labels": labels, "NetworkDisabled": True}
    created = str(client.create_container_from_config(config)["Id"])
    try:
        found = {path: _content(client, created, path, limit) for path in paths}
    finally:
        # Labelled with its site, it is found and removed later; what it showed counts all the same.
        with contextlib.suppress(Exception):
            client.remove_container(created, force=True, v=True)
    return {path: content for path, content in found.items() if content is not None}


def overlay_layer(pid: int) -> str | None:
    """The writable layer of a running container as the kernel has it mounted, for engines that do not tell it."""
    try:
        lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        about, _, options = line.partition(" - ")
        if about.split()[4] == "/" and options.startswith("overlay "):
            upper = next((word[9:] for word in options.split(",") if word.startswith("upperdir=")), "")
            return upper if upper.startswith("/") else None
    return None


def _content(client: Any, container_id: str, path: str, limit: int) -> bytes | None:
    for _ in range(LINKS_FOLLOWED):
        reply = client.head(client._url("/containers/{0}/archive", container_id), params={"path": path})
        if reply.status_code == HTTPStatus.NOT_FOUND:
            return None
        client._raise_for_status(reply)
        about = json.loads(base64.b64decode(reply.headers["X-Docker-Container-Path-Stat"]))
        if not about["mode"] & GO_TYPE_BITS:
            return _archived(client, container_id, path) if about["size"] <= limit else b""
        if not about["mode"] & GO_SYMLINK:
            return None
        path = about["linkTarget"]  # resolved by the engine, in the image
    return None


def _archived(client: Any, container_id: str, path: str) -> bytes | None:
    pieces, _ = client.get_archive(container_id, path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None and member.isreg() else None
        return None if content is None else content.read()
