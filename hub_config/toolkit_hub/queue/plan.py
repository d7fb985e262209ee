"""The queue's planner: who is admitted now, and why the others wait. Pure: everything that counts is in the arguments.

First come, first served: whoever does not fit holds back those behind, so that a large job is not overtaken for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Amount", "Plan", "Waiting", "impossible", "plan"]

#: Sums of fractions of a CPU are not exact; less than this is no shortage.
_EPSILON = 1e-6


@dataclass(frozen=True)
class Amount:
    """CPUs in cores and memory in GiB: what a run asks for, what is held, or what there is."""

    cpu: float = 0.0
    mem: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cpu + other.cpu, self.mem + other.mem)

    def fits_in(self, other: Amount) -> bool:
        return self.cpu <= other.cpu + _EPSILON and self.mem <= other.mem + _EPSILON


@dataclass(frozen=True)
class Waiting:
    """A run in the queue."""

    run_id: str
    asks: Amount


@dataclass(frozen=True)
class Plan:
    """Runs to start now, in order, and the reason in words for each that waits."""

    admitted: tuple[str, ...]
    reasons: dict[str, str]


def plan(waiting: Sequence[Waiting], held: Amount, total: Amount) -> Plan:
    """Decide for the runs in `waiting`, the longest waiting first. `held` is what admitted runs have."""
    admitted: list[str] = []
    reasons: dict[str, str] = {}
    for run in waiting:
        if reasons:
            # The same words for all of them, however long the queue: a number would change at each admission.
            reasons[run.run_id] = "waiting behind earlier jobs"
        elif (held + run.asks).fits_in(total):
            admitted.append(run.run_id)
            held = held + run.asks
        else:
            reasons[run.run_id] = _shortage(run.asks, held, total)
    return Plan(tuple(admitted), reasons)


def impossible(asks: Amount, total: Amount) -> str | None:
    """Why a run that asks for this much can never start here, with the numbers; None when it can."""
    lacks = []
    if asks.cpu > total.cpu + _EPSILON:
        lacks.append(f"{asks.cpu:g} CPUs, and there are {total.cpu:g} in all")
    if asks.mem > total.mem + _EPSILON:
        lacks.append(f"{asks.mem:g} GiB of memory, and there are {total.mem:g} GiB in all")
    return f"it asks for {'; and '.join(lacks)}" if lacks else None


def _shortage(asks: Amount, held: Amount, total: Amount) -> str:
    lacks = []
    if asks.cpu > total.cpu - held.cpu + _EPSILON:
        lacks.append(f"{asks.cpu:g} CPU{'s' if asks.cpu != 1 else ''}: {held.cpu:g} of {total.cpu:g} in use")
    if asks.mem > total.mem - held.mem + _EPSILON:
        lacks.append(f"{asks.mem:g} GiB of memory: {held.mem:g} of {total.mem:g} in use")
    return f"waiting for {', and for '.join(lacks)}"
