"""Starts go before clean-up: when a run ends, somebody may be waiting for what it held.

Removing a container and having the hub forget a server keep engine, hub and disk busy for as long as a start does. At the end of
a run its room is given back at once; what it leaves behind can wait until those who got the room have started.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["PLANNING", "StartsFirst"]

#: Stands for the pass of the planner that follows an end.
PLANNING = "planning"
#: Seconds that clean-up waits at most: where starts never cease, it comes in between.
LONGEST_S = 2.0


class StartsFirst:
    """Who is starting, for one event loop. A matter of speed only: whoever is forgotten delays clean-up by `LONGEST_S`."""

    def __init__(self) -> None:
        self._starting: set[str] = set()
        self._none = asyncio.Event()
        self._none.set()

    def begin(self, what: str) -> None:
        """A run, or the planner, begins. Once more changes nothing."""
        self._starting.add(what)
        self._none.clear()

    def done(self, what: str) -> None:
        self._starting.discard(what)
        if not self._starting:
            self._none.set()

    async def wait(self) -> None:
        """Return when nothing is being started, or after `LONGEST_S`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_S):
                while self._starting:
                    await self._none.wait()
