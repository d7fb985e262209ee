"""The line: by class, bid, fair share between accounts, time of submission, id."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from operator import attrgetter

from toolkit_hub.queue.planning.fair_share import AccountShare, Costs
from toolkit_hub.queue.planning.runs import RunClass, RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["Line", "why_ahead"]

_UNKNOWN = AccountShare()
_NEVER = float("inf")
_BY_TIME = attrgetter("submitted", "run_id")


class Line:
    """Iterates over the runs that may start now, the first in line first.

    Each run that starts or waits for room counts as use of its account at once (`charge`), so that accounts take turns within
    one pass too. A run that its quota holds back is not charged: it would push back the others of its account.
    """

    def __init__(self, state: QueueState, running: Iterable[RunningRun], costs: Costs) -> None:
        self._state = state
        #: Use for each unit of weight, by account; the lowest comes first. And what a run of cost 1 adds to it.
        self._ratios: dict[str, float] = {}
        self._steps: dict[str, float] = {}
        #: The ids in the order in which they were given out.
        self.order: list[str] = []
        for run in running:
            self._add(run.account, costs.share(len(run.devices), run.cpu, run.mem))

    def charge(self, run: WaitingRun, cost: float) -> None:
        """`cost` is that of what the run asks for."""
        self._add(run.account, cost)

    def _add(self, account: str, cost: float) -> None:
        if account not in self._ratios:
            share = self._state.shares.get(account, _UNKNOWN)
            due = share.weight > 0
            self._ratios[account] = share.used / share.weight if due else _NEVER
            self._steps[account] = self._state.rules.running_counts / share.weight if due else 0.0
        self._ratios[account] += cost * self._steps[account]

    def __iter__(self) -> Iterator[WaitingRun]:
        for queues in self._groups():
            for run in self._fairly(queues):
                self.order.append(run.run_id)
                yield run

    def _groups(self) -> Iterator[dict[str, list[WaitingRun]]]:
        """Those whose time has come, by class and bid, and in each group by account."""
        now = self._state.now
        # A list by class: hashing an Enum is slow.
        groups: list[dict[int, dict[str, list[WaitingRun]]]] = [{} for _ in RunClass]
        for run in self._state.waiting:
            if run.not_before is not None and run.not_before > now:
                continue
            group = groups[run.run_class].get(run.bid)
            if group is None:
                group = groups[run.run_class][run.bid] = {}
            if run.account in group:
                group[run.account].append(run)
            else:
                group[run.account] = [run]
        for by_bid in groups:
            for bid in sorted(by_bid, reverse=True):
                yield by_bid[bid]

    def _fairly(self, queues: dict[str, list[WaitingRun]]) -> Iterator[WaitingRun]:
        """Runs of one class and bid by account: whoever was promised the first place, then the accounts in turns."""
        for account, queue in queues.items():
            queue.sort(key=_BY_TIME, reverse=True)
            if account not in self._ratios:
                self._add(account, 0.0)
        yield from self._promised(queues)
        ratios = self._ratios
        heap = [
            (ratios[account], queue[-1].submitted, queue[-1].run_id, queue)
            for account, queue in queues.items()
            if queue
        ]
        heapq.heapify(heap)
        while heap:
            queue = heap[0][3]
            run = queue.pop()
            yield run
            if queue:
                first = queue[-1]
                heapq.heapreplace(heap, (ratios[run.account], first.submitted, first.run_id, queue))
            else:
                heapq.heappop(heap)

    def _promised(self, queues: dict[str, list[WaitingRun]]) -> list[WaitingRun]:
        """Taken out of their queues."""
        if not self._state.promised:
            return []
        found = [run for queue in queues.values() for run in queue if run.run_id in self._state.promised]
        for run in found:
            queues[run.account].remove(run)
        return sorted(found, key=_BY_TIME)


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
