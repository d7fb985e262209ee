"""What holds for every queue: random ones, each plan checked by code of its own, and carried out to the end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.queues import NOW, Simulation, as_running, check, fits, random_waiting, site, states, waiting
from toolkit_hub.queue.planning import (
    Kind,
    Limits,
    Node,
    Plan,
    Preemption,
    QueueState,
    Request,
    RunClass,
    RunningRun,
    WaitingRun,
    plan,
    what_if,
    words,
)

many = settings(max_examples=150, deadline=None)
fewer = settings(max_examples=60, deadline=None)


@many
@given(states(lends=True))
def test_a_plan_gives_only_what_is_there_and_answers_everybody(state: QueueState) -> None:
    decided = plan(state)
    check(state, decided)
    assert all(words(reason) for reason in decided.reasons.values())


@many
@given(states(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(state: QueueState, chance: random.Random) -> None:
    shuffled = [chance.sample(runs, len(runs)) for runs in (state.waiting, state.running, state.capacity.nodes)]
    waiting, running, nodes = map(tuple, shuffled)
    other = replace(state, waiting=waiting, running=running, capacity=replace(state.capacity, nodes=nodes))
    assert plan(other) == plan(state)


@many
@given(states())
def test_a_plan_up_to_one_run_decides_as_the_whole_plan_does(state: QueueState) -> None:
    whole = plan(state)
    for run in state.waiting:
        part = plan(state, until=run.run_id)
        assert set(_begun(part)) <= set(_begun(whole))
        assert (run.run_id in _begun(part)) == (run.run_id in _begun(whole))


@many
@given(states())
def test_among_equals_nobody_is_overtaken(state: QueueState) -> None:
    """Whoever asks for the same, for the same people, as long, at the same class and bid, starts in order of submission."""
    begun = _begun(plan(state))
    for one, other in itertools.permutations(state.waiting, 2):
        same = replace(one, run_id="", submitted=0) == replace(other, run_id="", submitted=0)
        if same and (one.submitted, one.run_id) < (other.submitted, other.run_id) and other.run_id in begun:
            assert one.run_id in begun


@many
@given(states(bounded=False))
def test_a_higher_class_or_bid_is_overtaken_only_by_backfill(state: QueueState) -> None:
    decided = plan(state)
    ranks = {run.run_id: (run.run_class, -run.bid) for run in state.waiting}
    for start in decided.starts:
        for run_id, reason in decided.reasons.items():
            if ranks[run_id] < ranks[start.run_id] and reason.kind not in (
                Kind.MAKING_ROOM,
                Kind.IMPOSSIBLE,
                Kind.OUT_OF_SERVICE,
            ):
                assert start.backfilled


@many
@given(states(bounded=False))
def test_who_is_told_that_there_is_no_room_could_start_nowhere(state: QueueState) -> None:
    decided = plan(state)
    runs = {run.run_id: run for run in state.waiting}
    rooms = [(one.starter, one.room.node, one.room.devices) for one in decided.preemptions]
    begun = [(one.run_id, one.node, one.devices) for one in decided.starts] + rooms
    held = [*state.running, *(as_running(runs[run_id], where, devices, NOW) for run_id, where, devices in begun)]
    for run_id, reason in decided.reasons.items():
        if reason.kind in (Kind.BEHIND, Kind.FIRST, Kind.IMPOSSIBLE, Kind.OUT_OF_SERVICE):
            for machine in state.capacity.nodes:
                here = [run for run in held if run.node == machine.name]
                assert not fits(runs[run_id].request, machine, here)
        if reason.kind in (Kind.IMPOSSIBLE, Kind.OUT_OF_SERVICE):
            assert not any(fits(runs[run_id].request, machine, []) for machine in state.capacity.nodes)


@many
@given(states())
def test_no_victim_could_be_left_out(state: QueueState) -> None:
    runs = {run.run_id: run for run in state.waiting}
    for one, machine, here in _evictions(state):
        victims = {victim.run_id for victim in one.victims}
        if machine.name == one.room.node:
            assert fits(runs[one.starter].request, machine, [run for run in here if run.run_id not in victims])
            for spared in victims:
                left = [run for run in here if run.run_id not in victims - {spared}]
                assert not fits(runs[one.starter].request, machine, left)


@many
@given(states())
def test_nobody_is_stopped_for_who_fits_anyhow_or_while_lower_ones_would_do(state: QueueState) -> None:
    runs, held = {run.run_id: run for run in state.waiting}, {run.run_id: run for run in state.running}
    for one, machine, here in _evictions(state):
        starter = runs[one.starter]
        dearest = max((-run.run_class, run.bid) for run in (held[victim.run_id] for victim in one.victims))
        assert not fits(starter.request, machine, here)
        kept = [run for run in here if not _cheaper(starter, run, dearest)]
        assert not fits(starter.request, machine, kept), "stopping only lower ones would have done"


def _evictions(state: QueueState) -> Iterator[tuple[Preemption, Node, list[RunningRun]]]:
    """Each preemption with each machine that came into question when it was decided, and what was held there."""
    runs = {run.run_id: run for run in state.waiting}
    for one in plan(state).preemptions:
        at_its_turn = plan(state, until=one.starter)
        others = {other.room.node for other in at_its_turn.preemptions if other.starter != one.starter}
        kept = {at_its_turn.reservation.node} if at_its_turn.reservation else set()
        held = _held(state, at_its_turn, runs, but=one.starter)
        for machine in state.capacity.nodes:
            if machine.name not in others | kept:
                yield one, machine, [run for run in held if run.node == machine.name]


def _cheaper(starter: WaitingRun, run: RunningRun, than: tuple[int, int]) -> bool:
    mine = run.run_id.startswith("n")  # it ran before this pass
    return mine and starter.may_stop(run) and (-run.run_class, run.bid) < than


@many
@given(states())
def test_whoever_goes_on_longer_leaves_the_first_in_line_its_room(state: QueueState) -> None:
    """At the time of the reservation it fits on its machine, whatever has been started before it."""
    decided = plan(state)
    kept = decided.reservation
    if kept is None:
        return
    runs = {run.run_id: run for run in state.waiting}
    first = runs[kept.run_id]
    machine = next(node for node in state.capacity.nodes if node.name == kept.node)
    begun = {start.run_id for start in decided.starts if start.backfilled}
    held = [run for run in _held(state, decided, runs) if run.node == kept.node and not first.may_stop(run)]
    if kept.at is None:  # those who ran before end at any time; then only who has been started since can be in the way
        stays = [run for run in held if run.run_id in begun]
    else:
        stays = [run for run in held if run.latest_end is None or run.latest_end > kept.at]
    assert fits(first.request, machine, stays)


@fewer
@given(states(limited=True, bounded=False))
def test_backfill_does_not_delay_the_first_in_line(state: QueueState) -> None:
    """Carried out to its start, with and without those behind it, every run using all its time."""
    kept = plan(state).reservation
    assume(kept is not None)
    assert kept is not None
    assert kept.at is not None, "every run has a limit"
    decided = plan(state)
    ahead = set(decided.order[: decided.order.index(kept.run_id) + 1]) | set(_begun(plan(state, until=kept.run_id)))
    alone = Simulation(replace(state, waiting=tuple(run for run in state.waiting if run.run_id in ahead)))
    alone.run(lambda simulation: kept.run_id in simulation.started)
    together = Simulation(state)
    together.run(lambda simulation: kept.run_id in simulation.started)
    assert together.started[kept.run_id] <= max(alone.started[kept.run_id], kept.at) + together.grace


@fewer
@given(states(limited=True, bounded=False), st.integers(0, 2**32))
def test_whatever_arrives_the_first_in_line_starts_in_time(state: QueueState, seed: int) -> None:
    """New runs come before each pass: of its class and bid at most, of any account."""
    kept = plan(state).reservation
    assume(kept is not None)
    assert kept is not None
    assert kept.at is not None
    first = next(run for run in state.waiting if run.run_id == kept.run_id)
    chance = random.Random(seed)

    def arrive(now: QueueState, step: int) -> tuple[WaitingRun, ...]:
        if step == 1 or step > 30:
            return ()
        new = [random_waiting(chance, f"new-{step}-{number}", limited=True) for number in range(2)]
        later = [replace(run, submitted=now.now, bid=min(run.bid, first.bid)) for run in new]
        return tuple(replace(run, run_class=max(run.run_class, first.run_class)) for run in later)

    simulation = Simulation(state, arrivals=arrive)
    simulation.run(lambda now: kept.run_id in now.started)
    assert simulation.started[kept.run_id] <= kept.at + simulation.grace


@fewer
@given(states(limited=True, lends=True))
def test_every_run_that_can_start_does_in_the_end(state: QueueState) -> None:
    simulation = Simulation(state)
    simulation.run(lambda now: not now.state.waiting)
    for run in simulation.state.waiting:
        reason = plan(simulation.state).reasons[run.run_id]
        assert reason.kind in (Kind.IMPOSSIBLE, Kind.OUT_OF_SERVICE) or (
            reason.quota is not None and reason.quota.never
        )


@fewer
@given(states(most=5))
def test_proposals_start_the_run_and_tell_what_they_do_to_others(state: QueueState) -> None:
    before = plan(state)
    for run in state.waiting:
        for proposal in what_if(state, run.run_id, before):
            changed = proposal.change.apply(run)
            assert changed != run
            waiting = tuple(changed if other.run_id == run.run_id else other for other in state.waiting)
            after = plan(replace(state, waiting=waiting))
            check(replace(state, waiting=waiting), after)
            assert run.run_id in _begun(after)
            assert set(proposal.delays) == set(_begun(before)) - set(_begun(after))
            assert all(other in before.order and other in after.reasons for other in proposal.overtakes)


@pytest.mark.parametrize("run_class", list(RunClass))
def test_no_queue_and_no_machines(run_class: RunClass) -> None:
    empty = QueueState(site(), NOW)
    assert plan(empty) == Plan((), (), {}, (), (), None)
    alone = replace(empty, waiting=(waiting("w", run_class=run_class),), limits=Limits())
    assert plan(alone).reasons["w"].kind is Kind.IMPOSSIBLE
    assert Request() in {reason.request for reason in plan(alone).reasons.values()}


def _begun(decided: Plan) -> list[str]:
    return [start.run_id for start in decided.starts] + [one.starter for one in decided.preemptions]


def _held(state: QueueState, decided: Plan, runs: dict[str, WaitingRun], but: str = "") -> list[RunningRun]:
    """What is held when the plan is carried out, and its victims are gone but for those of `but`."""
    victims = {victim.run_id for one in decided.preemptions if one.starter != but for victim in one.victims}
    begun = [(one.run_id, one.node, one.devices) for one in decided.starts]
    begun += [(one.starter, one.room.node, one.room.devices) for one in decided.preemptions if one.starter != but]
    new = [as_running(runs[run_id], where, devices, state.now) for run_id, where, devices in begun]
    return [run for run in state.running if run.run_id not in victims] + new
