"""The line: by class, bid, fair share between accounts, time of submission, id."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from itertools import groupby

from toolkit_hub.queue.planning.fair_share import AccountShare, Costs
from toolkit_hub.queue.planning.runs import RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Line", "why_ahead"]


class Line:
    """Iterates over the runs that may start now, the first in line first.

    Each run that starts or waits for room counts as use of its account at once (`charge`), so that accounts take turns within
    one pass too. A run that its quota holds back is not charged: it would push back the others of its account.
    """

    def __init__(self, state: QueueState, running: Iterable[RunningRun], costs: Costs) -> None:
        self._state = state
        self._counts = state.rules.running_counts
        self._weights: dict[str, float] = {}
        self._use: dict[str, float] = {}
        #: The ids in the order in which they were given out.
        self.order: list[str] = []
        for run in running:
            share = costs.share(len(run.devices), run.cpu, run.mem)
            self._use[run.account] = self._used(run.account) + share * self._counts

    def charge(self, run: WaitingRun, cost: float) -> None:
        """`cost` is that of what the run asks for."""
        self._use[run.account] = self._used(run.account) + cost * self._counts

    def ratio(self, account: str) -> float:
        """Use for each unit of weight; the lowest comes first."""
        weight = self._weights.get(account)
        if weight is None:
            weight = self._weights[account] = self._state.shares.get(account, AccountShare()).weight
        return self._used(account) / weight if weight > 0 else float("inf")

    def __iter__(self) -> Iterator[WaitingRun]:
        now = self._state.now
        ready = [run for run in self._state.waiting if run.not_before is None or run.not_before <= now]
        ready.sort(key=lambda run: (run.run_class, -run.bid, run.submitted, run.run_id))
        for _, group in groupby(ready, key=lambda run: (run.run_class, run.bid)):
            for run in self._fairly(list(group)):
                self.order.append(run.run_id)
                yield run

    def _fairly(self, runs: list[WaitingRun]) -> Iterator[WaitingRun]:
        """Runs of one class and bid, given by submission: whoever was promised first place, then the accounts in turns."""
        promised = set(self._state.promised)
        queues: dict[str, list[WaitingRun]] = {}
        for run in reversed(runs):
            if run.run_id not in promised:
                queues.setdefault(run.account, []).append(run)
        yield from (run for run in runs if run.run_id in promised)
        heap = [self._entry(queue) for queue in queues.values()]
        heapq.heapify(heap)
        while heap:
            queue = queues[heap[0][3]]
            yield queue.pop()
            if queue:
                heapq.heapreplace(heap, self._entry(queue))
            else:
                heapq.heappop(heap)

    def _entry(self, queue: list[WaitingRun]) -> tuple[float, float, str, str]:
        first = queue[-1]
        return self.ratio(first.account), first.submitted, first.run_id, first.account

    def _used(self, account: str) -> float:
        used = self._use.get(account)
        return self._state.shares.get(account, AccountShare()).used if used is None else used


def why_ahead(ahead: WaitingRun, behind: WaitingRun, state: QueueState) -> str:
    """What puts one run before the other: `class`, `bid`, `promise` (it was first in line already), `fair share` or `earlier`."""
    if ahead.run_class != behind.run_class:
        return "class"
    if ahead.bid != behind.bid:
        return "bid"
    if ahead.run_id in state.promised:
        return "promise"
    earlier = (ahead.submitted, ahead.run_id) < (behind.submitted, behind.run_id)
    if ahead.account == behind.account or earlier:
        return "earlier"
    return "fair share"
