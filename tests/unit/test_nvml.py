"""What is read from NVIDIA's library. The library is played here: its real functions need a driver (SIMULATED)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from toolkit_spawner import nvml
from toolkit_spawner.gpus import GpusUnavailable
from toolkit_spawner.nvml import NvmlGpus


class PlayedLibrary:
    """pynvml's functions over plain dicts; what a dict lacks raises as an unsupported call does. Constants are the real ones."""

    def __init__(self, devices: list[dict[str, Any]]) -> None:
        self.devices = devices
        self.dead = False
        self.open = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(pynvml, name)

    def nvmlInit(self) -> None:
        if self.dead:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12040

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:
        return self.devices[index]

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: dict[str, Any]) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: dict[str, Any], place: int) -> dict[str, Any]:
        if place >= len(gpu["mig"]):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return dict(gpu["mig"][place])


def reader(key: str) -> Any:
    def read(handle: dict[str, Any], *_more: Any) -> Any:
        if key not in handle:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return handle[key]

    return staticmethod(read)


for _function, _key in {
    "nvmlDeviceGetMigMode": "mig_mode",
    "nvmlDeviceGetUUID": "uuid",
    "nvmlDeviceGetName": "name",
    "nvmlDeviceGetMemoryInfo": "memory",
    "nvmlDeviceGetCudaComputeCapability": "capability",
    "nvmlDeviceGetMinorNumber": "minor",
    "nvmlDeviceGetRemappedRows": "rows",
    "nvmlDeviceGetRetiredPagesPendingStatus": "pages",
    "nvmlDeviceGetTotalEccErrors": "ecc",
    "nvmlDeviceGetUtilizationRates": "rates",
    "nvmlDeviceGetComputeRunningProcesses": "processes",
    "nvmlDeviceGetTemperature": "temperature",
}.items():
    setattr(PlayedLibrary, _function, reader(_key))


def card(number: int, **more: Any) -> dict[str, Any]:
    memory = SimpleNamespace(total=80 * 2**30, used=3 * 2**30)
    return {
        "uuid": f"GPU-SIMULATED-{number}", "name": "SIMULATED A100", "memory": memory, "capability": (8, 0), "minor": number,
        **more,
    }  # fmt: skip


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedLibrary]:
    played = PlayedLibrary([card(0)])
    monkeypatch.setattr(nvml, "pynvml", played)
    yield played
    assert played.open == 0, "the library is closed again, whatever happens"


def test_memory_is_counted_as_nvidia_smi_does_where_the_driver_can(
    library: PlayedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what the driver keeps for itself, which an older one counts as used."""
    total = 80 * 2**30
    newer = True

    def read(_handle: Any, version: int | None = None) -> SimpleNamespace:
        if version is None:
            return SimpleNamespace(total=total, used=3 * 2**30)
        if not newer:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        assert version == pynvml.nvmlMemory_v2
        return SimpleNamespace(total=total, used=2 * 2**30)

    monkeypatch.setattr(PlayedLibrary, "nvmlDeviceGetMemoryInfo", staticmethod(read))
    (reading,) = NvmlGpus("cdi").readings().values()
    assert reading.memory == 2 * 2**30
    newer = False
    (reading,) = NvmlGpus("cdi").readings().values()
    assert reading.memory == 3 * 2**30


def test_what_a_card_tells(library: PlayedLibrary) -> None:
    (gpu,) = NvmlGpus("cdi").gpus()
    assert (gpu.uuid, gpu.model, gpu.mem, gpu.capability) == ("GPU-SIMULATED-0", "SIMULATED A100", 80.0, 8.0)
    assert (gpu.cuda_version, gpu.driver, gpu.tensor_cores, gpu.trouble) == ("12.4", "550.54", True, None)
    assert gpu.spec().handover == "cdi"
    assert gpu.spec().nodes == []
    assert (gpu.own_node, gpu.number) == ("/dev/nvidia0", "0"), "so that it is told in others' containers"


def test_what_a_card_does_not_tell_is_unknown_and_not_zero(library: PlayedLibrary) -> None:
    library.devices = [{"uuid": "GPU-SIMULATED-9"}]
    (gpu,) = NvmlGpus("nvidia").gpus()
    assert (gpu.model, gpu.mem, gpu.capability, gpu.tensor_cores) == ("unknown GPU", None, None, None)
    reading = NvmlGpus("nvidia").readings()["GPU-SIMULATED-9"]
    assert (reading.use, reading.memory, reading.temperature, reading.processes) == (None, None, None, None)


def test_readings(library: PlayedLibrary) -> None:
    library.devices = [
        card(
            0, rates=SimpleNamespace(gpu=42), temperature=61, processes=[SimpleNamespace(pid=7), SimpleNamespace(pid=8)]
        )
    ]
    reading = NvmlGpus("nvidia").readings()["GPU-SIMULATED-0"]
    assert (reading.use, reading.memory, reading.temperature, reading.processes) == (42.0, 3 * 2**30, 61, (7, 8))


def test_the_instances_of_a_divided_card_are_devices_and_it_is_none(library: PlayedLibrary) -> None:
    instance = SimpleNamespace(total=10 * 2**30, used=0)
    parts = [{"uuid": f"MIG-SIMULATED-{n}", "name": "SIMULATED A100 MIG 1g.10gb", "memory": instance} for n in range(2)]
    library.devices = [card(0, mig_mode=(pynvml.NVML_DEVICE_MIG_ENABLE, 0), mig=parts), card(1, mig_mode=(0, 0))]
    found = NvmlGpus("nvidia").gpus()
    assert [gpu.uuid for gpu in found] == ["MIG-SIMULATED-0", "MIG-SIMULATED-1", "GPU-SIMULATED-1"]
    assert [gpu.mem for gpu in found] == [10.0, 10.0, 80.0]
    assert found[0].capability == 8.0, "that of the card"
    assert [gpu.number for gpu in found] == ["0:0", "0:1", "1"]
    assert [gpu.own_node for gpu in found] == [None, None, "/dev/nvidia1"], "instances share that of their card"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rows": (0, 1, 0, 1)}, "faults that it can repair no more"),
        ({"rows": (1, 0, 1, 0)}, "it has to be reset"),
        ({"pages": pynvml.NVML_FEATURE_ENABLED}, "wait to be retired"),
        ({"ecc": 3}, "3 memory errors"),
        ({"rows": (4, 0, 0, 0), "pages": 0, "ecc": 0}, None),
    ],
)
def test_the_cards_own_health(library: PlayedLibrary, more: dict[str, Any], words: str | None) -> None:
    library.devices = [card(0, **more)]
    (gpu,) = NvmlGpus("nvidia").gpus()
    assert (gpu.trouble is None) if words is None else (words in str(gpu.trouble))


def test_device_nodes_for_an_engine_that_knows_no_gpus(library: PlayedLibrary) -> None:
    library.devices = [card(3)]
    (gpu,) = NvmlGpus("nodes").gpus()
    assert gpu.nodes[:2] == ("/dev/nvidia3", "/dev/nvidiactl")


def test_a_library_that_does_not_answer(library: PlayedLibrary) -> None:
    library.dead = True
    for ask in (NvmlGpus("nvidia").gpus, NvmlGpus("nvidia").readings):
        with pytest.raises(GpusUnavailable, match="does not answer"):
            ask()
