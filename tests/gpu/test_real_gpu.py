"""The inventory, what is read of devices, and the hand-over, on a real GPU; NVIDIA's own `nvidia-smi` says what is right."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.gpu.conftest import LOAD, load
from tests.support.running_site import wait_until
from tests.unit.conftest import People
from toolkit_hub.domain import ledger
from toolkit_hub.domain.gpu_list import gpu_list
from toolkit_hub.domain.job_metrics import Window, job_metrics
from toolkit_hub.keeping.devices import DeviceKeeper
from toolkit_hub.metrics.sampler import Sampler
from toolkit_hub.queue.container_devices import ContainerDevices
from toolkit_hub.queue.loop import admit_now
from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.gpus import Gpu
from toolkit_spawner.hardening import Accounts, container_config
from toolkit_spawner.launch import DeviceSpec, JobNetwork, LaunchSpec
from toolkit_spawner.nvml import NvmlGpus
from toolkit_spawner.resource_use import CGROUPS

GIB = 2**30


def smi(gpu: Gpu, *fields: str) -> list[str]:
    line = ["nvidia-smi", f"--id={gpu.uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    said = subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout
    return [value.strip() for value in said.split(",")]


def read(inventory: NvmlGpus, gpu: Gpu) -> DeviceReading:
    return inventory.readings()[gpu.uuid]


def test_the_inventory_is_what_nvidia_smi_says(inventory: NvmlGpus) -> None:
    for gpu in inventory.gpus():
        name, uuid, driver, memory, capability = smi(
            gpu, "name", "uuid", "driver_version", "memory.total", "compute_cap"
        )
        assert (gpu.model, gpu.uuid, gpu.driver, str(gpu.capability)) == (name, uuid, driver, capability)
        assert gpu.mem == pytest.approx(float(memory) / 1024, abs=0.1)
        assert gpu.cuda_version is not None
        assert gpu.trouble is None
        assert Path(gpu.nodes[0]).is_char_device()


def test_a_busy_device_is_read_as_busy(inventory: NvmlGpus, gpu: Gpu) -> None:
    before = read(inventory, gpu)
    with load(2) as seen:
        assert seen["uuid"] == gpu.uuid
        busy = wait_until(lambda: (now := read(inventory, gpu)).use and now, "the device to be busy")
        assert busy.processes is not None
        assert seen["pid"] in busy.processes
        assert busy.memory is not None
        assert busy.memory - (before.memory or 0) >= 2 * GIB
        assert busy.memory == pytest.approx(float(smi(gpu, "memory.used")[0]) * 2**20, abs=0.5 * GIB)
        assert busy.temperature == pytest.approx(float(smi(gpu, "temperature.gpu")[0]), abs=10)
    wait_until(lambda: seen["pid"] not in (read(inventory, gpu).processes or ()), "its process to be gone")


def test_a_strangers_process_keeps_the_device_from_being_given_out(inventory: NvmlGpus, gpu: Gpu) -> None:
    keeper = DeviceKeeper(inventory)

    def drained() -> str | None:
        asyncio.run(keeper.look())
        return {device.uuid: device.drained for device in keeper.devices()}[gpu.uuid]

    assert drained() is None
    with load(0.5) as seen:
        assert f"in use by the process {seen['pid']}" in str(wait_until(drained, "the device to be drained"))
    wait_until(lambda: drained() is None, "the device to be in service again")


@contextmanager
def control_group(name: str) -> Iterator[Path]:
    """One that is named as the engine names a container's."""
    folder = CGROUPS / "docker" / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        yield folder
    finally:
        wait_until(lambda: not (folder / "cgroup.procs").read_text().split(), "its processes to be gone")
        folder.rmdir()


def test_a_run_has_the_device_and_its_metrics(inventory: NvmlGpus, gpu: Gpu, people: People) -> None:
    """From the inventory through the planner and the ledger to what `job top` and the charts show."""
    keeper = DeviceKeeper(inventory)
    asyncio.run(keeper.look())
    people.site = replace(people.site, devices=keeper.devices)
    words = {"gpu": 1, "cpu": 1, "mem": 1, "gpuModel": gpu.model, "gpuMem": int(gpu.mem or 0), "gpuTensorCores": True}
    job = people.submit("alice", resources=words)
    with people.store.begin() as session:
        assert admit_now(session, people.site).starts == (job.runs[0].id,)
        (held,) = ledger.holders(session)
    container, run = "ab" * 32, job.runs[0]
    engine = Engine("unix:///nowhere.sock")
    sampler = Sampler(
        people.store,
        engine,
        lambda: {run.server_name: container},
        devices=keeper,
        held_devices=ledger.held_devices,
    )
    with control_group(container) as group, load(1) as seen:
        assert seen["uuid"] == held
        (group / "cgroup.procs").write_text(str(seen["pid"]))

        async def observed() -> list[float | None]:
            await keeper.look()
            await sampler.sample()
            return [one.use for one in sampler.seen()[0].sample.devices.values()] if sampler.seen() else []

        wait_until(lambda: any(asyncio.run(observed())), "a reading of the busy device")
        assert {device.drained for device in keeper.devices()} == {None}, "its process is a job's"
        asyncio.run(sampler.store())
        with people.store.begin(write=False) as session:
            actor = people.actor(session, "alice")
            points = job_metrics(session, actor, job.id, Window()).device_points
            (shown,) = [
                one for one in gpu_list(session, people.site, actor, keeper.gpus(), keeper.read()) if one.uuid == held
            ]
    engine.close()
    assert {point.device for point in points} == {held}
    assert max(point.use_max or 0 for point in points) > 0
    assert max(point.memory_max or 0 for point in points) >= 1
    assert (shown.state, shown.job) == ("held", job.id)
    assert shown.mem_used is not None
    assert shown.mem_used >= 1


