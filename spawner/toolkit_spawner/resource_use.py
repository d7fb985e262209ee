"""What a container has used, as the kernel counts it for its control group and its network namespace.

Both versions of control groups are read (Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/); network counters are
those of proc(5), /proc/PID/net/dev. Where the group is not on this machine, or lies at another place, the engine's own
statistics tell the same (`from_engine`). What cannot be read is None, which is never the same as 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CGROUPS", "ControlGroup", "Counters", "from_engine", "group_places"]

CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")
#: Processes of a group up to which each is asked for its own counts.
MOST_PROCESSES = 256


@dataclass(frozen=True)
class Counters:
    """One reading. What counts up begins with the container; the network's with its namespace, which may be older."""

    #: When it was read: seconds on a clock that never jumps.
    at: float
    #: CPU time in seconds.
    cpu: float | None = None
    #: Bytes in use now, without the file cache that the kernel would give up first (as `docker stats` and kubelet count it).
    memory: int | None = None
    #: Bytes read from and written to block devices; see `ControlGroup`.
    disk_read: int | None = None
    disk_written: int | None = None
    #: Bytes through all interfaces but the loopback.
    net_received: int | None = None
    net_sent: int | None = None


def group_places(container_id: str) -> tuple[str, str]:
    """Where a container's group may lie below each hierarchy: by the engine's cgroupfs driver, and by systemd's."""
    return f"docker/{container_id}", f"system.slice/docker-{container_id}.scope"


class ControlGroup:
    """The group of one container. Reads block for some microseconds.

    Version 1 does not count what the kernel writes later from its cache, and on many kernels counts no bytes of disks at all.
    There the processes' own counts (proc(5), /proc/PID/io) are added up: a parent's has those of its children that have ended.
    """

    def __init__(self, cpu: Path, memory: Path, disk: Path, *, unified: bool) -> None:
        self._cpu, self._memory, self._disk, self._unified = cpu, memory, disk, unified
        self._most = (0, 0)

    @classmethod
    def find(cls, container_id: str, root: Path = CGROUPS) -> ControlGroup | None:
        """The group of a container; None where there is none, or none that can be read."""
        for place in group_places(container_id):
            if (root / place / "cpu.stat").exists():
                return cls(root / place, root / place, root / place, unified=True)
            if (root / "cpuacct" / place / "cpuacct.usage").exists():
                return cls(root / "cpuacct" / place, root / "memory" / place, root / "blkio" / place, unified=False)
        return None

    def read(self) -> Counters | None:
        """What is counted now; None when the group is gone."""
        at = time.monotonic()
        cpu, memory = (self._cpu_v2(), self._memory_v2()) if self._unified else (self._cpu_v1(), self._memory_v1())
        if cpu is None and memory is None:
            return None
        read, written = self._disk_v2() if self._unified else self._disk_v1()
        return Counters(at, cpu, memory, read, written, *self._network())

    def _cpu_v1(self) -> float | None:
        used = _number(self._cpu / "cpuacct.usage")
        return None if used is None else used / 1e9

    def _cpu_v2(self) -> float | None:
        used = _values(self._cpu / "cpu.stat").get("usage_usec")
        return None if used is None else used / 1e6

    def _memory_v1(self) -> int | None:
        return _in_use(self._memory, "memory.usage_in_bytes", "total_inactive_file")

    def _memory_v2(self) -> int | None:
        return _in_use(self._memory, "memory.current", "inactive_file")

    def _disk_v1(self) -> tuple[int | None, int | None]:
        text = _text(self._disk / "blkio.throttle.io_service_bytes_recursive") or ""
        words = [line.split() for line in text.splitlines()]
        counts = {kind: [int(parts[2]) for parts in words if parts[1:2] == [kind]] for kind in ("Read", "Write")}
        if counts["Read"] or counts["Write"]:
            return sum(counts["Read"]), sum(counts["Write"])
        return self._disk_of_processes()

    def _disk_of_processes(self) -> tuple[int | None, int | None]:
        processes = list(self._processes())
        if len(processes) > MOST_PROCESSES:
            return None, None
        counts = [_values(PROC / process / "io", ":") for process in processes]
        sums = [sum(count.get(name, 0) for count in counts) for name in ("read_bytes", "write_bytes")]
        if not any(counts):
            return None, None
        # A process that has ended counts nowhere until its parent has taken note of it.
        self._most = (max(self._most[0], sums[0]), max(self._most[1], sums[1]))
        return self._most

    def _disk_v2(self) -> tuple[int | None, int | None]:
        text = _text(self._disk / "io.stat")
        if text is None:
            return None, None
        pairs = [word.partition("=") for line in text.splitlines() for word in line.split()[1:]]
        sums = [sum(int(value) for name, _, value in pairs if name == kind) for kind in ("rbytes", "wbytes")]
        return sums[0], sums[1]

    def _network(self) -> tuple[int | None, int | None]:
        for process in self._processes():
            text = _text(PROC / process / "net" / "dev")
            if text is not None:
                return _net_sums(text)
        return None, None

    def _processes(self) -> Iterator[str]:
        """Ids of processes in the group, or in one that the container made below it."""
        for file in (self._cpu / "cgroup.procs", *self._cpu.glob("*/cgroup.procs")):
            yield from (_text(file) or "").split()


def from_engine(stats: dict[str, Any]) -> Counters | None:
    """From the engine's ``GET /containers/ID/stats``; None for a container that does not run."""
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    entries: Sequence[dict[str, Any]] | None = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive")
    networks: dict[str, dict[str, int]] | None = stats.get("networks")
    return Counters(
        at=time.monotonic(),
        cpu=stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory=max(0, memory["usage"] - cache),
        disk_read=_engine_sum(entries, "read"),
        disk_written=_engine_sum(entries, "write"),
        net_received=None if networks is None else sum(one["rx_bytes"] for one in networks.values()),
        net_sent=None if networks is None else sum(one["tx_bytes"] for one in networks.values()),
    )


def _engine_sum(entries: Sequence[dict[str, Any]] | None, kind: str) -> int | None:
    return None if entries is None else sum(one["value"] for one in entries if one["op"].lower() == kind)


def _in_use(folder: Path, present: str, cache: str) -> int | None:
    used = _number(folder / present)
    return None if used is None else max(0, used - _values(folder / "memory.stat").get(cache, 0))


def _net_sums(text: str) -> tuple[int, int]:
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if name.strip() != "lo":
            fields = numbers.split()
            received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent


def _values(file: Path, separator: str | None = None) -> dict[str, int]:
    """A file of lines `name number`, or with a separator between them."""
    pairs = (line.split(separator) for line in (_text(file) or "").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _number(file: Path) -> int | None:
    with suppress(TypeError, ValueError):
        return int(_text(file) or "")
    return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text()
    except OSError:
        return None
