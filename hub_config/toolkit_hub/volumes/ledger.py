"""What a commit may take, what it has taken, and how far it is."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from toolkit_client.errors import InsufficientStorage
from toolkit_client.transfer.walk import Entry

__all__ = ["Budget", "Ledger", "Outcome", "Progress", "Stopped"]

#: Bytes that are copied between two looks at how much of the disk is free.
LOOK_EVERY = 64 * 2**20
#: Warnings that are told one by one; the others are counted.
MOST_WARNINGS = 100
#: Seconds that one commit waits in all for files that somebody holds a lease on; the kernel breaks one after 45.
LEASE_WAIT_S = 60.0


class Stopped(Exception):
    """The commit was asked to end."""


@dataclass
class Progress:
    """How far it is: files, and their bytes, that are in the version so far. `stop` ends it."""

    files: int = 0
    bytes: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Budget:
    """What a commit may take: bytes and inodes (None: as much as there is), and bytes that stay free on the disk."""

    bytes: int | None = None
    inodes: int | None = None
    floor: int = 0


@dataclass
class Outcome:
    """What was made. `disk` and `inodes` are what it takes beyond what the version before took."""

    files: int = 0
    bytes: int = 0
    disk: int = 0
    inodes: int = 0
    linked: int = 0
    warnings: list[str] = field(default_factory=list)
    warning_count: int = 0

    def warn(self, text: str) -> None:
        self.warning_count += 1
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


class Ledger:
    """The accounts of one commit. `place` is on the disk that is written."""

    def __init__(self, progress: Progress, budget: Budget, place: Path) -> None:
        self._progress, self._budget, self._place = progress, budget, place
        self._unlooked = LOOK_EVERY
        self._waited = 0.0
        self.outcome = Outcome()

    def tick(self, _amount: int = 0) -> None:
        """Raises `Stopped` when the commit is to end."""
        if self._progress.stop.is_set():
            raise Stopped

    def take(self, disk: int, inodes: int) -> None:
        """Note that the version takes so much. Raises `InsufficientStorage` when that is more than it may."""
        self.tick()
        made, budget = self.outcome, self._budget
        made.disk += disk
        made.inodes += inodes
        over = (budget.bytes is not None and made.disk > budget.bytes) or (
            budget.inodes is not None and made.inodes > budget.inodes
        )
        if over:
            raise InsufficientStorage(
                "the quota of the account has no room for this version; nothing was committed",
                "`toolkit quota ls` shows the quota; remove what is no longer needed, or ask an administrator for more",
            )
        self._unlooked += disk
        if self._budget.floor and self._unlooked >= LOOK_EVERY:
            self._unlooked = 0
            self._check_floor()

    def _check_floor(self) -> None:
        found = os.statvfs(self._place)
        free = found.f_bavail * found.f_frsize
        if free < self._budget.floor:
            raise InsufficientStorage(
                f"only {free / 2**30:.1f} GiB of the disk of the data are free, and {self._budget.floor / 2**30:g} GiB are "
                "kept so (c.Toolkit.disk_floor); nothing was committed",
                "remove what is no longer needed, or ask an administrator for room",
            )

    def done(self, entry: Entry) -> None:
        self._progress.files += 1
        self._progress.bytes += entry.size

    def wait_for_lease(self) -> bool:
        """Wait a moment for a lease to be broken; False when there was enough of that."""
        if self._waited >= LEASE_WAIT_S:
            return False
        self.tick()
        time.sleep(0.2)
        self._waited += 0.2
        return True
