"""The staging folder of data: what a killed gate leaves there goes, and what a push that is on its way needs stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.hub.data_house import DataHouse
from tests.hub.data_house import house as house  # the fixture
from tests.hub.gate_house import eventually
from toolkit_client.transfer.outcome import Outcome
from toolkit_client.transfer.progress import Progress
from toolkit_client.transfer.push import push
from toolkit_client.transfer.staging import MOMENT, clear_unused, hold, release

#: The gate's end of a push, killed between the making of a file and its renaming.
KILLED = """
import os, signal, sys
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.receiver import Receiver
from toolkit_client.transfer.sender import Sender, Wanted
from toolkit_client.transfer.staging import hold
from toolkit_client.transfer.walk import walk

source, target = Beneath(sys.argv[1]), Beneath(sys.argv[2])
staging = os.open(sys.argv[3], os.O_RDONLY)
hold(staging)
receiver = Receiver(target, staging)
os.rename = lambda *names, **folders: os.kill(os.getpid(), signal.SIGKILL)
for block in Sender(source).blocks(Wanted(entry) for entry in walk(source)):
    receiver.feed(block)
"""


class Held(Progress):
    """Holds a transfer up in its middle."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def passed(self, files: int, size: int) -> None:
        self.reached.set()
        assert self.go_on.wait(60)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "f").write_bytes(b"x" * 3000)
    return folder


@pytest.fixture
def left(house: DataHouse, local: Path) -> str:
    """The name of what a killed push has left."""
    died = subprocess.run([sys.executable, "-c", KILLED, local, house.live, house.staging], check=False)
    assert died.returncode == -signal.SIGKILL
    assert os.listdir(house.live) == []
    (name,) = os.listdir(house.staging)
    assert name.startswith(MOMENT)
    return name


def test_the_next_push_clears_what_a_killed_one_has_left(house: DataHouse, local: Path, left: str) -> None:
    assert push(house.link(), "images", local).problems == []
    assert (house.live / "f").read_bytes() == b"x" * 3000
    eventually(lambda: os.listdir(house.staging) == [])


def test_what_somebody_writes_stays_and_the_last_one_clears(house: DataHouse, local: Path, left: str) -> None:
    other = os.open(house.staging, os.O_RDONLY)
    try:
        assert clear_unused(other)
        hold(other)
        for name in (f"{MOMENT}mine", left):
            (house.staging / name).touch()
        assert push(house.link(), "images", local).problems == []
        assert sorted(os.listdir(house.staging)) == sorted([f"{MOMENT}mine", left])
        release(other)
        assert os.listdir(house.staging) == []
    finally:
        os.close(other)


def test_a_push_holds_the_folder_to_its_end(house: DataHouse, local: Path) -> None:
    (local / "big").write_bytes(os.urandom(3 << 20))
    show, outcomes = Held(), list[Outcome]()
    thread = threading.Thread(target=lambda: outcomes.append(push(house.link(), "images", local, progress=show)))
    thread.start()
    other = os.open(house.staging, os.O_RDONLY)
    try:
        assert show.reached.wait(60)

        def is_held() -> bool:
            held = not clear_unused(other)
            release(other)
            return held

        eventually(is_held)
        written = house.staging / f"{MOMENT}1"
        written.touch()
        release(other)
        assert written.exists()
        show.go_on.set()
        thread.join(60)
        assert [outcome.problems for outcome in outcomes] == [[]]
        eventually(lambda: not is_held())
        assert os.listdir(house.staging) == []
    finally:
        show.go_on.set()
        os.close(other)
