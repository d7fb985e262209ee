"""A tree of very many files: it goes through in constant memory on both sides."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.running_site import RunningSite
from toolkit_client.transfer.link import DataLink
from toolkit_client.transfer.push import Listing, push

pytestmark = pytest.mark.engine

#: KiB that the memory of gate and client may grow by, however many files there are.
GROWTH = 48 * 1024


@pytest.fixture
def many(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """So many empty files, a thousand in each folder."""
    folder = tmp_path / "many"
    for number in range(request.param // 1000):
        inner = folder / f"d{number:04}"
        inner.mkdir(parents=True)
        for name in range(1000):
            os.close(os.open(inner / f"f{name:03}", os.O_CREAT | os.O_WRONLY, 0o644))
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@pytest.mark.parametrize(
    "many",
    [pytest.param(20_000, marks=pytest.mark.sample), pytest.param(1_000_000, marks=pytest.mark.exhaustive)],
    indirect=True,
)
@pytest.mark.timeout(1800)
def test_very_many_files(shaky: RunningSite, many: Path) -> None:
    count = 1000 * len(list(many.iterdir()))
    link = DataLink(shaky.url, shaky.token())
    with shaky.client() as client:
        ref = client.data.new(f"many{count}").id
    gate = int(httpx.get(f"{shaky.settings.gate_url}/.toolkit/health").json()["pid"])
    _warm_up(link, ref, many.parent)
    before = {pid: _peak(pid, reset=True) for pid in (gate, os.getpid())}
    outcome = push(link, ref, many)
    assert (outcome.files, outcome.problems) == (count, [])
    assert push(link, ref, many).unchanged == count
    assert sum(1 for _ in Listing(link, ref, status=True).entries()) == count + count // 1000
    for pid, kib in before.items():
        assert _peak(pid) - kib < GROWTH, f"process {pid} grew from {kib} to {_peak(pid)} KiB"
    assert link.json("POST", ref, "remove", body={"paths": ["."]})["removed"] == count + count // 1000


def _warm_up(link: DataLink, ref: str, folder: Path) -> None:
    """Everything that is loaded at the first use is, before the memory is looked at."""
    small = folder / "small"
    small.mkdir()
    (small / "x").write_bytes(bytes(200_000))
    push(link, ref, small)
    link.json("POST", ref, "remove", body={"paths": ["."]})


def _peak(pid: int, *, reset: bool = False) -> int:
    """The most memory that a process has had, in KiB; `reset`: from now on (proc(5), clear_refs)."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
