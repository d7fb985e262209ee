"""What a request leaves in the store after its answer: in the audit log its refusal or what it opened, the last use of its key.

It waits for nobody: notes are taken in memory, and written together, each moment's in one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.domain import audit
from toolkit_hub.domain.access import Actor, DeadKey, decision
from toolkit_hub.domain.key_use import mark_used
from toolkit_hub.policy.world import Subject
from toolkit_hub.store import Store

__all__ = ["Afterwards"]

log = logging.getLogger("toolkit.service")

#: Notes that wait at most; who sends refused requests faster than the store takes them loses some, and that is said.
MOST_WAITING = 10_000
#: Notes in one transaction.
AT_ONCE = 500
#: Seconds between two records of a key's use.
USE_EVERY_S = 60.0
#: Seconds in which notes gather: each commit makes the gate forget what it knows of the store.
GATHER_S = 0.2
#: Seconds after which the store is tried again.
RETRY_S = 1.0

Note = Callable[[Session], None]


class Afterwards:
    """One for each process that answers requests."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._notes: deque[Note] = deque()
        self._some = asyncio.Event()
        self._lost = 0
        self._used: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """Notes that are not written yet."""
        return len(self._notes)

    def refused(self, actor: Actor, action: str, urn: str, reason: str, request: str) -> None:
        """Somebody was refused something; `request` is its method and path."""

        def write(session: Session) -> None:
            audit.record(session, actor, action, urn, outcome="refused", reason=reason, data={"request": request})

        self._add(write)

    def opened(self, actor: Actor, action: str, urn: str, data: Mapping[str, Any]) -> None:
        """Somebody has made use of a right that changes nothing in the store."""
        time = clock.now()

        def write(session: Session) -> None:
            decided = decision(session, actor.subject, action, urn)
            reason = decided.reason if decided.allowed else ""  # it may have been taken away since
            audit.record(session, actor, action, urn, reason=reason, data=data, time=time)

        self._add(write)

    def dead_key(self, key: DeadKey, request_id: str, address: str, request: str) -> None:
        """Somebody came with a key that was good once."""
        parts = key.urn.split(":")
        subject = Subject(parts[-1], parts[-2], parts[0])
        who = Actor(parts[-1], "", key.actor, parts[0], "", None, subject, request_id, address)
        action = "role:key" if subject.type == "role" else "job:get"
        self.refused(who, action, key.urn, key.reason, request)

    def used(self, key_id: str) -> None:
        """A role key was used now."""
        now = clock.monotonic()
        if now - self._used.get(key_id, -USE_EVERY_S) >= USE_EVERY_S:
            self._used[key_id] = now
            time = clock.now()
            self._add(lambda session: mark_used(session, key_id, time))

    def _add(self, note: Note) -> None:
        if len(self._notes) >= MOST_WAITING:
            self._lost += 1
            return
        self._notes.append(note)
        self._some.set()

    async def run_forever(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHER_S)
            self._some.clear()
            try:
                await self.write_now()
            except ServiceUnavailable as error:
                log.warning("%d notes for the audit log wait: %s", len(self._notes), error)
                await asyncio.sleep(RETRY_S)
                self._some.set()
            except Exception:
                log.exception("notes for the audit log could not be written")

    async def write_now(self) -> None:
        """Write all notes that were taken. Raises `ServiceUnavailable`, and keeps them, when the store does not answer."""
        while self._notes:
            batch = [self._notes.popleft() for _ in range(min(AT_ONCE, len(self._notes)))]
            try:
                await self._store.write(_write, batch)
            except ServiceUnavailable:
                self._notes.extendleft(reversed(batch))
                raise
            if self._lost:
                log.error(
                    "%d entries are not in the audit log: they came faster than they could be written", self._lost
                )
                self._lost = 0


def _write(session: Session, notes: list[Note]) -> None:
    for note in notes:
        note(session)
