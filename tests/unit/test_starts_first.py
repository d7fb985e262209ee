"""Clean-up lets starts pass, and comes all the same where they never cease."""

from __future__ import annotations

import asyncio

import pytest

from toolkit_hub.queue import starts_first
from toolkit_hub.queue.starts_first import PLANNING, StartsFirst


def test_clean_up_waits_until_planner_and_starts_are_done() -> None:
    async def scene() -> None:
        starts = StartsFirst()
        starts.begin(PLANNING)
        clean_up = asyncio.create_task(starts.wait())
        for begins, is_done in ((["a", "a"], PLANNING), (["b"], "a")):
            for run in begins:
                starts.begin(run)
            starts.done(is_done)
            for _ in range(5):  # whatever the event loop has to do
                await asyncio.sleep(0)
            assert not clean_up.done()
        starts.done("b")
        await asyncio.wait_for(clean_up, 10)

    asyncio.run(scene())


def test_clean_up_does_not_wait_for_nothing_nor_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        starts = StartsFirst()
        await asyncio.wait_for(starts.wait(), 10)
        starts.done("never began")
        await asyncio.wait_for(starts.wait(), 10)
        monkeypatch.setattr(starts_first, "LONGEST_S", 0.01)
        starts.begin("a pull that takes long")
        await asyncio.wait_for(starts.wait(), 10)

    asyncio.run(scene())