# --- in containers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Any]:
    made = docker.APIClient(version="1.41", timeout=60, **docker.utils.kwargs_from_env())
    try:
        made.ping()
    except Exception as error:
        pytest.skip(f"no engine here: {error}")
    yield made
    made.close()


def inside(client: Any, folder: Path, devices: list[DeviceSpec]) -> tuple[str, dict[str, Any]]:
    """A container, made as a run's is, but with this machine's own programs: its id, and what LOAD says there."""
    spec = launch_spec(folder, devices)
    files = Accounts(folder / "passwd", folder / "group")
    body = container_config(spec, ["/usr/bin/env", "python3", "-S", "/load.py", "1"], str(folder / "runtime"), files)
    host = body["HostConfig"]
    host["Mounts"] += [
        {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True}
        for source, target in (("/usr", "/usr"), ("/etc/ld.so.cache", "/etc/ld.so.cache"), (str(LOAD), "/load.py"))
    ]
    host["NetworkMode"] = "none"
    for key in ("Dns", "DnsOptions", "Sysctls"):
        host.pop(key, None)
    body.pop("NetworkingConfig", None)
    body["OpenStdin"] = True
    made = client.create_container_from_config(body)["Id"]
    client.start(made)
    return made, wait_until(lambda: first_line(client, made), "its first line", 60, lambda: str(client.logs(made)))


def first_line(client: Any, container: str) -> dict[str, Any] | None:
    out = client.logs(container, stderr=False)
    if b"\n" in out:
        return dict(json.loads(out.splitlines()[0]))
    assert client.inspect_container(container)["State"]["Status"] != "exited", client.logs(container)
    return None


def launch_spec(folder: Path, devices: list[DeviceSpec]) -> LaunchSpec:
    for name in ("run", "runtime", "home"):
        (folder / name).mkdir(exist_ok=True)
    for name in ("passwd", "group", "run/log", "run/log.1", "run/log.2", "run/log.times", "run/run.json"):
        (folder / name).touch()
    for name in ("run/checkpoint", "run/preempt"):
        (folder / name).touch()
    return LaunchSpec(
        run_id="r",
        server_name="jreal",
        owner="alice",
        job_id="0" * 36,
        instance="real-gpu-test",
        image="toolkit-test-host",
        pull=False,
        command=[],
        workdir="/",
        environment={
            "NVIDIA_VISIBLE_DEVICES": ",".join(device.uuid for device in devices) or "void",
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
            "PATH": os.environ["PATH"],
        },
        cpu=1,
        mem=4,
        stop_grace=1,
        log_quota=1,
        prewarm=False,
        base_url="/",
        secret="s",
        run_dir=str(folder / "run"),
        runtime_dir=str(folder / "runtime"),
        home_dir=str(folder / "home"),
        devices=devices,
        accounts_dir=str(folder),
        network=JobNetwork(name="none", bridge="none", instance="real-gpu-test"),
    )


@pytest.fixture
def image(client: Any, tmp_path: Path) -> Iterator[str]:
    """Links only: /usr comes from this machine."""
    root = tmp_path / "root"
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    archive = subprocess.run(["tar", "-C", str(root), "-c", "."], check=True, capture_output=True).stdout
    client.import_image_from_data(archive, "toolkit-test-host")
    yield "toolkit-test-host"
    client.remove_image("toolkit-test-host", force=True)


def test_a_container_computes_on_its_own_device_and_sees_no_other(
    inventory: NvmlGpus, gpu: Gpu, client: Any, image: str, tmp_path: Path, people: People
) -> None:
    """And as no run holds the device, the reconciler keeps it out of use for as long as the container is there."""
    keeper, engine = DeviceKeeper(inventory), Engine()
    watch = ContainerDevices(people.store, engine, "another-site", keeper.gpus, keeper.drain)
    made = []
    try:
        container, seen = inside(client, tmp_path, [gpu.spec()])
        made.append(container)
        assert (seen["count"], seen["uuid"]) == (1, gpu.uuid)
        busy = wait_until(lambda: (now := read(inventory, gpu)).use and now, "the device to be busy")
        assert busy.processes
        for _ in range(2):
            asyncio.run(keeper.look())
        assert {device.drained for device in keeper.devices()} == {None}, "its process is in a container"
        asyncio.run(watch.compare([]))
        assert "given to the container" in str({one.uuid: one.drained for one in keeper.devices()}[gpu.uuid])
        other, seen = inside(client, tmp_path, [])
        made.append(other)
        assert seen == {"count": 0}
    finally:
        for container in made:
            client.remove_container(container, force=True)
    asyncio.run(watch.compare([]))
    assert {device.drained for device in keeper.devices()} == {None}
    engine.close()
