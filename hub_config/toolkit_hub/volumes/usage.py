"""How much a volume takes: a walk through its live files and all of its versions.

It is a program of its own, ``python -m toolkit_hub.volumes.usage FOLDER``, for a walk through a million files must neither hold
up the service nor get in the way of jobs: `measure_apart` starts it with the lowest priorities for CPU and disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath

__all__ = ["Measured", "measure", "measure_apart"]


@dataclass(frozen=True)
class Measured:
    """What one volume takes. `bytes` and `files` are of the live files; `disk` and `inodes` of those, of all versions, and of
    what is on its way in."""

    bytes: int = 0
    disk: int = 0
    files: int = 0
    inodes: int = 0


def measure(folder: Path) -> Measured:
    """Walk through a volume's folder, each inode once. What goes away meanwhile is not counted. Blocks.

    Raises:
        OSError: the folder cannot be read. One that is not there takes nothing.
    """
    try:
        beneath = Beneath(folder)
    except FileNotFoundError:
        return Measured()
    with beneath:
        return _Walk(beneath).run()


class _Walk:
    """Holds the names of the folders on the way down that are still to be visited, and the inodes with several names."""

    def __init__(self, beneath: Beneath) -> None:
        self._beneath = beneath
        self._seen: set[tuple[int, int]] = set()
        self._bytes = self._disk = self._files = self._inodes = 0

    def run(self) -> Measured:
        way = bytearray()
        levels: list[tuple[int, list[bytes]]] = [(0, self._look(b"", 0))]
        while levels:
            parent_length, folders = levels[-1]
            if not folders:
                levels.pop()
                del way[parent_length:]
                continue
            parent_length = len(way)
            way += (b"/" if way else b"") + folders.pop()
            levels.append((parent_length, self._look(bytes(way), len(levels))))
        return Measured(self._bytes, self._disk, self._files, self._inodes)

    def _look(self, path: bytes, depth: int) -> list[bytes]:
        """Count what is in one folder, and give the names of the folders in it."""
        live = path == b"live" or path.startswith(b"live/")
        folders: list[bytes] = []
        try:
            entries = os.scandir(self._beneath.folder(path))
        except (NotFound, FileNotFoundError):
            return folders
        with entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    folders.append(os.fsencode(entry.name))
                # The volume's own frame, `live` and its likes, is not the users'.
                if depth:
                    self._count(found, live)
        return folders

    def _count(self, found: os.stat_result, live: bool) -> None:
        if live and stat.S_ISREG(found.st_mode):
            self._files += 1
            self._bytes += found.st_size
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            inode = (found.st_dev, found.st_ino)
            if inode in self._seen:
                return
            self._seen.add(inode)
        self._disk += found.st_blocks * 512
        self._inodes += 1


async def measure_apart(folder: Path) -> Measured:
    """What `measure` finds, from a process with idle priority that ends when this is cancelled.

    Raises:
        OSError: the walk failed; the text is its last line.
    """
    idle = ["ionice", "-c", "3"] if shutil.which("ionice") else []
    command = ["nice", "-n", "19", *idle, sys.executable, "-m", "toolkit_hub.volumes.usage", str(folder)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        raise OSError(0, f"{folder} could not be measured: {lines[-1] if lines else process.returncode}")
    return Measured(**json.loads(out))


def main() -> None:
    print(json.dumps(asdict(measure(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
