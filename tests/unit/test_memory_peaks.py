"""Peaks are read from the kernel's files; folders of the same shape stand for its control groups here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from toolkit_hub.queue.memory_peaks import MemoryPeaks

CONTAINER = "c" * 64


def group(root: Path, place: str, file: str, content: str) -> Path:
    folder = root / place
    folder.mkdir(parents=True)
    (folder / file).write_text(content)
    return folder / file


@pytest.mark.parametrize(
    ("place", "file"),
    [
        (f"docker/{CONTAINER}", "memory.peak"),
        (f"system.slice/docker-{CONTAINER}.scope", "memory.current"),
        (f"memory/docker/{CONTAINER}", "memory.max_usage_in_bytes"),
        (f"memory/system.slice/docker-{CONTAINER}.scope", "memory.max_usage_in_bytes"),
    ],
)
def test_the_highest_reading_counts(tmp_path: Path, place: str, file: str) -> None:
    async def scenario() -> None:
        mark = group(tmp_path, place, file, "1000\n")
        peaks = MemoryPeaks(tmp_path)
        reading = asyncio.create_task(peaks.read_forever())
        peaks.watch("run", CONTAINER)
        for content in ("5000\n", "2000\n", "gone"):
            mark.write_text(content)
            await asyncio.sleep(0.2)
        assert peaks.last("run") == 5000
        assert peaks.peaks() == {"run": 5000}
        peaks.forget("run")
        assert peaks.last("run") is None
        reading.cancel()
        peaks.close()

    asyncio.run(scenario())


def test_a_group_that_is_not_here_is_not_watched(tmp_path: Path) -> None:
    async def scenario() -> None:
        peaks = MemoryPeaks(tmp_path)
        peaks.watch("run", CONTAINER)
        assert peaks.last("run") is None
        assert peaks.peaks() == {}

    asyncio.run(scenario())
