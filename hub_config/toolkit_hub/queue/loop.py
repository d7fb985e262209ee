"""The service's engine room: admits from the queue, listens to the engine's events, and reconciles every 15 seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time

from sqlalchemy.orm import Session

from toolkit_hub.domain import runs
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.plan import plan
from toolkit_hub.queue.reconciler import Reconciler
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine, EngineEvent, EngineUnavailable

__all__ = ["QueueLoop"]

log = logging.getLogger("toolkit.queue")

#: Seconds between two looks at everything; events make the common case faster.
RECONCILE_EVERY_S = 15


class QueueLoop:
    """Runs until `stop()`."""

    def __init__(self, store: Store, engine: Engine, reconciler: Reconciler, site: Site, instance: str) -> None:
        self._store, self._engine, self._reconciler = store, engine, reconciler
        self._site, self._instance = site, instance
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = threading.Event()

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._admit_forever()), asyncio.create_task(self._reconcile_forever())]
        listener = threading.Thread(
            target=self._listen, args=(asyncio.get_running_loop(),), name="engine-events", daemon=True
        )
        listener.start()

    def wake(self) -> None:
        """The queue has changed."""
        self._reconciler.changed.set()

    async def stop(self) -> None:
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reconciler.drain(), 5)

    async def _admit_forever(self) -> None:
        while True:
            self._reconciler.changed.clear()
            try:
                for run_id in await self._store.write(admit_now, self._site):
                    self._reconciler.poke(run_id)
            except Exception:
                log.exception("admission failed; trying again")
                await asyncio.sleep(1)
                continue
            await self._reconciler.changed.wait()

    async def _reconcile_forever(self) -> None:
        while True:
            try:
                await self._reconciler.reconcile_all()
            except EngineUnavailable as error:
                log.warning("%s; jobs are left as they are until it does", error)
            except Exception:
                log.exception("reconciling failed; trying again")
            self.wake()
            await asyncio.sleep(RECONCILE_EVERY_S)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: the engine's events, for ever, from where they broke off."""
        since = time.time()
        while not self._stopped.is_set():
            try:
                for event in self._engine.events(self._instance, since=since):
                    since = time.time()
                    asyncio.run_coroutine_threadsafe(self._on_event(event), loop)
            except EngineUnavailable as error:
                log.warning("%s", error)
            except RuntimeError:
                return  # the loop is closed: the service ends
            self._stopped.wait(0.5)

    async def _on_event(self, event: EngineEvent) -> None:
        if event.action in ("die", "destroy"):
            await self._reconciler.on_container_event(event.run)


def admit_now(session: Session, site: Site) -> list[str]:
    """Plan on the rows as they are, and carry the plan out in the same transaction."""
    queue = runs.waiting(session)
    if not queue:
        return []
    return runs.admit(session, plan(queue, runs.held(session), site.total))
