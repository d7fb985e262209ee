"""All that one planning pass looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit_hub.queue.planning.capacity import Capacity
from toolkit_hub.queue.planning.fair_share import AccountShare
from toolkit_hub.queue.planning.limits import Limits
from toolkit_hub.queue.planning.runs import RunningRun, WaitingRun

__all__ = ["QueueState", "Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """In seconds: a run that runs or is about to counts as `running_counts` of use in fair share; `slack` is how much later
    than its limit a run may be gone, for its start and its end take time. With `lend_from`, what is kept for the first in line is
    lent to runs that it may have stopped, if it needs it in so many seconds or later, or nobody knows when; then it waits for
    their end after the signal. None: it is lent to nobody."""

    running_counts: float = 3600.0
    slack: float = 60.0
    lend_from: float | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """`now` and all other times are seconds of the same clock. `promised` is what the last pass gave as `Plan.promised`: who
    was first in line stays so at equal class and bid. To lose it does no harm but to that."""

    capacity: Capacity
    now: float
    waiting: tuple[WaitingRun, ...] = ()
    running: tuple[RunningRun, ...] = ()
    limits: Limits = field(default_factory=Limits)
    shares: Mapping[str, AccountShare] = field(default_factory=dict)
    promised: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
