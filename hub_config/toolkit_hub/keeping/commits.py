"""Commits of data, each from its first look at the files to its row, whatever becomes of the request that asked for it.

A commit may take longer than any proxy waits. So a request waits for it a while only; one that comes again with the same
Idempotency-Key joins the commit that is under way, or gets what it has made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from toolkit_client.data_models import Commit, DataVersion, NewVersion
from toolkit_client.errors import Conflict, NotFound, PermissionDenied, ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.domain import data_versions
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.store import Store
from toolkit_hub.store.tables import new_id
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.ledger import Budget, Outcome, Progress, Stopped
from toolkit_hub.volumes.snapshot import Snapshot

__all__ = ["Commits"]

ResultT = TypeVar("ResultT")

log = logging.getLogger("toolkit.data")

#: Seconds that a request waits for its commit before it is told how far that is.
PATIENCE_S = 15.0
#: Seconds for which the end of a commit is kept for whoever asked for it, and has not come back yet.
KEPT_S = 600.0
#: Commits that read and write at the same time. Others wait.
AT_ONCE = 2


@dataclass
class _Work:
    """One commit that was asked for."""

    data_id: str
    request: str
    task: asyncio.Task[Commit]
    progress: Progress
    ended: float | None = field(default=None)


class Commits:
    """One for the service. Of one data only one commit is made at a time; others of it wait."""

    def __init__(self, store: Store, volumes: Volumes, limits: DataLimits, *, floor: float) -> None:
        """`floor` in GiB: so much of the disk stays free."""
        self._store, self._volumes, self._limits = store, volumes, limits
        self._floor = int(floor * 2**30)
        self._works: dict[tuple[str, str], _Work] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="commit")

    async def commit(self, actor: Actor, ref: str, new: NewVersion, key: str | None) -> Commit:
        """The commit as it is after `PATIENCE_S`; without a key, when it is done.

        Raises `PermissionDenied`, `NotFound`, `InsufficientStorage`, and `Conflict` for a key that came with another request.
        """
        plan = await self._store.read(data_versions.plan_commit, actor, ref, new, key, self._limits)
        if plan.made is not None:
            return Commit(state="made", version=plan.made, files=plan.made.files, bytes=plan.made.bytes)
        self._forget_old()
        place = (actor.user_id, key or new_id())
        request = f"{plan.data_id} {new.model_dump_json()}"
        work = self._works.get(place)
        if work is None:
            work = self._works[place] = self._start(actor, plan.data_id, request, new, key)
        elif work.request != request:
            raise Conflict("this Idempotency-Key was used for another request", "send a new key with a new request")
        done, _ = await asyncio.wait([work.task], timeout=PATIENCE_S if key else None)
        if not done:
            return Commit(state="running", files=work.progress.files, bytes=work.progress.bytes)
        self._works.pop(place, None)
        return work.task.result()

    async def close(self) -> None:
        """End what is under way, and leave nothing of it."""
        tasks = [work.task for work in self._works.values()]
        for work in self._works.values():
            work.progress.stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown()

    def _start(self, actor: Actor, data_id: str, request: str, new: NewVersion, key: str | None) -> _Work:
        progress = Progress()
        task = asyncio.create_task(self._run(actor, data_id, new, key, progress))
        work = _Work(data_id, request, task, progress)

        def ended(finished: asyncio.Task[Commit]) -> None:
            work.ended = clock.monotonic()
            if not finished.cancelled() and finished.exception() is not None:
                log.info("a commit of data %s failed: %s", data_id, finished.exception())

        task.add_done_callback(ended)
        return work

    def _forget_old(self) -> None:
        now = clock.monotonic()
        for place, work in list(self._works.items()):
            if work.ended is not None and now - work.ended > KEPT_S:
                del self._works[place]

    async def _run(self, actor: Actor, data_id: str, new: NewVersion, key: str | None, progress: Progress) -> Commit:
        async with self._locks.setdefault(data_id, asyncio.Lock()):
            # What was planned before may be history: another commit may have been made meanwhile.
            plan = await self._store.read(data_versions.plan_commit, actor, data_id, new, key, self._limits)
            if plan.made is not None:
                return Commit(state="made", version=plan.made)
            budget = Budget(plan.room.bytes_left, plan.room.files_left, self._floor)
            previous_id = plan.previous.id if plan.previous else None
            version_id = new_id()
            snapshot = await self._blocking(
                lambda: Snapshot(self._volumes, data_id, version_id, previous_id, progress=progress, budget=budget)
            )
            try:
                if not new.allow_empty and await self._blocking(snapshot.nothing_new):
                    return Commit(state="unchanged", version=plan.previous)
                built: Outcome = await self._blocking(snapshot.build)
                made = data_versions.Made(version_id, built.files, built.bytes, built.disk, built.inodes)
                try:
                    version = await self._store.write(data_versions.add_version, actor, data_id, new, made, key)
                except (PermissionDenied, NotFound):
                    # Of other failures nobody knows whether the row was written; the clean-up asks the store later.
                    await self._blocking(snapshot.discard)
                    raise
                return _told(version, built)
            finally:
                await self._blocking(snapshot.close)

    async def _blocking(self, work: Callable[[], ResultT]) -> ResultT:
        """In a thread; a commit that was stopped with the service says so."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except Stopped:
            raise ServiceUnavailable(
                "the service is being restarted", "the same request begins the commit anew"
            ) from None


def _told(version: DataVersion, built: Outcome) -> Commit:
    return Commit(
        state="made",
        version=version,
        files=built.files,
        bytes=built.bytes,
        linked=built.linked,
        warnings=built.warnings,
        warning_count=built.warning_count,
    )
