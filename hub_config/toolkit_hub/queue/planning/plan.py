"""One planning pass: which runs start where, which are stopped for whom, and why the others wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from toolkit_hub.queue.planning.backfill import Reservation, ReservedNode, reserve
from toolkit_hub.queue.planning.cluster import Cluster, FreeNode, Hold
from toolkit_hub.queue.planning.fair_share import Costs
from toolkit_hub.queue.planning.limits import Usage
from toolkit_hub.queue.planning.order import Line
from toolkit_hub.queue.planning.place import Failures, Place, best_place, fitting
from toolkit_hub.queue.planning.preempt import Stoppable, Victim
from toolkit_hub.queue.planning.reasons import Reason
from toolkit_hub.queue.planning.runs import Request, Room, WaitingRun
from toolkit_hub.queue.planning.state import QueueState
from toolkit_hub.queue.planning.waits import Asked, Waits, shortage

__all__ = ["Plan", "Preemption", "Start", "plan"]


@dataclass(frozen=True, slots=True)
class Start:
    """Start the run now. `backfilled`: before the first in line, without delaying it."""

    run_id: str
    node: str
    devices: tuple[str, ...]
    backfilled: bool = False


@dataclass(frozen=True, slots=True)
class Preemption:
    """Stop the victims, in this order; `room` is kept for the starter until it starts."""

    starter: str
    room: Room
    victims: tuple[Victim, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`order` has the waiting runs that are not started, the next one first, as far as they may start now at all; `reasons` has
    each that is not started. `promised` belongs into the state of the next pass."""

    starts: tuple[Start, ...]
    preemptions: tuple[Preemption, ...]
    reasons: Mapping[str, Reason]
    order: tuple[str, ...]
    promised: tuple[str, ...]
    reservation: Reservation | None


def plan(state: QueueState, until: str | None = None) -> Plan:
    """Decide for all waiting runs; with `until`, only up to that run: the decisions for it and those before it are the same."""
    return _Pass(state).decide(until)


