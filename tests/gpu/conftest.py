"""What the tests on a real GPU share. On a machine where NVIDIA's library finds none they are skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.conftest import People
from tests.unit.conftest import populated_file as populated_file  # the fixture
from toolkit_hub.store import Store
from toolkit_spawner.gpus import Gpu, GpusUnavailable
from toolkit_spawner.nvml import NvmlGpus

LOAD = Path(__file__).with_name("load.py")


@pytest.fixture(scope="session")
def inventory() -> NvmlGpus:
    found = NvmlGpus("nodes")
    try:
        if not found.gpus():
            pytest.skip("this machine has no GPU")
    except GpusUnavailable as error:
        pytest.skip(f"no real GPU here: {error}")
    return found


@pytest.fixture
def gpu(inventory: NvmlGpus) -> Gpu:
    """The first one; that which CUDA counts first, too, unless told otherwise."""
    return inventory.gpus()[0]


@pytest.fixture
def people(populated_file: Path, tmp_path: Path) -> Iterator[People]:
    shutil.copy(populated_file, tmp_path / "people.sqlite")
    opened = Store(f"sqlite:///{tmp_path / 'people.sqlite'}")
    yield People(opened, tmp_path)
    opened.close()


@contextmanager
def load(gib: float) -> Iterator[dict[str, Any]]:
    """A process of this machine that keeps the first GPU busy; what it says of itself."""
    command = [sys.executable, str(LOAD), str(gib)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield dict(json.loads(process.stdout.readline()))
        finally:
            process.kill()
