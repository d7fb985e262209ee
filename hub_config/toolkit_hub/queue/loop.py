"""The service's engine room: admits from the queue, listens to the engine's events, and reconciles every 15 seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading

from sqlalchemy.orm import Session

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.domain import admission, dependencies, runs, time_limits
from toolkit_hub.domain.queue_state import read_state
from toolkit_hub.domain.site import Site
from toolkit_hub.domain.waiting_words import reasons_in_words
from toolkit_hub.metrics.instruments import PLANNER_PASS
from toolkit_hub.queue.planning.plan import plan
from toolkit_hub.queue.reconciler import Reconciler
from toolkit_hub.queue.starts_first import PLANNING
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine, EngineEvent, EngineUnavailable

__all__ = ["QueueLoop", "admit_now", "plan_now"]

log = logging.getLogger("toolkit.queue")

#: Seconds between two looks at everything; events make the common case faster.
RECONCILE_EVERY_S = 15
#: A pass that takes longer than this is followed by as long a pause.
LONG_PASS_S = 0.5
#: Seconds between two looks at the time limits.
LIMITS_EVERY_S = 1


class QueueLoop:
    """Runs until `stop()`."""

    def __init__(self, store: Store, engine: Engine, reconciler: Reconciler, site: Site, instance: str) -> None:
        self._store, self._engine, self._reconciler = store, engine, reconciler
        self._site, self._instance = site, instance
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = threading.Event()
        self._look_now = asyncio.Event()
        #: Who was first in line; to lose it with a restart does no harm but to that.
        self._promised: tuple[str, ...] = ()
        #: Runs of children that are being stopped, and that the reconciler has been told of.
        self._stopping: set[str] = set()

    def start(self) -> None:
        loops = (
            self._admit_forever(),
            self._reconcile_forever(),
            self._limit_forever(),
            self._reconciler.peaks.read_forever(),
        )
        self._tasks = [asyncio.create_task(work) for work in loops]
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
        self._reconciler.peaks.close()

    async def _admit_forever(self) -> None:
        await self._end_stranded()
        while True:
            self._reconciler.changed.clear()
            try:
                await self._stop_children()
                await self._admit()
                if not self._reconciler.changed.is_set():
                    self._reconciler.starts.done(PLANNING)
            except Exception:
                log.exception("admission failed; trying again")
                self._look_now.set()  # it may have been carried out, with only its outcome lost
                await asyncio.sleep(1)
                continue
            await self._reconciler.changed.wait()

    async def _admit(self) -> None:
        """The plan is made on a snapshot, so that nobody who submits waits for it, and carried out if it still holds."""
        began = clock.monotonic()
        with PLANNER_PASS.time():
            planned = await self._store.read(plan_now, self._site, self._promised)
        admitted = await self._store.write(admission.admit, self._site, planned)
        self._promised = admitted.promised
        if admitted.outdated:
            self._reconciler.changed.set()
        for run_id in admitted.starts:
            self._reconciler.poke_admitted(run_id)
        for run_id in admitted.stops:
            self._reconciler.poke_cancelled(run_id)
        if (took := clock.monotonic() - began) > LONG_PASS_S:
            await asyncio.sleep(took)  # a very long queue must not keep everything else from the processor

    async def _end_stranded(self) -> None:
        try:
            await self._store.write(runs.end_stranded)
        except Exception:
            log.exception("looking for jobs that should have ended failed")

    async def _stop_children(self) -> None:
        """Children that end with their parent are turned to their end with it, in its row's transaction; here they stop."""
        stopping = set(await self._store.read(runs.stopping_children))
        for run_id in stopping - self._stopping:
            self._reconciler.poke_cancelled(run_id)
        self._stopping = stopping

    async def _reconcile_forever(self) -> None:
        while True:
            self._look_now.clear()
            try:
                await self._reconciler.reconcile_all()
            except (EngineUnavailable, ServiceUnavailable) as error:
                log.warning("%s; jobs are left as they are until it does", error)
            except Exception:
                log.exception("reconciling failed; trying again")
            self.wake()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), RECONCILE_EVERY_S)

    async def _limit_forever(self) -> None:
        """Warn of and enforce time limits; the clock may be moved, so it is looked at again and again."""
        while True:
            try:
                if await self._store.read(time_limits.something_due):
                    for run_id in await self._store.write(time_limits.enforce):
                        self._reconciler.poke_cancelled(run_id)
            except Exception:
                log.exception("looking at time limits failed; trying again")
            await asyncio.sleep(LIMITS_EVERY_S)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: the engine's events, for ever, from where they broke off. What was missed is looked for at once."""
        since = clock.now().timestamp()
        while not self._stopped.is_set():
            try:
                for event in self._engine.events(self._instance, since=since):
                    since = event.time
                    asyncio.run_coroutine_threadsafe(self._on_event(event), loop)
            except EngineUnavailable as error:
                log.warning("%s", error)
            except Exception:
                if loop.is_closed():
                    return
                log.exception("listening to the engine's events failed; trying again")
            if not self._stopped.wait(0.5):
                # The engine forgets its events when it restarts.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._look_now.set)

    async def _on_event(self, event: EngineEvent) -> None:
        try:
            if event.action == "start":
                self._reconciler.peaks.watch(event.run, event.container_id)
                await self._reconciler.on_container_start(event.run)
            elif event.action in ("die", "destroy"):
                await self._reconciler.on_container_end(event.run)
            if event.action == "destroy":
                self._reconciler.peaks.forget(event.run)
        except ServiceUnavailable as error:
            log.warning("run %s: %s", event.run, error)
            self._look_now.set()
        except Exception:
            log.exception("run %s: unexpected", event.run)
            self._look_now.set()


def admit_now(session: Session, site: Site, promised: tuple[str, ...] = ()) -> admission.Admitted:
    """Plan on the rows as they are, and carry the plan out in the same transaction."""
    return admission.admit(session, site, plan_now(session, site, promised))


def plan_now(session: Session, site: Site, promised: tuple[str, ...] = ()) -> admission.Planned:
    """What should be done with the rows as they are. Only reads."""
    reasons = dependencies.changed_reasons(session)
    told = runs.told_reasons(session)
    if not told:
        return admission.Planned(reasons=reasons)
    state = read_state(session, site, site.capacity(), promised, dependencies.unmet(session))
    decided = plan(state)
    words = reasons_in_words(state, decided)
    changed = {run_id: text for run_id, text in words.items() if told.get(run_id) != text}
    return admission.Planned(state, decided, {**reasons, **changed})
