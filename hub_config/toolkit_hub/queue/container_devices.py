"""Compares the ledger of GPUs with what the containers of this machine were really given, ours and others.

The ledger says which run holds a device, NVML which processes use one (`toolkit_hub.keeping.devices`); neither knows of a
container that has a device and does not use it yet. Whatever does not agree takes the device out of use, with a reason that
names the container, until the container is gone or given what the ledger says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub.store import Store
from toolkit_hub.store.tables import DeviceHold, Run
from toolkit_spawner.docker_api import (
    ContainerState,
    Engine,
    EngineRefused,
    EngineUnavailable,
    NoSuchObject,
    container_name,
)
from toolkit_spawner.given_devices import devices_of
from toolkit_spawner.gpus import Gpu

__all__ = ["ContainerDevices"]

log = logging.getLogger("toolkit.gpus")


@dataclass(frozen=True)
class _Wrong:
    """What is not as it should be with one device."""

    device: str
    words: str


class ContainerDevices:
    """One for the service; `compare` is for the reconciler's rounds, and may be called at any time."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        instance: str,
        gpus: Callable[[], Sequence[Gpu]],
        drain: Callable[[Mapping[str, str]], None],
    ) -> None:
        """`drain` is told all devices to keep out of use, with the reasons."""
        self._store, self._engine, self._instance = store, engine, instance
        self._gpus, self._drain = gpus, drain
        #: By id. What a container was given stays as it is for its life, so each is inspected once.
        self._others: dict[str, ContainerState] = {}
        self._told: set[_Wrong] = set()

    async def compare(self, ours: Sequence[ContainerState]) -> None:
        """`ours`: the site's containers as the engine has just listed them. Raises `EngineUnavailable`; then nothing changes."""
        gpus = self._gpus()
        if not gpus:
            return
        wrong = [*await self._of_runs(ours, gpus), *await self._of_others(ours, gpus)]
        for one in wrong:
            if one not in self._told:
                log.error("GPU %s: %s", one.device, one.words)
        self._told = set(wrong)
        reasons: dict[str, list[str]] = {}
        for one in wrong:
            reasons.setdefault(one.device, []).append(one.words)
        self._drain({device: "; ".join(words) for device, words in reasons.items()})

    async def _of_runs(self, ours: Sequence[ContainerState], gpus: Sequence[Gpu]) -> list[_Wrong]:
        """A container that runs before and after the ledger is read was running then; and while it runs, its run's devices stay
        in the ledger."""
        running = [container for container in ours if container.running]
        held = await self._store.read(_held_by_servers)
        found = []
        for container in running:
            wrong = list(_differences(container, held.get(container.run, set()), gpus))
            if wrong and await self._still_runs(container):
                found += wrong
        return found

    async def _still_runs(self, container: ContainerState) -> bool:
        try:
            return (await self._engine.inspect(container.id)).running
        except NoSuchObject:
            return False

    async def _of_others(self, ours: Sequence[ContainerState], gpus: Sequence[Gpu]) -> list[_Wrong]:
        known, running = {container.id for container in ours}, set(await self._engine.running())
        self._others = {id_: one for id_, one in self._others.items() if id_ in running}
        await asyncio.gather(*(self._inspect(id_) for id_ in running - known - set(self._others)))
        found = []
        for one in self._others.values():
            if one.instance == self._instance:
                continue  # it has come since ours were listed
            # Simulated devices are each site's own, though their names are the same.
            reach = [gpu for gpu in gpus if not (one.instance and gpu.stand_in)]
            for device in sorted(devices_of(one.given, reach)):
                found.append(_Wrong(device, f"given to the container {_named(one)}, which is no job of this site"))
        return found

    async def _inspect(self, id_: str) -> None:
        """A container of others that the engine cannot describe says nothing, and must not keep the rest from being told."""
        try:
            self._others[id_] = await self._engine.inspect(id_)
        except NoSuchObject:
            return  # removed in between
        except (EngineUnavailable, EngineRefused) as error:
            log.warning("which GPUs the container %s has is not known: %s; trying again", id_[:12], error)


def _held_by_servers(session: Session) -> dict[str, set[str]]:
    """Server name → devices that the run holds."""
    found: dict[str, set[str]] = {}
    query = select(Run.server_name, DeviceHold.device).join(Run, Run.id == DeviceHold.run_id)
    for server_name, device in session.execute(query):
        found.setdefault(server_name, set()).add(device)
    return found


def _differences(container: ContainerState, held: set[str], gpus: Sequence[Gpu]) -> Iterator[_Wrong]:
    """A device that the inventory does not know cannot be told in a container."""
    given = devices_of(container.given, gpus)
    if container.name != container_name(container.run):
        words = f"given to the container {_named(container)}, which has the labels of a run and is not its container"
        yield from (_Wrong(device, words) for device in sorted(given))
        return
    for device in sorted(given - held):
        yield _Wrong(device, f"given to the container {_named(container)}, whose run does not hold it")
    for device in sorted(held & {gpu.uuid for gpu in gpus} - given):
        yield _Wrong(device, f"the container {_named(container)} was not given it, though its run holds it")


def _named(container: ContainerState) -> str:
    return f"{container.name} ({container.id[:12]})"
