"""Fixtures of the tests that need nothing but the engine: the runtime folder, and runs started from it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker.run_container import RunContainer
from tests.support.running_site import RUNTIME
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime.__main__ import ca_bundle
from toolkit_spawner.runtime.build import build_all

#: An image with nothing in it but a static busybox.
SCRATCH_IMAGE = "toolkit-test-scratch:latest"
SCRATCH_RECIPE = """
FROM toolkit-base:bookworm AS box
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static
FROM scratch
COPY --from=box /bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
ENV PATH=/bin
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def runtime_folder(engine: Engine) -> Path:
    """The runtime folder of this source tree, up to date."""
    build_all(RUNTIME, engine, print, ca_bundle())
    return RUNTIME


@pytest.fixture(scope="session")
def scratch_image(engine: Engine, runtime_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    recipe = tmp_path_factory.mktemp("scratch")
    (recipe / "Dockerfile").write_text(SCRATCH_RECIPE)
    engine.build_image(recipe, SCRATCH_IMAGE, {}, lambda line: None)
    return SCRATCH_IMAGE


@pytest.fixture
def start_run(runtime_folder: Path, tmp_path: Path) -> Iterator[Callable[..., RunContainer]]:
    """Starts runs as the spawner does, and removes them after the test."""
    started: list[RunContainer] = []

    def start(command: list[str] | None, **options: Any) -> RunContainer:
        folder = tmp_path / f"run-{len(started)}"
        started.append(RunContainer((runtime_folder / "current").resolve(), folder))
        return started[-1].start(command, **options)

    yield start
    for run in started:
        run.remove()
