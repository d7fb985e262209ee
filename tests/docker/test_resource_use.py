"""What a real container uses: the kernel's files and the engine tell the same, each in its own units."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.docker.run_container import RunContainer, wait_for
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.resource_use import ControlGroup, Counters, from_engine

pytestmark = pytest.mark.engine

MIB = 2**20
#: Takes 64 MiB and burns some CPU, then does nothing.
WORK = "x = bytearray(64 * 2**20); x[::4096] = b'1' * len(x[::4096]); sum(range(2 * 10**7)); print('done', flush=True)"
QUIET = "import time; time.sleep(300)"


def test_the_kernel_and_the_engine_agree(engine: Engine, start_run: Callable[..., RunContainer]) -> None:
    run = start_run(["/opt/lab/bin/python3", "-c", f"{WORK}\n{QUIET}"])
    wait_for("the work to be done", lambda: "done" in run.log())
    group = ControlGroup.find(run.id)
    assert group is not None, "the engine of the tests is on this machine"
    kernel = group.read()
    told = from_engine(asyncio.run(engine.stats(run.id)))
    assert kernel is not None
    assert told is not None
    for found in (kernel, told):
        check(found)
    assert kernel.cpu == pytest.approx(told.cpu, rel=0.2)
    assert kernel.memory == pytest.approx(told.memory, rel=0.2)
    run.stop(0)
    assert group.read() is None, "unknown, and no reading of zeros"


def check(found: Counters) -> None:
    assert found.cpu is not None
    assert 0.02 < found.cpu < 60, "seconds"
    assert found.memory is not None
    assert 64 * MIB < found.memory < 192 * MIB, "bytes"
