"""What a push or a pull has done, and how it is tried again until it is through."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from toolkit_client.transfer.link import Interrupted
from toolkit_client.transfer.progress import Progress

__all__ = ["Outcome", "until_through"]

#: Seconds between tries that brought nothing; after a try that did, the first one again.
PAUSES = (0.2, 0.5, 1, 2, 5, 10)
#: Of more problems than this only the number is kept.
_TOLD_PROBLEMS = 200


@dataclass
class Outcome:
    """`problems` are what could not be done, one path each, at most some hundred of `problem_count`."""

    files: int = 0
    bytes: int = 0
    removed: int = 0
    unchanged: int = 0
    problem_count: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    #: Files that changed while they were read: what arrived may be of two moments.
    changed: list[str] = field(default_factory=list)
    interruptions: int = 0
    #: Bytes that have passed the wire, in tries that broke as well.
    moved: int = 0

    def problem(self, path: str, why: str, code: str = "") -> None:
        self.problem_count += 1
        if len(self.problems) < _TOLD_PROBLEMS:
            self.problems.append({"path": path, "problem": why, "code": code})

    def take(self, sums: dict[str, Any]) -> None:
        """Add what one try has done."""
        self.files += int(sums.get("files", 0))
        self.bytes += int(sums.get("bytes", 0))
        self.removed += int(sums.get("removed", 0))


def until_through(
    attempt: Callable[[Outcome], bool], outcome: Outcome, progress: Progress, pauses: tuple[float, ...] = PAUSES
) -> Outcome:
    """Run `attempt` until it returns true: again when it was interrupted, as long as tries bring something.

    One that returns false has to be run again as well, for it left something undone that may work the next time.

    Raises:
        Interrupted: as many tries as there are `pauses` brought nothing.
    """
    left = list(pauses)
    while True:
        before = outcome.moved
        # What cannot be done is found again by each try.
        outcome.problems, outcome.problem_count = [], 0
        try:
            if attempt(outcome):
                return outcome
        except Interrupted as problem:
            outcome.interruptions += 1
            if outcome.moved != before:
                left = list(pauses)
            if not left:
                raise
            progress.note(f"{problem.message}; going on from there")
        else:
            if not left:
                return outcome
        time.sleep(left.pop(0))
        progress.again()
