"""A whole site on a real GPU: a job is given it and computes, the next one waits for it and gets it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running
from tests.gpu.conftest import LOAD
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.metrics_models import TopJob
from toolkit_client.models import Job
from toolkit_client.queue_models import Gpu as WireGpu
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.gpus import Gpu
from toolkit_spawner.runtime import LAB_IMAGE

pytestmark = pytest.mark.engine

#: Of the driver's libraries, those that an engine which knows of GPUs would bring into a container.
DRIVER = ("libcuda.so.1", "libnvidia-ptxjitcompiler.so.1", "libnvidia-gpucomp.so.*")
IMAGE = "toolkit-test-driver"
RECIPE = f"FROM {LAB_IMAGE}\nCOPY driver /usr/local/driver\nENV LD_LIBRARY_PATH=/usr/local/driver\n"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The default one; where the engine gives out device nodes only, with the libraries of this machine's driver."""
    engine = Engine()
    try:
        if asyncio.run(engine.gpu_handover()) != "nodes":
            yield LAB_IMAGE
            return
        folder = tmp_path_factory.mktemp("image")
        (folder / "driver").mkdir()
        for path in driver_files():
            shutil.copy(path, folder / "driver" / path.name)
        (folder / "Dockerfile").write_text(RECIPE)
        engine.build_image(folder, IMAGE, {}, print)
        yield IMAGE
    finally:
        engine.close()


def driver_files() -> list[Path]:
    said = subprocess.run(["ldconfig", "-p"], check=True, capture_output=True, text=True).stdout
    place = next(Path(line.split()[-1]) for line in said.splitlines() if line.strip().startswith("libcuda.so.1 "))
    return [path for pattern in DRIVER for path in place.resolve().parent.glob(pattern)]


@pytest.fixture
def site(gpu: Gpu, tmp_path: Path) -> Iterator[RunningSite]:
    """`gpu` comes first: without one there is no site."""
    yield from running(tmp_path / "state", "c.Toolkit.cpus = 4\nc.Toolkit.memory = 16.0")


def listed(site: RunningSite) -> WireGpu:
    return WireGpu.model_validate_json(done(site, "gpu", "ls", "--format", "json").splitlines()[0])


def done(site: RunningSite, *words: str) -> str:
    ended = site.cli(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def submit(site: RunningSite, image: str, gpu: Gpu, name: str) -> Job:
    asks = {"gpu": 1, "gpuModel": gpu.model, "gpuMem": int(gpu.mem or 0), "cpu": 1, "mem": 4}
    return site.submit(
        "/opt/lab/bin/python3", "-c", LOAD.read_text(), "1", "for-ever", image=image, name=name, resources=asks
    )


def computes(site: RunningSite, job: Job, gpu: Gpu) -> None:
    site.wait_state(job.id, "RUNNING")
    line = wait_until(lambda: site.log_of(job.id), "its first line", 60, site.logs)
    assert line.startswith(b"{"), line.decode()
    seen = json.loads(line)
    assert (seen["count"], seen["uuid"]) == (1, gpu.uuid)


def test_one_job_computes_and_the_next_one_waits(site: RunningSite, gpu: Gpu, image: str) -> None:
    free = listed(site)
    assert (free.uuid, free.model, free.driver, free.state) == (gpu.uuid, gpu.model, gpu.driver, "free")
    first = submit(site, image, gpu, "first")
    computes(site, first, gpu)
    second = submit(site, image, gpu, "second")

    def busy() -> TopJob | None:
        top = TopJob.model_validate_json(done(site, "job", "top", "first", "--format", "json"))
        return top if top.devices and (top.devices[0].use or 0) > 0 else None

    used = wait_until(busy, "the device to be busy in `job top`", 60, site.logs).devices[0]
    assert used.device == gpu.uuid
    assert used.memory is not None
    assert used.memory >= 1
    assert used.temperature is not None
    held = listed(site)
    assert (held.state, held.job_name, held.reason) == ("held", "first", None)
    told = done(site, "job", "why", "second")
    assert "1 of 1 in use" in told
    print(done(site, "gpu", "ls"), done(site, "job", "top"), told, sep="\n")
    site.client().jobs.kill(first.id)
    computes(site, second, gpu)
    site.client().jobs.kill(second.id)
    wait_until(lambda: listed(site).state == "free", "the device to be free", 60, site.logs)
    with site.client() as client:
        points = client.jobs.metrics(first.id).device_points
    assert max(point.use_max or 0 for point in points) > 0
