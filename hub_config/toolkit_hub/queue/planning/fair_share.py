"""Fair share: at equal class and bid, the account that has had least for its weight comes first."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit_hub.queue.planning.capacity import Capacity
from toolkit_hub.queue.planning.runs import Request

__all__ = ["AccountShare", "Costs", "decayed"]


@dataclass(frozen=True, slots=True)
class AccountShare:
    """`used` is decayed past use in seconds of the whole site: `Costs.of` times the seconds run; `weight` what it is due."""

    used: float = 0.0
    weight: float = 1.0


def decayed(used: float, seconds: float, half_life: float) -> float:
    """What is left of past use after some seconds."""
    return float(used * 0.5 ** (max(0.0, seconds) / half_life))


class Costs:
    """How much of the site a run takes: the largest of its shares of GPUs, CPUs and memory (dominant resource fairness,
    Ghodsi et al., NSDI 2011)."""

    def __init__(self, capacity: Capacity) -> None:
        self._gpus, self._cpus, self._mem = capacity.totals()

    def of(self, request: Request) -> float:
        """From 0 to 1."""
        return self.share(request.gpu, request.cpu, request.mem)

    def share(self, gpus: float, cpu: float, mem: float) -> float:
        return max(gpus / (self._gpus or 1), cpu / (self._cpus or 1), mem / (self._mem or 1))
