"""Counters of a container, from the kernel's files (folders of the same shape stand for its control groups) and the engine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from toolkit_hub.metrics.sampler import rates
from toolkit_spawner.resource_use import ControlGroup, Counters, from_engine

CONTAINER = "c" * 64
PLACES = [f"docker/{CONTAINER}", f"system.slice/docker-{CONTAINER}.scope"]


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


@pytest.mark.parametrize("place", PLACES)
def test_version_2(tmp_path: Path, place: str) -> None:
    write(
        tmp_path / place,
        cpu__stat="usage_usec 1500000\nuser_usec 1000000\n",
        memory__current="5000000\n",
        memory__stat="anon 4000000\ninactive_file 1000000\n",
        io__stat="8:0 rbytes=100 wbytes=200 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n",
        cgroup__procs=f"{os.getpid()}\n",
    )
    group = ControlGroup.find(CONTAINER, tmp_path)
    assert group is not None
    found = group.read()
    assert found is not None
    assert (found.cpu, found.memory, found.disk_read, found.disk_written) == (1.5, 4_000_000, 101, 202)
    assert found.net_received is not None


@pytest.mark.parametrize("place", PLACES)
def test_version_1(tmp_path: Path, place: str) -> None:
    write(tmp_path / "cpuacct" / place, cpuacct__usage="2500000000\n", cgroup__procs="")
    write(
        tmp_path / "memory" / place,
        memory__usage_in_bytes="5000\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 1000\n",
    )
    bytes_ = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n8:16 Read 4\nTotal 12292\n"
    write(tmp_path / "blkio" / place, blkio__throttle__io_service_bytes_recursive=bytes_)
    group = ControlGroup.find(CONTAINER, tmp_path)
    assert group is not None
    found = group.read()
    assert found is not None
    assert (found.cpu, found.memory, found.disk_read, found.disk_written) == (2.5, 4000, 4100, 8192)
    assert (found.net_received, found.net_sent) == (None, None), "there is no process to ask"


def test_a_kernel_that_counts_no_bytes_of_disks_is_not_believed(tmp_path: Path) -> None:
    """Then the processes tell: this one has read files in its life, and what it wrote is no less later."""
    place = PLACES[0]
    write(tmp_path / "cpuacct" / place, cpuacct__usage="1\n", cgroup__procs=f"{os.getpid()}\n")
    write(tmp_path / "blkio" / place, blkio__throttle__io_service_bytes_recursive="Total 0\n")
    group = ControlGroup.find(CONTAINER, tmp_path)
    assert group is not None
    before = group.read()
    (tmp_path / "written").write_bytes(b"x" * 2**22)
    handle = os.open(tmp_path / "written", os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    after = group.read()
    assert before is not None
    assert after is not None
    assert before.disk_written is not None
    assert after.disk_written is not None
    assert after.disk_written - before.disk_written >= 2**22
    write(tmp_path / "cpuacct" / place, cgroup__procs="")
    ended = group.read()
    assert ended is not None
    assert ended.disk_written is None, "unknown, and not 0"


def test_what_is_not_there(tmp_path: Path) -> None:
    assert ControlGroup.find(CONTAINER, tmp_path) is None
    write(tmp_path / PLACES[0], cpu__stat="usage_usec 1\n")
    group = ControlGroup.find(CONTAINER, tmp_path)
    assert group is not None
    found = group.read()
    assert found is not None
    assert (found.cpu, found.memory, found.disk_read) == (1e-6, None, None)
    (tmp_path / PLACES[0] / "cpu.stat").unlink()
    assert group.read() is None, "the container is gone"


def test_the_engine_tells_the_same() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
        "memory_stats": {"usage": 5000, "stats": {"total_inactive_file": 1000}},
        "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 1}, {"op": "write", "value": 2}]},
        "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}, "eth1": {"rx_bytes": 1, "tx_bytes": 2}},
    }
    found = from_engine(stats)
    assert found is not None
    assert found == Counters(found.at, 1.5, 4000, 1, 2, 11, 22)
    found = from_engine({**stats, "networks": None, "blkio_stats": {"io_service_bytes_recursive": None}})
    assert found is not None
    assert (found.disk_read, found.net_sent) == (None, None)
    assert from_engine({"memory_stats": {}, "cpu_stats": {}}) is None


def test_rates_need_two_readings_that_know() -> None:
    first = Counters(100.0, cpu=10.0, memory=5, disk_read=1000, net_sent=500)
    second = Counters(105.0, cpu=17.5, memory=9, disk_read=6000, disk_written=7, net_sent=400)
    none = {"cpu": None, "disk_read": None, "disk_write": None, "net_received": None, "net_sent": None}
    assert rates(None, first) == none
    assert rates(first, second) == {**none, "cpu": 1.5, "disk_read": 1000}, "a counter that was set back is unknown"
    assert rates(first, first) == none
