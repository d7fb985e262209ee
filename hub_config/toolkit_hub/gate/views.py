"""`look`, off the event loop, and once instead of a hundred times while the store has not changed.

A page of JupyterLab is a hundred requests. What the store says about job, visitor and rights is remembered for exactly as
long as nothing has been committed to it, by whatever process: SQLite counts that (``PRAGMA data_version``, microseconds). So
a right that was taken away counts at the very next request. On other databases each request asks.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

from toolkit_hub import clock
from toolkit_hub.gate.identity import Claim
from toolkit_hub.gate.places import ServerPath, View, look
from toolkit_hub.store import Store

__all__ = ["Views"]

_REMEMBERED = 2048
#: Sessions end by the clock, without a change in the store: looked up again at least this often.
_CLOCK_STEP_S = 2


class Views:
    """The gate's eyes on the store. Belongs to one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[Hashable, View | None] = OrderedDict()
        self._version: int | None = None
        self._counter: Any = None
        if store.engine.dialect.name == "sqlite":
            # A connection of its own that never writes: the count tells of other connections' commits only.
            self._counter = store.engine.raw_connection()
            self._counter.cursor().execute("PRAGMA busy_timeout=0")

    async def look(
        self, place: str | ServerPath, claims: Sequence[Claim] = (), path: ServerPath | None = None
    ) -> View | None:
        """See `toolkit_hub.gate.places.look`."""
        version = self._changes()
        if version is None:
            return await self._store.read(look, place, claims, path)
        if version != self._version:
            self._known.clear()
            self._version = version
        # Of a path, only the server that it names counts.
        server = (path.owner, path.server_name) if path else None
        where = (place.owner, place.server_name) if isinstance(place, ServerPath) else place
        key = (where, tuple(claims), server, int(clock.now().timestamp()) // _CLOCK_STEP_S)
        if key in self._known:
            return self._known[key]
        view = await self._store.read(look, place, claims, path)
        if self._version == version:  # else it may be older than what is remembered now
            self._known[key] = view
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return view

    def close(self) -> None:
        if self._counter is not None:
            self._counter.close()

    def _changes(self) -> int | None:
        """A number that is another one after each commit; None when it is not to be had."""
        if self._counter is None:
            return None
        try:
            row = self._counter.cursor().execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return int(row[0])
