"""Content on its way while the gate is restarted, or killed: a restart is not noticed, a kill is gone on from."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.transfer.link import DataLink
from toolkit_client.transfer.outcome import Outcome
from toolkit_client.transfer.progress import Progress
from toolkit_client.transfer.pull import pull
from toolkit_client.transfer.push import push

pytestmark = pytest.mark.engine

MIB = 1 << 20
#: A gate that was killed is back in a second or two.
PATIENT = (0.2, 0.5, 1, 1, 1, 2, 2, 2, 3, 3)


class Halting(Progress):
    """Holds a transfer up when so many bytes have passed, until it is told to go on."""

    def __init__(self, marks: list[int]) -> None:
        self._marks, self._passed = marks, 0
        self.reached, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def passed(self, files: int, size: int) -> None:
        self._passed += size
        if self._marks and self._passed >= self._marks[0]:
            self._marks.pop(0)
            self.reached.release()
            assert self.go_on.acquire(timeout=60)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Some hundred small files and two large ones."""
    folder, chance = tmp_path / "source", random.Random(1)
    folder.mkdir()
    for number in range(400):
        path = folder / f"d{number % 7}" / f"f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(chance.randbytes(3000))
    for name in ("a-big", "z-big"):
        (folder / name).write_bytes(chance.randbytes(20 * MIB + 1))
    return folder


@pytest.fixture
def ref(shaky: RunningSite) -> Iterator[str]:
    with shaky.client() as client:
        made = client.data.new(f"d{os.getpid()}-{random.randrange(10**9)}")
        yield made.id
        client.data.archive(made.id)


def _in_thread(act: Callable[[], Outcome]) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(act())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def _through(
    site: RunningSite, show: Halting, act: Callable[[], Outcome], disturb: Callable[[], None], times: int
) -> Outcome:
    """Run a transfer, and do something to the site each time it has come so far."""
    thread, result = _in_thread(act)
    for _ in range(times):
        assert show.reached.acquire(timeout=60), result or site.logs()
        disturb()
        show.go_on.release()
    thread.join(120)
    assert result, f"the transfer hangs\n{site.logs()}"
    assert isinstance(result[0], Outcome), result[0]
    return result[0]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("direction", ["push", "pull"])
@pytest.mark.parametrize("disturbance", ["restart", "kill"])
def test_a_transfer_outlives_its_gate(
    shaky: RunningSite, source: Path, ref: str, tmp_path: Path, direction: str, disturbance: str
) -> None:
    link = DataLink(shaky.url, shaky.token())
    show = Halting([5 * MIB, 22 * MIB, 30 * MIB])
    live, there = shaky.settings.data_root / ref / "live", tmp_path / "there"
    if direction == "pull":
        push(link, ref, source)

    def act() -> Outcome:
        if direction == "push":
            return push(link, ref, source, progress=show, pauses=PATIENT)
        return pull(link, ref, b"", there, progress=show, pauses=PATIENT)

    def disturb() -> None:
        if disturbance == "restart":
            shaky.unit("restart", "gate")
        else:
            os.kill(_gate_pid(shaky), signal.SIGKILL)

    outcome = _through(shaky, show, act, disturb, 3)
    assert outcome.problems == []
    if disturbance == "restart":
        assert outcome.interruptions == 0
    else:
        assert outcome.interruptions >= 1
    assert _files(live if direction == "push" else there) == _files(source)
    staging = live.parent / "staging"
    wait_until(
        lambda: not os.listdir(staging),
        "the staging folder to be empty",
        explain=lambda: f"{os.listdir(staging)}\n{shaky.logs()}",
    )
    wait_until(shaky.is_ready, "the site to be ready again", 60, shaky.logs)


def _gate_pid(site: RunningSite) -> int:
    """The process that serves, not the one that keeps it."""
    return int(httpx.get(f"{site.settings.gate_url}/.toolkit/health").json()["pid"])
