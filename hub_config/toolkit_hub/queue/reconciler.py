"""Makes rows, hub servers and containers agree, one run at a time.

`reconcile(run)` reads what is wanted and what is, takes the next step, and may be called at any time and any number of
times. Whatever is not *known* (the engine or the hub does not answer) changes nothing; it is tried again, at growing intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from toolkit_client.errors import ToolkitError
from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.domain import runs
from toolkit_hub.domain.log_guard import cut_to_limits
from toolkit_hub.queue.checkpoints import news
from toolkit_hub.queue.container_devices import ContainerDevices
from toolkit_hub.queue.endings import REMOVED, ending_of, engine_time, has_ended
from toolkit_hub.queue.hub_api import HubApi, HubRefused, HubUnavailable
from toolkit_hub.queue.memory_peaks import MemoryPeaks
from toolkit_hub.queue.run_view import RunView, view_by_name, view_of
from toolkit_hub.queue.starts_first import PLANNING, StartsFirst
from toolkit_hub.store import Store
from toolkit_hub.store.tables import Run
from toolkit_spawner.docker_api import ContainerState, Engine, EngineRefused, EngineUnavailable, container_name
from toolkit_spawner.run_files import announce_end, remove_tree

__all__ = ["Reconciler"]

log = logging.getLogger("toolkit.reconciler")

#: Times that the hub may refuse to start a run, without the spawner saying why, before the run fails.
START_ATTEMPTS = 3
#: Seconds until a run is looked after again when something did not answer: from the first number, doubling, to the second.
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 15.0
#: Seconds until the hub is asked again when it is still busy with a server.
HUB_BUSY_S = 0.5
#: Ending of a task's name: one that waits until the run may be cleaned up after.
CLEAN_UP = "/clean-up"
#: A container that shows an image's files and is older than this was left behind.
PROBE_LIFE = timedelta(seconds=60)


class Reconciler:
    """One task for each run that needs something; calls for the same run while one works are merged into one more round."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        hub: HubApi,
        instance: str,
        runs_dir: Path,
        stop_grace: int,
        container_devices: ContainerDevices,
    ) -> None:
        self._store, self._engine, self._hub, self._container_devices = store, engine, hub, container_devices
        self._instance, self._runs_dir, self._stop_grace = instance, runs_dir, stop_grace
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._at_once = asyncio.Semaphore(48)
        #: Set whenever room may have become free; the queue loop waits for it.
        self.changed = asyncio.Event()
        #: Told of each container that runs.
        self.peaks = MemoryPeaks()
        #: What clean-up waits for; the queue loop says when its pass is over.
        self.starts = StartsFirst()

    def poke(self, run_id: str) -> None:
        """Look after this run now."""
        task = self._tasks.get(run_id)
        if task is not None and not task.done():
            self._again.add(run_id)
            return
        self._tasks[run_id] = asyncio.create_task(self._work(run_id))

    def poke_admitted(self, run_id: str) -> None:
        """Start a run that was just given its room; clean-up of others waits for it."""
        self.starts.begin(run_id)
        self.poke(run_id)

    def poke_cancelled(self, run_id: str) -> None:
        """Look after a run that was just killed; when another round waits for its start, the hub is told to give that up."""
        if run_id in self._tasks and f"{run_id}/cancel" not in self._tasks:
            self._tasks[f"{run_id}/cancel"] = asyncio.create_task(self._cancel_start(run_id))
        self.poke(run_id)

    def _poke_after_starts(self, run_id: str) -> None:
        """Look after an ended run when those that got its room have started. It waits for them outside of the rounds, of
        which there are only so many at once."""
        key = run_id + CLEAN_UP
        if key not in self._tasks:
            self._tasks[key] = asyncio.create_task(self._wait_for_starts(run_id, key))

    async def _wait_for_starts(self, run_id: str, key: str) -> None:
        try:
            await self.starts.wait()
        finally:
            self._tasks.pop(key, None)
        self.poke(run_id)

    def _poke_later(self, run_id: str, delay: float) -> None:
        if (timer := self._timers.pop(run_id, None)) is not None:
            timer.cancel()
        self._timers[run_id] = asyncio.get_running_loop().call_later(delay, self._poke_now, run_id)

    def _poke_now(self, run_id: str) -> None:
        self._timers.pop(run_id, None)
        self.poke(run_id)

    async def _work(self, run_id: str) -> None:
        try:
            async with self._at_once:
                while True:
                    self._again.discard(run_id)
                    await self._reconcile(run_id)
                    if run_id not in self._again:
                        break
            self._failures.pop(run_id, None)
        except Exception as error:
            await self._failed(run_id, error)
        finally:
            self._tasks.pop(run_id, None)
            self.starts.done(run_id)
            if run_id in self._again:  # it was poked while the round that failed was under way
                self._again.discard(run_id)
                self.poke(run_id)

    async def _failed(self, run_id: str, error: Exception) -> None:
        """Say so, and try again: soon at first, then at the pace of the rounds."""
        count = self._failures[run_id] = self._failures.get(run_id, 0) + 1
        self._poke_later(run_id, min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** (count - 1)))
        if isinstance(error, EngineUnavailable | HubUnavailable):
            log.warning("run %s: %s; trying again", run_id, error)
            try:
                await self._store.write(_say_delay, run_id, str(error))
            except ToolkitError as unwritten:
                log.warning("run %s: %s", run_id, unwritten)
        elif isinstance(error, HubRefused | EngineRefused | ToolkitError):
            log.error("run %s: %s; trying again", run_id, error)
        else:
            log.error("run %s: unexpected; trying again", run_id, exc_info=error)

    async def _cancel_start(self, run_id: str) -> None:
        """The round that waits for the start goes on when the hub has given it up, and sees the kill."""
        try:
            view = await self._store.read(view_of, run_id)
            if view is not None and view.cancelling:
                await self._hub.remove_server(view.owner, view.server_name)
        except (HubUnavailable, HubRefused, ToolkitError) as error:
            log.warning("run %s: %s", run_id, error)
        finally:
            self._tasks.pop(f"{run_id}/cancel", None)

    # --- one run ------------------------------------------------------------------------------------------------------

    async def _reconcile(self, run_id: str) -> None:
        view = await self._store.read(view_of, run_id)
        if view is None or view.state == JobState.QUEUING:
            return
        if view.state == JobState.QUEUED and not view.cancelling:
            await self._start(view)
            return
        container = await self._engine.find(self._instance, view.server_name)
        if view.state.alive and container is not None and has_ended(container):
            await self._end(view, ending_of(container))
        elif view.cancelling:
            await self._cancel(view, container)
            return
        elif view.state == JobState.RUNNING:
            await self._keep_running(view, container)
            return
        await self._clean_up(view, container)

    async def _start(self, view: RunView) -> None:
        # Only a start that has been tried before can have left something; a fresh one need not ask.
        container = await self._engine.find(self._instance, view.server_name) if view.tried_before else None
        if container is not None and has_ended(container):
            # It ran and ended before anybody could say so.
            await self._end(view, ending_of(container))
            await self._clean_up(view, container)
            return
        try:
            new = await self._hub.start_server(view.owner, view.server_name, view.title)
        except HubRefused as error:
            await self._refused(view, error)
            return
        self._refusals.pop(view.run_id, None)
        if not new:
            await self._adopt(view)

    async def _adopt(self, view: RunView) -> None:
        """The hub has the server up, and its start was never recorded here."""
        container = await self._engine.find(self._instance, view.server_name)
        if container is not None and container.running:
            node_name = await self._engine.host_name()
            await self._store.write(
                runs.mark_started, view.server_name, container.id, container.ip, container.image, node_name
            )

    async def _refused(self, view: RunView, error: HubRefused) -> None:
        """The spawner has told the service why it could not start, if it knew; else the hub's word counts after some tries."""
        count = self._refusals[view.run_id] = self._refusals.get(view.run_id, 0) + 1
        now = await self._store.read(view_of, view.run_id)
        if now is None or now.state != JobState.QUEUED:
            self._refusals.pop(view.run_id, None)
            self.poke(view.run_id)
            return
        log.warning("run %s: start refused (%d of %d): %s", view.run_id, count, START_ATTEMPTS, error)
        if error.status == 404 and count < START_ATTEMPTS and await self._has_owner_now(now):
            self.poke(view.run_id)
            return
        if error.status == 404 or count >= START_ATTEMPTS:
            self._refusals.pop(view.run_id, None)
            await self._end(view, runs.Ending(None, f"could not be started: {error.message}"))
            self.poke(view.run_id)

    async def _has_owner_now(self, view: RunView) -> bool:
        """The hub does not know the owner: a role's service user, or one who was just renamed. It is told."""
        try:
            await self._hub.change_user("make", view.owner)
        except HubRefused as error:
            log.warning("run %s: %s", view.run_id, error)
            now = await self._store.read(view_of, view.run_id)
            return now is not None and now.owner != view.owner
        return True

    async def _keep_running(self, view: RunView, container: ContainerState | None) -> None:
        if container is None:
            await self._end(view, runs.Ending(None, REMOVED, interrupted=True))
            await self._clean_up(view, None)
        elif not await self._hub.has_server(view.owner, view.server_name):
            log.info("run %s: the hub has lost its server; starting it again adopts the container", view.run_id)
            await self._hub.start_server(view.owner, view.server_name, view.title)

    async def _cancel(self, view: RunView, container: ContainerState | None) -> None:
        """Stop the container, whether or not the hub answers. One that does not run yet may be on its way there: the hub is
        made to give its start up first, for what it starts after the run's end would be nobody's."""
        if container is None or container.created_only:
            given_up = await self._hub.remove_server(view.owner, view.server_name)
            container = await self._engine.find(self._instance, view.server_name)
            if container is not None and container.created_only:
                await self._engine.remove(container.id)
                container = None
            if container is None and not given_up:
                self._poke_later(view.run_id, HUB_BUSY_S)
                return
        if container is not None and container.running:
            await self._engine.stop(container.id, await asyncio.to_thread(self._grace, view))
            container = await self._engine.find(self._instance, view.server_name)
        await self._end(view, ending_of(container) if container else runs.Ending(None))
        self._poke_after_starts(view.run_id)

    def _grace(self, view: RunView) -> int:
        """Seconds that it gets from SIGTERM on. One that is stopped for another run finds the time in a file of its own."""
        if view.stop_by is None:
            return self._stop_grace
        announce_end(self._runs_dir / view.run_id, view.stop_by)
        return max(self._stop_grace, round((view.stop_by - clock.now()).total_seconds()))

    async def _end(self, view: RunView, ending: runs.Ending) -> None:
        ending = replace(ending, peak_memory=self.peaks.last(view.server_name))
        if await self._store.write(runs.mark_ended, view.run_id, ending):
            self.starts.begin(PLANNING)
            self.changed.set()
        self.peaks.forget(view.server_name)

    async def _clean_up(self, view: RunView, container: ContainerState | None) -> None:
        """After the end is recorded: container, scratch home and the hub's server go; the log stays."""
        if container is not None:
            await self._engine.remove(container.id)
        await asyncio.to_thread(_remove_scratch, self._runs_dir / view.run_id)
        if view.server_removed:
            return
        if await self._hub.remove_server(view.owner, view.server_name):
            await self._store.write(runs.mark_server_removed, view.run_id)
        else:
            self._poke_later(view.run_id, HUB_BUSY_S)

    # --- all runs -----------------------------------------------------------------------------------------------------

    async def reconcile_all(self) -> None:
        """Every run that is not done with, and every container that belongs to none of them."""
        if peaks := self.peaks.peaks():
            await self._store.write(runs.save_peaks, peaks)
        pending = await self._store.read(runs.unfinished)
        if saved := await asyncio.to_thread(news, pending, self._runs_dir):
            await self._store.write(runs.save_checkpoints, saved)
        for run in pending:
            self.poke(run.id)
        known = {run.server_name for run in pending}
        containers = await self._engine.list_runs(self._instance)
        for container in containers:
            if not container.run:
                await self._remove_left_probe(container)
                continue
            if container.run in known:
                if container.running and container.name == container_name(container.run):
                    self.peaks.watch(container.run, container.id)
                continue
            run_now = await self._store.read(runs.by_server_name, container.run)
            if run_now is None or not JobState(run_now.state).alive:
                log.warning(
                    "container %s of run %s belongs to no living run: removed", container.id[:12], container.run
                )
                await self._engine.remove(container.id)
        await self._container_devices.compare(containers)

    async def _remove_left_probe(self, container: ContainerState) -> None:
        """One that showed an image's files to a hub that has died since; those in use are gone in a second."""
        created = engine_time(container.created_at)
        if created is not None and clock.now() - created > PROBE_LIFE:
            await self._engine.remove(container.id)

    async def on_container_start(self, server_name: str) -> None:
        """A container of ours has started; one whose run was killed or has ended meanwhile must not go on."""
        run = await self._store.read(runs.by_server_name, server_name)
        if run is not None and run.state not in (JobState.QUEUED, JobState.RUNNING):
            self.poke(run.id)

    async def on_container_end(self, server_name: str) -> None:
        """A container of ours has ended: said at once, even while the hub still waits for its start to be answered."""
        view = await self._store.read(view_by_name, server_name)
        if view is None:
            return
        try:
            container = await self._engine.find(self._instance, server_name) if view.state.alive else None
            if container is not None and has_ended(container):
                await self._end(view, ending_of(container))
        except (EngineUnavailable, EngineRefused) as error:
            log.warning("run %s: %s", view.run_id, error)
        finally:
            self._poke_after_starts(view.run_id)

    async def drain(self) -> None:
        """Wait for the rounds that have begun, and begin no more by ourselves; for a clean shutdown."""
        for timer in self._timers.values():
            timer.cancel()
        for key in [key for key in self._tasks if key.endswith(CLEAN_UP)]:
            self._tasks.pop(key).cancel()  # the next service's first round cleans up
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)


def _say_delay(session: Session, run_id: str, reason: str) -> None:
    """Tell whoever waits for the start of a run why it takes longer."""
    run = session.get(Run, run_id)
    if run is not None and run.state == JobState.QUEUED:
        runs.set_reasons(session, {run_id: f"starting, but {reason}; trying again"})


def _remove_scratch(run_dir: Path) -> None:
    """Remove what only the running container needed. Its content is the user's: never followed through links."""
    with contextlib.suppress(OSError):  # the sweep of the state folder comes by
        remove_tree(run_dir / "home")
    (run_dir / "run.json").unlink(missing_ok=True)
    # Nobody writes to the log any more; a run that lived between two looks of the guard is looked at here.
    cut_to_limits(run_dir)
