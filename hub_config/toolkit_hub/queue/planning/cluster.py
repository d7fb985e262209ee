"""What is free while a pass gives it away, and what will come free when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from toolkit_hub.queue.planning.capacity import EPSILON, Capacity, Device, Node
from toolkit_hub.queue.planning.runs import Request, RunningRun

__all__ = ["Cluster", "FreeNode", "Hold"]


@dataclass(frozen=True, slots=True)
class Hold:
    """A part of a machine that comes free when its run ends: at `until` at the latest, None if nobody knows."""

    cpu: float
    mem: float
    devices: tuple[str, ...]
    until: float | None
    run: RunningRun | None = None


class FreeNode:
    """What is free on a machine. `free` has the ids of free devices by kind, each list sorted backwards; `gpus` counts them."""

    __slots__ = ("cpu", "free", "gpus", "mem", "name")

    def __init__(self, name: str, cpu: float, mem: float, free: list[list[str]]) -> None:
        self.name, self.cpu, self.mem, self.free = name, cpu, mem, free
        self.gpus = sum(map(len, free))

    def copy(self) -> FreeNode:
        return FreeNode(self.name, self.cpu, self.mem, [list(devices) for devices in self.free])

    def fits(self, request: Request, kinds: tuple[int, ...]) -> bool:
        """Whether the request fits; `kinds` are those that it takes."""
        if self.cpu + EPSILON < request.cpu or self.mem + EPSILON < request.mem:
            return False
        return not request.gpu or sum(len(self.free[kind]) for kind in kinds) >= request.gpu

    def choose(self, count: int, kinds: tuple[int, ...]) -> tuple[str, ...]:
        """So many free devices, all of one kind where that is possible, of the smallest that suffice."""
        for kind in kinds:
            if len(self.free[kind]) >= count:
                return tuple(self.free[kind][: -count - 1 : -1])
        chosen: list[str] = []
        for kind in kinds:
            chosen += reversed(self.free[kind])
        return tuple(chosen[:count])


class Cluster:
    """The machines as a pass sees them. Devices of one make are a kind; kinds are numbered from the smallest memory up."""

    def __init__(self, capacity: Capacity, running: Iterable[RunningRun] = ()) -> None:
        self.capacity = capacity
        makes = {_make(device): device for node in capacity.nodes for device in node.usable}
        order = {make: number for number, make in enumerate(sorted(makes))}
        self.samples = [makes[make] for make in sorted(makes)]
        self.mems = [device.mem or 0.0 for device in self.samples]
        self.kind_of = {device.uuid: order[_make(device)] for node in capacity.nodes for device in node.usable}
        self.nodes = [
            self._empty(node) for node in sorted(capacity.nodes, key=lambda node: node.name) if not node.drained
        ]
        self.by_name = {node.name: node for node in self.nodes}
        self.holds: dict[str, list[Hold]] = {node.name: [] for node in self.nodes}
        self._kinds: dict[tuple[float, str | None, float | None, bool | None], tuple[int, ...]] = {}
        self._alike: dict[tuple[int, ...], list[list[int]]] = {}
        held: dict[str, set[str]] = {}
        for run in running:
            self._hold(run, held)
        for name, devices in held.items():
            self._remove(self.by_name[name], devices)

    def kinds(self, request: Request) -> tuple[int, ...]:
        """The kinds of devices that the request takes, the smallest first."""
        if not request.gpu:
            return ()
        key = (request.gpu_mem, request.gpu_model, request.gpu_cuda_version, request.gpu_tensor_cores)
        found = self._kinds.get(key)
        if found is None:
            found = tuple(kind for kind, device in enumerate(self.samples) if request.takes(device))
            self._kinds[key] = found
        return found

    def of_equal_memory(self, kinds: tuple[int, ...]) -> list[list[int]]:
        """The kinds, apart by the memory of a device, the smallest first."""
        found = self._alike.get(kinds)
        if found is None:
            found = [list(alike) for _, alike in groupby(kinds, key=self.mems.__getitem__)]
            self._alike[kinds] = found
        return found

    def take(self, node: FreeNode, cpu: float, mem: float, devices: Iterable[str]) -> None:
        node.cpu -= cpu
        node.mem -= mem
        taken = set(devices)
        if taken:
            self._remove(node, taken)

    def hold(self, node: FreeNode, request: Request, devices: tuple[str, ...], until: float | None) -> None:
        """A run takes this now and gives it back at `until` at the latest."""
        self.take(node, request.cpu, request.mem, devices)
        self.holds[node.name].append(Hold(request.cpu, request.mem, devices, until))

    def has_room(self, node: FreeNode, request: Request, devices: tuple[str, ...], victims: list[Hold]) -> bool:
        """Whether a run can have these very devices when the victims are gone."""
        coming = {uuid for hold in victims for uuid in hold.devices}
        free = {uuid for same in node.free for uuid in same}
        takes = set(self.kinds(request))
        return (
            node.cpu + sum(hold.cpu for hold in victims) + EPSILON >= request.cpu
            and node.mem + sum(hold.mem for hold in victims) + EPSILON >= request.mem
            and len(set(devices)) == request.gpu
            and all((uuid in free or uuid in coming) and self.kind_of.get(uuid) in takes for uuid in devices)
        )

    def make_room(
        self, node: FreeNode, request: Request, devices: tuple[str, ...], victims: list[Hold], until: float | None
    ) -> None:
        """What the victims give back belongs to a starter; the part that they do not cover is taken from what is free. What
        they have beyond that comes free at the latest when the last of them would have ended anyhow."""
        cpu, mem = sum(hold.cpu for hold in victims), sum(hold.mem for hold in victims)
        self.take(node, max(0.0, request.cpu - cpu), max(0.0, request.mem - mem), devices)
        rest = tuple(uuid for hold in victims for uuid in hold.devices if uuid not in devices)
        holds = [hold for hold in self.holds[node.name] if hold not in victims]
        holds.append(Hold(request.cpu, request.mem, devices, until))
        ends = [hold.until for hold in victims if hold.until is not None]
        last = max(ends) if len(ends) == len(victims) else None
        holds.append(Hold(max(0.0, cpu - request.cpu), max(0.0, mem - request.mem), rest, last))
        self.holds[node.name] = holds

    def restore(self, node: FreeNode, holds: Iterable[Hold]) -> None:
        """Give back what is held, for a look at another time."""
        for hold in holds:
            node.cpu += hold.cpu
            node.mem += hold.mem
            for uuid in hold.devices:
                if uuid in self.kind_of:
                    node.free[self.kind_of[uuid]].append(uuid)
                    node.gpus += 1
        for devices in node.free:
            devices.sort(reverse=True)

    def _hold(self, run: RunningRun, held: dict[str, set[str]]) -> None:
        node = self.by_name.get(run.node)
        if node is None:
            return
        node.cpu -= run.cpu
        node.mem -= run.mem
        held.setdefault(run.node, set()).update(run.devices)
        self.holds[run.node].append(Hold(run.cpu, run.mem, run.devices, run.latest_end, run))

    def _empty(self, node: Node) -> FreeNode:
        free: list[list[str]] = [[] for _ in self.samples]
        for uuid in sorted((device.uuid for device in node.usable), reverse=True):
            free[self.kind_of[uuid]].append(uuid)
        return FreeNode(node.name, node.cpu, node.mem, free)

    def _remove(self, node: FreeNode, taken: set[str]) -> None:
        for kind in {self.kind_of[uuid] for uuid in taken if uuid in self.kind_of}:
            before = node.free[kind]
            node.free[kind] = [uuid for uuid in before if uuid not in taken]
            node.gpus -= len(before) - len(node.free[kind])


def _make(device: Device) -> tuple[float, float, bool, str, bool, bool, bool]:
    """What makes devices the same for every request; sorts the least able first, and what is unknown before all."""
    return (
        device.mem or 0.0,
        device.capability or 0.0,
        bool(device.tensor_cores),
        device.model,
        device.mem is None,
        device.capability is None,
        device.tensor_cores is None,
    )
