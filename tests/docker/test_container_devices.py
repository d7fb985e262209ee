"""The ledger of GPUs against what containers were really given: ours and others, at a real engine. The devices are SIMULATED."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.unit.conftest import People, fill
from toolkit_hub.domain import ledger
from toolkit_hub.keeping.devices import DeviceKeeper
from toolkit_hub.queue.container_devices import ContainerDevices
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import INSTANCE_LABEL, RUN_LABEL, ContainerState, Engine, container_name
from toolkit_spawner.gpus import DeclaredGpus, Gpu, simulated

pytestmark = pytest.mark.engine

#: Has a node of its own, as a real one.
WITH_NODE = Gpu(uuid="SIMULATED-with-node", model="another", handover="nodes", nodes=("/dev/full",))
GPUS = (*simulated(2).gpus(), WITH_NODE)


class CountingEngine(Engine):
    """The real one; notes what it was asked to inspect."""

    def __init__(self) -> None:
        super().__init__()
        self.inspected: list[str] = []

    async def inspect(self, container_id: str) -> ContainerState:
        self.inspected.append(container_id)
        return await super().inspect(container_id)


class Ground:
    """A site's ledger and keeper of devices, and containers made by hand."""

    def __init__(self, folder: Path) -> None:
        database = f"sqlite:///{folder}/toolkit.sqlite"
        fill(Store(database))
        self.store = Store(database)
        self.people = People(self.store, folder)
        self.engine = CountingEngine()
        self.instance = str(uuid4())
        self.keeper = DeviceKeeper(DeclaredGpus(GPUS))
        asyncio.run(self.keeper.look())
        self.people.site = replace(self.people.site, devices=self.keeper.devices)
        self.watch = ContainerDevices(self.store, self.engine, self.instance, self.keeper.gpus, self.keeper.drain)
        self.made: list[str] = []

    def admitted(self, *users: str) -> list[tuple[str, str]]:
        """Of a run of each: server name, and the simulated device that it was given."""
        asks = {"gpu": 1, "gpuModel": "SIMULATED", "cpu": 0.1, "mem": 0.1}
        runs = [self.people.submit(user, resources=asks).runs[0] for user in users]
        with self.store.begin() as session:
            admit_now(session, self.people.site)
            held = ledger.held_devices(session)
        return [(run.server_name, held[run.id][0]) for run in runs]

    def container(self, *visible: str, run: str = "", instance: str = "", name: str = "", node: str = "") -> str:
        """A running container's id."""
        labels = {RUN_LABEL: run} if run else {}
        labels |= {INSTANCE_LABEL: instance} if instance else {}
        host: dict[str, Any] = {"NetworkMode": "none"}
        if node:
            host["Devices"] = [{"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rw"}]
        config = {
            "Image": "toolkit-base:bookworm",
            "Entrypoint": ["sleep", "600"],
            "Labels": labels,
            "Env": [f"NVIDIA_VISIBLE_DEVICES={value}" for value in visible],
            "HostConfig": host,
        }

        async def make() -> str:
            made = await self.engine.create(name or f"toolkit-test-{uuid4().hex[:12]}", config)
            self.made.append(made)
            await self.engine.start(made)
            return made

        return asyncio.run(make())

    def of_run(self, run: str, visible: str) -> str:
        return self.container(visible, run=run, instance=self.instance, name=container_name(run), node="/dev/null")

    def remove(self, container: str) -> None:
        self.made.remove(container)
        asyncio.run(self.engine.remove(container))

    def compared(self) -> dict[str, str]:
        """Devices that are out of use after a comparison, with the reasons."""

        async def compare() -> None:
            await self.watch.compare(await self.engine.list_runs(self.instance))

        asyncio.run(compare())
        return {device.uuid: device.drained for device in self.keeper.devices() if device.drained}

    def close(self) -> None:
        for container in list(self.made):
            self.remove(container)
        self.engine.close()
        self.store.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    found = Ground(tmp_path)
    yield found
    found.close()


def test_what_runs_were_given_is_what_they_hold(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    """A container with our labels and another run's device, and one that lacks its own, are told once, and while they run."""
    (alice, hers), (bob, his) = ground.admitted("alice", "bob")
    ground.of_run(alice, hers)
    right = ground.of_run(bob, his)
    assert ground.compared() == {}
    with caplog.at_level(logging.ERROR, "toolkit.gpus"):
        by_hand = ground.container(his, run=alice, instance=ground.instance, name=f"toolkit-test-{alice}")
        words = f"given to the container toolkit-test-{alice} ({by_hand[:12]}), which has the labels of a run"
        found = ground.compared()
        assert found == ground.compared() == {his: f"{words} and is not its container"}
        assert [record.getMessage() for record in caplog.records].count(f"GPU {his}: {found[his]}") == 1
    ground.remove(by_hand)
    assert ground.compared() == {}
    ground.remove(right)
    without = ground.of_run(bob, "void")
    words = f"the container {container_name(bob)} ({without[:12]}) was not given it, though its run holds it"
    assert ground.compared() == {his: words}
    ground.remove(without)
    ground.of_run(bob, his)
    assert ground.compared() == {}


def test_a_device_of_nobody_in_a_container_of_a_run(ground: Ground) -> None:
    [(alice, hers)] = ground.admitted("alice")
    free = next(gpu.uuid for gpu in GPUS if gpu.uuid not in (hers, WITH_NODE.uuid))
    both = ground.of_run(alice, f"{hers},{free}")
    words = f"given to the container {container_name(alice)} ({both[:12]}), whose run does not hold it"
    assert ground.compared() == {free: words}
    ground.people.submit("bob", resources={"gpu": 1, "gpuModel": "SIMULATED", "cpu": 0.1, "mem": 0.1})
    with ground.store.begin() as session:
        assert admit_now(session, ground.people.site).starts == (), "nobody gets it"
    ground.remove(both)
    assert ground.compared() == {}
    with ground.store.begin() as session:
        assert len(admit_now(session, ground.people.site).starts) == 1


def test_a_strangers_container_is_inspected_once_and_keeps_its_device(ground: Ground) -> None:
    one = GPUS[0].uuid
    node, named = ground.container("void", node="/dev/full"), ground.container(one, node="/dev/null")
    # What does not tell: an image for GPUs, the node of simulated devices, and a site with devices of the same names.
    harmless = [ground.container("all", node="/dev/null"), ground.container(one, run="jx", instance=str(uuid4()))]
    found = ground.compared()
    assert set(found) == {WITH_NODE.uuid, one}
    assert f"({node[:12]}), which is no job of this site" in found[WITH_NODE.uuid]
    assert f"({named[:12]}), which is no job of this site" in found[one]
    assert ground.compared() == found
    assert [ground.engine.inspected.count(id_) for id_ in (node, named, *harmless)] == [1] * 4
    ground.remove(node)
    assert set(ground.compared()) == {one}
    asyncio.run(ground.engine.stop(named, 0))
    assert ground.compared() == {}, "it has ended, though it is still there"
