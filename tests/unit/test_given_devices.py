"""Which GPUs a container was given, by the engine's description of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_hardening import ACCOUNTS, SPEC
from toolkit_spawner.given_devices import devices_of, given_devices
from toolkit_spawner.gpus import CONTROL_NODE, MEMORY_NODES, Gpu, Handover, simulated
from toolkit_spawner.hardening import container_config

ONE, TWO = (Gpu(uuid=f"GPU-{n * 8}", model="A100", own_node=f"/dev/nvidia{n}", number=str(n)) for n in "12")
SHARED_NODES = (CONTROL_NODE, *MEMORY_NODES)
MIG = [Gpu(uuid=f"MIG-{n * 8}", model="A100 MIG", number=f"0:{n}", nodes=("/dev/nvidia0", *SHARED_NODES)) for n in "01"]
PLAYED = simulated(11).gpus()
GPUS = [*MIG, ONE, TWO]


def described(*visible: str, runtime: str = "runc", devices: tuple[str, ...] = (), **request: Any) -> dict[str, Any]:
    """As of a container that somebody made."""
    return {
        "Config": {"Env": ["A=1", *(f"NVIDIA_VISIBLE_DEVICES={value}" for value in visible)]},
        "HostConfig": {
            "Runtime": runtime,
            "DeviceRequests": [{"Driver": "", "Count": 0, "DeviceIDs": None, **request}] if request else None,
            "Devices": [{"PathOnHost": path} for path in devices],
        },
    }


GPU = {"Capabilities": [["gpu"]]}
EVERYTHING = {gpu.uuid for gpu in GPUS}


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (described(), set()),
        (described(**GPU, Count=-1), EVERYTHING),
        (described(**GPU, DeviceIDs=[TWO.uuid]), {TWO.uuid}),
        (described(**GPU, DeviceIDs=["gpu-22222222"]), {TWO.uuid}),
        (described(**GPU, DeviceIDs=["1"]), {ONE.uuid}),
        (described(**GPU, DeviceIDs=["0:1"]), {MIG[1].uuid}),
        (described(**GPU, Count=1), {gpu.uuid for gpu in MIG}),
        (described(**GPU, Count=2), {*(gpu.uuid for gpu in MIG), ONE.uuid}),
        (described(Capabilities=[["tpu"]], Count=-1), set()),
        (described(Driver="cdi", DeviceIDs=[f"nvidia.com/gpu={ONE.uuid}"]), {ONE.uuid}),
        (described(Driver="cdi", DeviceIDs=["nvidia.com/gpu=all"]), EVERYTHING),
        (described(Driver="cdi", DeviceIDs=["amd.com/gpu=all"]), set()),
        (described(devices=("/dev/nvidia1", *SHARED_NODES)), {ONE.uuid}),
        (described(devices=SHARED_NODES), set()),
        (described(devices=("/dev/",)), {ONE.uuid, TWO.uuid}),
        (described(devices=("/dev/nvidia10",)), set()),
        (described("all"), set()),
        (described("all", runtime="nvidia"), EVERYTHING),
        (described("all", "void", runtime="nvidia"), set()),
        (described(f"{ONE.uuid}, 2", runtime="nvidia"), {ONE.uuid, TWO.uuid}),
        (described("all", runtime="nvidia", **GPU, DeviceIDs=["2"]), {TWO.uuid}),
    ],
)
def test_what_was_given(raw: dict[str, Any], found: set[str]) -> None:
    """An image for GPUs says `all`, which nothing follows but NVIDIA's runtime, and that only where nothing was asked for."""
    assert devices_of(given_devices(raw), GPUS) == found


def test_simulated_devices_are_told_by_their_names_only() -> None:
    for raw in (
        described("all"),
        described("0"),
        described(devices=("/dev/null",)),
        described("all", runtime="nvidia"),
    ):
        assert devices_of(given_devices(raw), PLAYED) == set()
    raw = described("GPU-SIMULATED-1", devices=("/dev/null",))
    assert devices_of(given_devices(raw), PLAYED) == {"GPU-SIMULATED-1"}, "and not the tenth"


@pytest.mark.parametrize("handover", ["cdi", "nvidia", "nodes"])
def test_what_the_spawner_gives_is_read_back(handover: Handover) -> None:
    """Of each kind of device, by each way."""
    real = [replace(gpu, handover=handover, nodes=(str(gpu.own_node), *SHARED_NODES)) for gpu in (ONE, TWO)]
    instances = [replace(gpu, handover=handover) for gpu in MIG]
    declared = [
        Gpu(uuid=f"SIMULATED-{n}", model="any", handover=handover, nodes=(f"/dev/nvidia{n}", *SHARED_NODES))
        for n in range(7, 9)
    ]
    for gpus in (real, instances, declared, PLAYED):
        for wanted in (gpus[:0], gpus[:1], gpus[1:]):
            visible = ",".join(gpu.uuid for gpu in wanted) or "void"
            spec = SPEC.model_copy(
                update={
                    "devices": [gpu.spec() for gpu in wanted],
                    "environment": {"NVIDIA_VISIBLE_DEVICES": visible},
                }
            )
            config = container_config(spec, [], "/r", ACCOUNTS)
            raw = {"Config": {"Env": config["Env"]}, "HostConfig": {"Runtime": "runc", **config["HostConfig"]}}
            assert devices_of(given_devices(raw), gpus) == {gpu.uuid for gpu in wanted}
