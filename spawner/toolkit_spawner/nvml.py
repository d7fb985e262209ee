"""NVIDIA's GPUs, by the driver's own library (NVML, through nvidia-ml-py). Every call may hang with a sick driver.

https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.gpus import CONTROL_NODE, MEMORY_NODES, Gpu, GpusUnavailable, Handover

__all__ = ["NvmlGpus"]

ResultT = TypeVar("ResultT")

#: Turing cards without tensor cores, which their compute capability does not tell.
NO_TENSOR_CORES = ("GTX 16",)


class NvmlGpus:
    """All devices of this machine. Where a GPU is in MIG mode, its instances are the devices and it is none itself."""

    def __init__(self, handover: Handover) -> None:
        self.handover: Handover = handover

    def gpus(self) -> list[Gpu]:
        with _library():
            driver = _told(pynvml.nvmlSystemGetDriverVersion)
            cuda = _cuda_version(_told(pynvml.nvmlSystemGetCudaDriverVersion_v2))
            return [self._gpu(handle, parent, number, driver, cuda) for handle, parent, number in _devices()]

    def readings(self) -> Mapping[str, DeviceReading]:
        with _library():
            return {uuid: _reading(handle, parent) for handle, parent, _ in _devices() if (uuid := _uuid(handle))}

    def _gpu(self, handle: Any, parent: Any, number: str, driver: str | None, cuda: str | None) -> Gpu:
        uuid = _uuid(handle)
        model = _told(pynvml.nvmlDeviceGetName, handle) or _told(pynvml.nvmlDeviceGetName, parent) or "unknown GPU"
        memory = _memory(handle)
        capability = _capability(_told(pynvml.nvmlDeviceGetCudaComputeCapability, parent))
        minor = _told(pynvml.nvmlDeviceGetMinorNumber, parent)
        nodes = (f"/dev/nvidia{minor}", CONTROL_NODE, *(node for node in MEMORY_NODES if Path(node).exists()))
        return Gpu(
            uuid=uuid or f"unknown-{minor}",
            model=model,
            mem=None if memory is None else round(memory.total / 2**30, 1),
            capability=capability,
            cuda_version=cuda,
            driver=driver,
            tensor_cores=None
            if capability is None
            else capability >= 7 and not any(n in model for n in NO_TENSOR_CORES),
            handover=self.handover,
            nodes=nodes if self.handover == "nodes" and minor is not None else (),
            own_node=f"/dev/nvidia{minor}" if handle is parent and minor is not None else None,
            number=number,
            trouble=_trouble(parent) if uuid else "it does not tell its name: it may have fallen off the bus",
        )


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Opened anew each time: a driver that was restarted is not found otherwise."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise GpusUnavailable(f"NVIDIA's library does not answer: {error}") from error
    try:
        yield
    except pynvml.NVMLError as error:
        raise GpusUnavailable(f"NVIDIA's library does not answer: {error}") from error
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _devices() -> Iterator[tuple[Any, Any, str]]:
    """Each device, the GPU that it is or is a part of, and its number."""
    for index in range(pynvml.nvmlDeviceGetCount()):
        gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
        mode = _told(pynvml.nvmlDeviceGetMigMode, gpu)
        if not mode or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            yield gpu, gpu, str(index)
            continue
        for place in range(_told(pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0):
            instance = _told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, place)
            if instance is not None:
                yield instance, gpu, f"{index}:{place}"


def _told(ask: Callable[..., ResultT], *arguments: Any) -> ResultT | None:
    """What it answers, or None for what this device does not tell."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def _uuid(handle: Any) -> str | None:
    return _told(pynvml.nvmlDeviceGetUUID, handle)


def _memory(handle: Any) -> Any:
    """As `nvidia-smi` counts it: what the driver keeps for itself is nobody's use. Older drivers do not tell them apart."""
    return _told(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2) or _told(
        pynvml.nvmlDeviceGetMemoryInfo, handle
    )


def _cuda_version(number: int | None) -> str | None:
    return None if number is None else f"{number // 1000}.{number % 1000 // 10}"


def _capability(version: Any) -> float | None:
    return None if version is None else float(f"{version[0]}.{version[1]}")


def _trouble(gpu: Any) -> str | None:
    """What its own health says against giving it out."""
    rows = _told(pynvml.nvmlDeviceGetRemappedRows, gpu)
    if rows is not None and rows[3]:
        return "its memory has faults that it can repair no more"
    if rows is not None and rows[2]:
        return "its memory is being repaired: it has to be reset"
    if _told(pynvml.nvmlDeviceGetRetiredPagesPendingStatus, gpu) == pynvml.NVML_FEATURE_ENABLED:
        return "faulty pages of its memory wait to be retired: it has to be reset"
    uncorrected = _told(
        pynvml.nvmlDeviceGetTotalEccErrors, gpu, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    )
    return f"{uncorrected} memory errors since it was reset that it could not correct" if uncorrected else None


def _reading(handle: Any, parent: Any) -> DeviceReading:
    rates = _told(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _memory(handle)
    processes = _told(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return DeviceReading(
        use=None if rates is None else float(rates.gpu),
        memory=None if memory is None else int(memory.used),
        memory_total=None if memory is None else int(memory.total),
        temperature=_told(pynvml.nvmlDeviceGetTemperature, parent, pynvml.NVML_TEMPERATURE_GPU),
        processes=None if processes is None else tuple(process.pid for process in processes),
    )
