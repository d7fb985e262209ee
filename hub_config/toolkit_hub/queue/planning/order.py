"""The line: by class, bid, fair share between accounts, time of submission, id."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

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
        groups: dict[tuple[int, int], dict[str, list[WaitingRun]]] = {}
        for run in self._state.waiting:
            if run.not_before is None or run.not_before <= now:
                group = groups.setdefault((int(run.run_class), -run.bid), {})
                group.setdefault(run.account, []).append(run)
        for key in sorted(groups):
            for run in self._fairly(groups[key]):
                self.order.append(run.run_id)
                yield run

    def _fairly(self, queues: dict[str, list[WaitingRun]]) -> Iterator[WaitingRun]:
        """Runs of one class and bid by account: whoever was promised the first place, then the accounts in turns."""
        for queue in queues.values():
            queue.sort(key=_by_time, reverse=True)
        yield from self._promised(queues)
        heap = [self._entry(queue) for queue in queues.values() if queue]
        heapq.heapify(heap)
        while heap:
            queue = queues[heap[0][3]]
            yield queue.pop()
            if queue:
                heapq.heapreplace(heap, self._entry(queue))
            else:
                heapq.heappop(heap)

    def _promised(self, queues: dict[str, list[WaitingRun]]) -> list[WaitingRun]:
        """Taken out of their queues."""
        if not self._state.promised:
            return []
        found = [run for queue in queues.values() for run in queue if run.run_id in self._state.promised]
        for run in found:
            queues[run.account].remove(run)
        return sorted(found, key=_by_time)

    def _entry(self, queue: list[WaitingRun]) -> tuple[float, float, str, str]:
        first = queue[-1]
        return self.ratio(first.account), first.submitted, first.run_id, first.account

    def _used(self, account: str) -> float:
        used = self._use.get(account)
        return self._state.shares.get(account, AccountShare()).used if used is None else used


def _by_time(run: WaitingRun) -> tuple[float, str]:
    return run.submitted, run.run_id


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