class _Pass:
    """One walk along the line. Nothing comes free within it, so what did not fit once is not tried again."""

    def __init__(self, state: QueueState) -> None:
        self._state, self._now = state, state.now
        # Sorted: sums of fractions depend on the order.
        running = sorted(state.running, key=lambda run: run.run_id)
        self._cluster = Cluster(state.capacity, running)
        self._usage = Usage(state.limits, running)
        self._costs = Costs(state.capacity)
        self._line = Line(state, running, self._costs)
        self._starts: list[Start] = []
        self._preemptions: list[Preemption] = []
        self._waits = Waits(state.capacity)
        self._first: WaitingRun | None = None
        self._reserved: ReservedNode | None = None
        #: Seconds that a run may take to be gone when the first in line starts, and whether others are lent what is kept for it.
        self._time_left, self._lends = 0.0, False
        #: The machines for runs that may go on when the first in line starts.
        self._nodes_for_long = self._cluster.nodes
        #: What found no place: of runs that end before the first in line starts, and of all others.
        self._failures, self._failures_of_long = Failures(), Failures()
        self._stoppable = Stoppable(self._cluster, self._now)
        self._asked: dict[Request, Asked] = {}

    def decide(self, until: str | None) -> Plan:
        settled = self._keep_rooms()
        for run in self._line:
            if run.run_id not in settled:
                self._decide(run)
            if run.run_id == until:
                break
        self._waits.note_early(self._state)
        reservation = self._reserved.reservation if self._reserved else None
        reasons, order = self._waits.reasons, self._waits.order(self._line.order)
        promised = self._waits.promised(self._state.promised, self._first)
        return Plan(tuple(self._starts), tuple(self._preemptions), reasons, order, promised, reservation)

    def _keep_rooms(self) -> set[str]:
        """What is being made free for a run in waiting is for it alone; when all victims are gone, it starts. Returns those runs.
        A room that is no more (a device fell out) binds nobody: its run takes its turn in the line."""
        settled = set()
        with_room = [run for run in self._state.waiting if run.room is not None]
        for run in sorted(with_room, key=lambda run: (run.run_class, -run.bid, run.submitted, run.run_id)):
            node = self._cluster.by_name.get(run.room.node) if run.room else None
            if node is None or run.room is None or self._usage.block(run) is not None:
                continue
            holds = self._cluster.holds[node.name]
            victims = [hold for hold in holds if hold.run is not None and hold.run.making_room_for == run.run_id]
            if not self._cluster.has_room(node, run.request, run.room.devices, victims):
                continue
            settled.add(run.run_id)
            if victims:
                self._hold_room(run, node, run.room.devices, victims)
            else:
                self._start(run, Place(node.name, run.room.devices), ends_in_time=True)
        return settled

    def _decide(self, run: WaitingRun) -> None:
        block = self._usage.block(run)
        if block is not None:
            self._waits.for_quota(run, block)
            return
        asked = self._asked_by(run)
        if asked.behind is not None and asked.failed and run.run_class >= asked.no_victims_for:
            # As others who ask for the same: most of a long queue ends here.
            self._waits.reasons[run.run_id] = asked.behind
            self._line.charge(run, asked.cost)
            return
        # So as well while nobody is held up.
        ends_in_time = self._reserved is None or (run.max_run_time is not None and run.max_run_time <= self._time_left)
        place = self._find(asked, ends_in_time=ends_in_time)
        if place is None and self._lends and not ends_in_time and self._first_may_stop(run):
            ends_in_time = True
            place = self._find(asked, ends_in_time=True)
        crowds = place is not None and self._crowds(run)
        if place is not None and not crowds:
            self._start(run, place, ends_in_time=ends_in_time)
        elif crowds or not self._make_room(run, asked):
            self._wait(run, asked, crowds=crowds)

    def _crowds(self, run: WaitingRun) -> bool:
        """Whether the run would use up a quota that the first in line needs, and may still do so when that can start."""
        if self._first is None or (run.max_run_time is not None and run.max_run_time <= self._time_left):
            return False
        return self._usage.block(run, beside=self._first) is not None

    def _asked_by(self, run: WaitingRun) -> Asked:
        asked = self._asked.get(run.request)
        if asked is None:
            kinds, cost = self._cluster.kinds(run.request), self._costs.of(run.request)
            asked = self._asked[run.request] = Asked(run.request, kinds, cost)
        return asked

    def _find(self, asked: Asked, *, ends_in_time: bool) -> Place | None:
        if asked.failed or (asked.failed_long and not ends_in_time):
            return None
        request, kinds, place = asked.request, asked.kinds, None
        failures = self._failures if ends_in_time else self._failures_of_long
        if not failures.cover(request, kinds):
            place = best_place(self._cluster, request, self._fitting(asked, ends_in_time=ends_in_time))
            if place is None:
                failures.add(request, kinds)
        asked.failed |= ends_in_time and place is None
        asked.failed_long |= place is None
        return place

    def _fitting(self, asked: Asked, *, ends_in_time: bool) -> list[FreeNode]:
        """A machine that has become too small stays so."""
        if ends_in_time:
            asked.nodes = fitting(asked.request, self._cluster.nodes if asked.nodes is None else asked.nodes)
            return asked.nodes
        nodes = self._nodes_for_long if asked.nodes_for_long is None else asked.nodes_for_long
        asked.nodes_for_long = fitting(asked.request, nodes)
        return asked.nodes_for_long

    def _start(self, run: WaitingRun, place: Place, *, ends_in_time: bool) -> None:
        node = self._cluster.by_name[place.node]
        self._cluster.hold(node, run.request, place.devices, self._latest_end(run))
        self._starts.append(Start(run.run_id, place.node, place.devices, self._first is not None))
        self._hand_over(run)
        if self._reserved is not None and node is self._reserved.node:
            self._reserved.taken(run.request.cpu, run.request.mem, ends_in_time=ends_in_time)

    def _make_room(self, run: WaitingRun, asked: Asked) -> bool:
        """Have others stopped for the run, if that helps. Never on the machine that is kept for the first in line."""
        if run.run_class >= asked.no_victims_for or self._crowds(run):
            return False
        found = self._stoppable.evict(run, but=self._reserved.node if self._reserved else None)
        if found is None:
            asked.no_victims_for = run.run_class
            return False
        node = self._cluster.by_name[found.node]
        self._preemptions.append(Preemption(run.run_id, Room(found.node, found.devices), found.victims))
        self._hold_room(run, node, found.devices, list(found.holds))
        return True

    def _hold_room(self, run: WaitingRun, node: FreeNode, devices: tuple[str, ...], victims: list[Hold]) -> None:
        self._cluster.make_room(node, run.request, devices, victims, self._latest_end(run))
        stopped = tuple(hold.run.run_id for hold in victims if hold.run is not None)
        self._waits.for_room(run, stopped)
        self._hand_over(run)

    def _wait(self, run: WaitingRun, asked: Asked, *, crowds: bool) -> None:
        if self._waits.for_ever(run, asked):
            return  # it must not hold back anybody
        self._line.charge(run, asked.cost)
        if self._first is None:
            self._first, self._reserved = run, reserve(self._cluster, run, self._now)
            self._waits.as_first(run, shortage(self._cluster, run.request))
            if self._reserved is not None:
                self._limit_backfill(self._reserved)
            return
        kept = not asked.failed and self._reserved is not None and self._reserved.node.fits(run.request, asked.kinds)
        self._waits.behind(run, asked, self._first, kept=crowds or kept)

    def _limit_backfill(self, reserved: ReservedNode) -> None:
        rules, at = self._state.rules, reserved.reservation.at
        self._nodes_for_long = [reserved.view if node is reserved.node else node for node in self._cluster.nodes]
        self._time_left = -1.0 if at is None else at - self._now - rules.slack
        self._lends = rules.lend_from is not None and (at is None or at - self._now >= rules.lend_from)

    def _first_may_stop(self, run: WaitingRun) -> bool:
        return self._first is not None and self._first.run_class.may_preempt(run.run_class)

    def _hand_over(self, run: WaitingRun) -> None:
        self._usage.take(run)
        self._line.charge(run, self._asked_by(run).cost)

    def _latest_end(self, run: WaitingRun) -> float | None:
        if run.max_run_time is None:
            return None
        return self._now + run.max_run_time + self._state.rules.slack
