"""What is known of GPUs, and when they are taken out of use. The inventories are doubles: SIMULATED devices, and their faults."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest

from toolkit_hub.keeping import devices as keeping
from toolkit_hub.keeping.devices import DeviceKeeper
from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.gpus import Gpu, GpusUnavailable, declared, simulated

ONE, TWO = simulated(2).gpus()


class Played:
    """An inventory whose answers a test sets."""

    def __init__(self, *gpus: Gpu) -> None:
        self.found = list(gpus)
        self.read: dict[str, DeviceReading] = {}
        self.problem: GpusUnavailable | None = None
        self.hang: threading.Event | None = None
        self.asked = 0

    def gpus(self) -> list[Gpu]:
        self.asked += 1
        if self.hang is not None:
            self.hang.wait(30)
        if self.problem is not None:
            raise self.problem
        return list(self.found)

    def readings(self) -> Mapping[str, DeviceReading]:
        return dict(self.read)


def drained(keeper: DeviceKeeper) -> dict[str, str | None]:
    return {device.uuid: device.drained for device in keeper.devices()}


def look(keeper: DeviceKeeper, times: int = 1) -> None:
    async def some() -> None:
        for _ in range(times):
            await keeper.look()

    asyncio.run(some())


def test_simulated_devices_say_so_everywhere() -> None:
    for gpu in simulated(3).gpus():
        assert "SIMULATED" in gpu.uuid
        assert "SIMULATED" in gpu.model
        assert gpu.spec().nodes == ["/dev/null"]


def test_a_device_in_trouble_is_drained_with_the_reason_and_comes_back() -> None:
    told = []
    played = Played(ONE, TWO)
    keeper = DeviceKeeper(played, lambda: told.append(True))
    look(keeper)
    assert drained(keeper) == {ONE.uuid: None, TWO.uuid: None}
    played.found[0] = replace(ONE, trouble="its memory is being repaired")
    look(keeper)
    assert drained(keeper)[ONE.uuid] == "its memory is being repaired"
    played.found[0] = ONE
    look(keeper, 2)
    assert drained(keeper)[ONE.uuid] is None
    assert len(told) == 3, "the queue is told of each change, and of nothing else"


def test_a_device_that_vanishes_stays_in_sight() -> None:
    played = Played(ONE, TWO)
    keeper = DeviceKeeper(played)
    look(keeper)
    played.found.remove(TWO)
    look(keeper)
    assert drained(keeper) == {ONE.uuid: None, TWO.uuid: "it is gone: the driver does not list it any more"}
    assert keeper.handover(TWO.uuid).uuid == TWO.uuid, "the run that holds it may be adopted by a new hub"


def test_a_driver_that_fails_drains_all_and_says_what_it_said() -> None:
    played = Played(ONE)
    played.read[ONE.uuid] = DeviceReading(use=50.0)
    keeper = DeviceKeeper(played)
    look(keeper)
    assert keeper.read()[ONE.uuid].use == 50.0
    played.problem = GpusUnavailable("NVIDIA's library does not answer: Driver/library version mismatch")
    look(keeper)
    assert drained(keeper) == {ONE.uuid: "NVIDIA's library does not answer: Driver/library version mismatch"}
    assert keeper.read() == {}, "unknown is not 0 %"
    played.problem = None
    look(keeper)
    assert drained(keeper) == {ONE.uuid: None}


def test_a_driver_that_hangs_is_asked_once_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ANSWER_S", 0.05)
    played = Played(ONE)
    keeper = DeviceKeeper(played)

    async def scenario() -> None:
        await keeper.look()
        played.hang = threading.Event()
        await keeper.look()
        await keeper.look()
        assert played.asked == 2, "no second question while the first hangs"
        assert "has not answered" in str(drained(keeper)[ONE.uuid])
        played.hang.set()
        monkeypatch.setattr(keeping, "ANSWER_S", 10.0)
        await keeper.look()
        assert drained(keeper) == {ONE.uuid: None}

    asyncio.run(scenario())


def test_a_strangers_process_drains_its_device_when_it_is_seen_twice() -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        played = Played(ONE, TWO)
        played.read = {ONE.uuid: DeviceReading(processes=(stranger.pid,)), TWO.uuid: DeviceReading(processes=())}
        keeper = DeviceKeeper(played)
        look(keeper)
        assert drained(keeper)[ONE.uuid] is None, "it may be a job that is just ending"
        look(keeper)
        assert drained(keeper) == {
            ONE.uuid: f"in use by the process {stranger.pid} ('sleep'), which is no job of this site",
            TWO.uuid: None,
        }
    finally:
        stranger.kill()
        stranger.wait()
    look(keeper)
    assert drained(keeper)[ONE.uuid] is None


def test_what_containers_were_given_drains_until_it_is_told_anew() -> None:
    told = []
    played = Played(ONE, TWO)
    keeper = DeviceKeeper(played, lambda: told.append(True))
    look(keeper)
    for _ in range(2):
        keeper.drain({ONE.uuid: "given to a container"})
        look(keeper)
        assert drained(keeper) == {ONE.uuid: "given to a container", TWO.uuid: None}
    played.found[0] = replace(ONE, trouble="its memory is being repaired")
    look(keeper)
    assert drained(keeper)[ONE.uuid] == "its memory is being repaired", "the driver's word comes first"
    played.found[0] = ONE
    look(keeper)
    keeper.drain({})
    assert drained(keeper) == {ONE.uuid: None, TWO.uuid: None}
    assert len(told) == 5, "the queue is told of each change, and of nothing else"


def test_a_process_that_nobody_can_look_at_is_no_stranger() -> None:
    played = Played(ONE)
    gone = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(gone, 0)
    played.read = {ONE.uuid: DeviceReading(processes=(gone,))}
    keeper = DeviceKeeper(played)
    look(keeper, 3)
    assert drained(keeper) == {ONE.uuid: None}


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"model": "A100"}], "GPU 1 of the setting lacks uuid"),
        ([{"uuid": "a", "model": "A100", "memory": 80}], "does not know memory"),
        ([{"uuid": "a", "model": "A100"}] * 2, "have the same uuid: a"),
        ([{"uuid": "a", "model": "A100", "handover": "magic"}], "not 'magic'"),
    ],
)
def test_a_wrong_declaration_is_told_in_words(items: list[dict[str, object]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        declared(items)


def test_declared_devices_are_what_was_said() -> None:
    found = declared([{"uuid": "GPU-1", "model": "A100", "mem": 80, "nodes": ["/dev/nvidia0"], "handover": "nodes"}])
    assert found.gpus() == [Gpu("GPU-1", "A100", 80, nodes=("/dev/nvidia0",), handover="nodes")]
