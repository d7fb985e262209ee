"""A volume's folders, opened for one request, and the threads that work in them.

What users have put there is touched by threads that have the file rights of the jobs' user and no others: whatever goes
wrong with a name, they cannot open what a job could not, and what they make belongs to the jobs (`volumes.jobs_user`). The
folders that only root passes are opened before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.memory import keep_freed_memory
from toolkit_hub.domain.data_content import Place
from toolkit_hub.volumes.jobs_user import become_jobs_user
from toolkit_hub.volumes.layout import Volumes

__all__ = ["OpenVolume", "VolumeThreads"]

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

#: They work for some milliseconds at a time for whoever is next, so a few serve many transfers.
_THREADS = 8


class VolumeThreads:
    """The threads that touch users' files. One for the gate."""

    def __init__(self) -> None:
        keep_freed_memory()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="volume", initializer=become_jobs_user)

    async def run(self, work: Callable[P, ResultT], *args: P.args, **kwargs: P.kwargs) -> ResultT:
        """Run `work` in one of the threads, to its end: a caller that goes away does not leave it half done."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.wait([future])
            raise

    async def iterate(self, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """What a generator gives, made in a thread, and one block ahead of whoever takes them."""
        loop = asyncio.get_running_loop()
        ahead = loop.run_in_executor(self._pool, next, blocks, None)
        try:
            while (block := await asyncio.shield(ahead)) is not None:
                ahead = loop.run_in_executor(self._pool, next, blocks, None)
                yield block
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait([ahead])
            close = getattr(blocks, "close", None)
            if close is not None:
                await loop.run_in_executor(self._pool, close)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class OpenVolume:
    """The descriptors of one volume. Made and closed as root, used in the threads."""

    def __init__(self, volumes: Volumes, place: Place, *, staging: bool = False) -> None:
        """Raises OSError."""
        self.place = place
        if place.version_id is None:
            volumes.prepare(place.data_id, place.name, place.account_id)
            folder = volumes.live(place.data_id)
        elif place.version_id == "empty":
            volumes.ensure(place.data_id)
            folder = volumes.empty
        else:
            folder = volumes.version(place.data_id, place.version_id)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.ExitStack() as stack:
            self.root = os.open(folder, flags)
            stack.callback(os.close, self.root)
            self.staging = -1
            if staging:
                self.staging = os.open(volumes.staging(place.data_id), flags)
                stack.callback(os.close, self.staging)
            self.manifest = self._open_manifest(volumes, place)
            if self.manifest >= 0:
                stack.callback(os.close, self.manifest)
            self._opened = stack.pop_all()

    @staticmethod
    def _open_manifest(volumes: Volumes, place: Place) -> int:
        """Of the version, or of the newest one: with it the live content is compared. -1: there is none."""
        version = place.version_id or place.newest_id
        if version is None or version == "empty":
            return -1
        try:
            return os.open(volumes.manifest(place.data_id, version), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1

    def beneath(self) -> Beneath:
        """The content, for one piece of work; it is closed by whoever gets it."""
        return Beneath(os.dup(self.root))

    def at(self, path: bytes, *, make: bool = False) -> Beneath:
        """The same, rooted at a folder in it. Raises NotFound, OSError."""
        with self.beneath() as whole:
            return Beneath(os.dup(whole.folder(path, make=make)))

    def close(self) -> None:
        self._opened.close()
