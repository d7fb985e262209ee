"""Small queues for the planner's tests: random ones, what a plan must keep, and a simulation that carries plans out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from toolkit_hub.queue.planning import (
    AccountShare,
    Capacity,
    Device,
    Limits,
    Node,
    Plan,
    QueueState,
    Quota,
    Request,
    Room,
    Rules,
    RunClass,
    RunningRun,
    WaitingRun,
    plan,
)

NOW = 1000.0
ACCOUNTS = {"ann": "lab", "bob": "lab", "eve": "eve"}  # who is in which account
_EPSILON = 1e-6


def waiting(run_id: str, gpu: int = 0, **more: object) -> WaitingRun:
    """A run of `ann`, normal, one CPU and GiB, an hour long; `more` has fields of the request and of the run."""
    asks = {name: more.pop(name) for name in list(more) if name in Request.__dataclass_fields__}
    base = WaitingRun(run_id, "ann", "lab", "acme", RunClass.NORMAL, Request(gpu=gpu), NOW - 100, 0, 3600.0)
    return replace(base, request=replace(base.request, **asks), **more)  # type: ignore[arg-type]


def running(run_id: str, devices: str = "", **more: object) -> RunningRun:
    """A run of `bob` on `n0`, normal, one CPU and GiB, that ends in an hour; `devices` are letters."""
    base = RunningRun(
        run_id,
        f"job-{run_id}",
        "bob",
        "lab",
        "acme",
        RunClass.NORMAL,
        "n0",
        1.0,
        1.0,
        tuple(devices),
        0,
        NOW - 600,
        NOW + 3600,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def node(name: str, devices: str = "", cpu: float = 8.0, mem: float = 32.0, **make: object) -> Node:
    """Each letter is a device; an upper-case one has 80 GiB, the others 40."""
    found = [Device(letter, "SIMULATED A100", 80.0 if letter.isupper() else 40.0, 8.0) for letter in devices]
    return Node(name, cpu, mem, tuple(replace(device, **make) for device in found))  # type: ignore[arg-type]


def site(*nodes: Node) -> Capacity:
    return Capacity(nodes)


# Random queues: hypothesis draws the sizes, which it can shrink, and a seed for the rest. Times are whole minutes, so that ends
# coincide now and then.

_MAKES = (("A100", 40.0, 8.0, True), ("A100", 80.0, 8.0, True), ("T4", 16.0, 7.5, None), ("X1", None, None, None))


def _minutes(chance: random.Random) -> float:
    return chance.randint(1, 60) * 60.0


def _drained(chance: random.Random, why: str) -> str | None:
    return why if chance.random() < 0.04 else None


def _machine(chance: random.Random, name: str) -> Node:
    makes = [chance.choice(_MAKES[:2]) if chance.random() < 0.8 else chance.choice(_MAKES) for _ in range(4)]
    count = chance.choice((0, 2, 4, 4))
    devices = tuple(
        Device(f"{name}-{index}", model, mem, capability, None, tensor, _drained(chance, "it reports errors"))
        for index, (model, mem, capability, tensor) in enumerate(makes[:count])
    )
    return Node(name, chance.choice((4.0, 8.0)), 8.0, devices, _drained(chance, "taken out"))


def _request(chance: random.Random) -> Request:
    gpu = chance.choice((0, 1, 1, 2, 2, 3, 4))
    if chance.random() < 0.7:
        return Request(chance.choice((1.0, 1.0, 2.0, 4.0)), chance.choice((1.0, 2.0)), gpu)
    return Request(
        chance.choice((1.0, 3.0)),
        chance.choice((1.0, 4.0)),
        gpu,
        chance.choice((0.0, 30.0, 80.0)),
        chance.choice((None, "a100", "!a100")),
        chance.choice((None, 8.0)),
        chance.choice((None, True)),
    )


def random_waiting(chance: random.Random, run_id: str, limited: bool = False) -> WaitingRun:
    user = chance.choice(sorted(ACCOUNTS))
    limit = _minutes(chance) if limited or chance.random() < 0.7 else None
    run_class, submitted, bid = chance.choice(list(RunClass)), NOW - chance.randint(0, 20), chance.choice((0, 0, 1))
    return WaitingRun(run_id, user, ACCOUNTS[user], "acme", run_class, _request(chance), submitted, bid, limit)


def _random_running(chance: random.Random, machine: Node, limited: bool) -> list[RunningRun]:
    """What one machine may hold, some of it on devices that have been drained since."""
    found: list[RunningRun] = []
    free, cpu, mem = [device.uuid for device in machine.devices], machine.cpu, machine.mem
    for number in range(chance.choice((0, 2, 3, 4))):
        user = chance.choice(sorted(ACCOUNTS))
        asks = Request(min(cpu, chance.choice((1.0, 2.0))), min(mem, 2.0), min(len(free), chance.choice((0, 1, 1, 2))))
        run = WaitingRun(
            f"{machine.name}-r{number}", user, ACCOUNTS[user], "acme", chance.choice(list(RunClass)), asks, 0.0
        )
        run = replace(
            run,
            bid=chance.choice((0, 0, 1)),
            max_run_time=_minutes(chance) if limited or chance.random() < 0.6 else None,
        )
        begun = as_running(run, machine.name, tuple(free[: asks.gpu]), NOW)
        found.append(replace(begun, started=NOW - chance.randint(0, 5) * 60, ending=chance.random() < 0.05))
        free, cpu, mem = free[asks.gpu :], cpu - asks.cpu, mem - asks.mem
    return found


def _quota(chance: random.Random) -> Quota:
    return Quota(
        gpus=chance.choice((None, 1, 2, 4, 6)),
        cpus=chance.choice((None, None, 4.0, 8.0)),
        mem=chance.choice((None, None, 6.0)),
        running=chance.choice((None, None, 2, 4)),
        spares_preemptable=chance.random() < 0.3,
    )


def _limits(chance: random.Random) -> Limits:
    return Limits(
        users={"ann": _quota(chance)} if chance.random() < 0.3 else {},
        accounts={chance.choice(("lab", "all")): _quota(chance)} if chance.random() < 0.4 else {},
        organizations={"acme": _quota(chance)} if chance.random() < 0.1 else {},
        parents={"lab": "all", "eve": "all"},
        interactive_per_user=chance.choice((None, None, 1, 2)),
    )


def _state(nodes: int, queued: int, seed: int, limited: bool, bounded: bool, lends: bool) -> QueueState:
    chance = random.Random(seed)
    capacity = Capacity(tuple(_machine(chance, f"n{number}") for number in range(nodes)))
    held = [run for machine in capacity.nodes for run in _random_running(chance, machine, limited)]
    queue = tuple(random_waiting(chance, f"w{number}", limited) for number in range(queued))
    shares = {account: AccountShare(chance.random() * 5000, chance.choice((1.0, 2.0))) for account in ("lab", "eve")}
    quotas = _limits(chance) if bounded and chance.random() < 0.5 else Limits()
    rules = Rules(lend_from=600.0 if lends and chance.random() < 0.3 else None)
    return QueueState(capacity, NOW, queue, tuple(held), quotas, shares, (), rules)


def states(
    limited: bool = False, most: int = 9, bounded: bool = True, lends: bool = False
) -> st.SearchStrategy[QueueState]:
    """`limited`: every run has a time limit. `bounded`: there may be quotas. `lends`: what is kept may be lent."""
    fixed = [st.just(one) for one in (limited, bounded, lends)]
    return st.builds(_state, st.integers(1, 3), st.integers(0, most), st.integers(0, 2**32), *fixed)


# What every plan keeps.


def check(state: QueueState, decided: Plan) -> None:
    """Raises AssertionError for a plan that gives away what is not there, or leaves somebody without an answer."""
    begun = [start.run_id for start in decided.starts] + [one.starter for one in decided.preemptions]
    started = {start.run_id for start in decided.starts}
    ids = {run.run_id for run in state.waiting}
    assert len(set(begun)) == len(begun), "started twice"
    assert set(begun) <= ids
    assert started.isdisjoint(decided.reasons), "started, and yet waiting"
    assert started | set(decided.reasons) == ids, "neither started nor told why not"
    _check_devices(state, decided)
    _check_amounts(state, decided)
    _check_quotas(state, decided)
    _check_victims(state, decided)


def _check_devices(state: QueueState, decided: Plan) -> None:
    runs = {run.run_id: run for run in state.waiting}
    held = {uuid for run in state.running for uuid in run.devices}
    by_node = {machine.name: {device.uuid: device for device in machine.usable} for machine in state.capacity.nodes}
    given: list[str] = []
    for start in decided.starts:
        assert held.isdisjoint(start.devices), "a device that another run holds"
        _check_suits(runs[start.run_id], start.devices, by_node[start.node])
        given += start.devices
    coming: dict[str, set[str]] = {}
    for run in state.running:
        if run.making_room_for is not None:
            coming.setdefault(run.making_room_for, set()).update(run.devices)
    for one in decided.preemptions:
        victims = {victim.run_id for victim in one.victims}
        freed = {uuid for run in state.running if run.run_id in victims for uuid in run.devices}
        assert set(one.room.devices) <= (set(by_node[one.room.node]) - held) | freed
        _check_suits(runs[one.starter], one.room.devices, by_node[one.room.node])
        given += one.room.devices
    assert len(set(given)) == len(given), "a device given twice"


def _check_suits(run: WaitingRun, devices: tuple[str, ...], there: dict[str, Device]) -> None:
    assert len(devices) == run.request.gpu
    assert all(run.request.takes(there[uuid]) for uuid in devices), "not in service there, or not of the kind asked for"


def _check_amounts(state: QueueState, decided: Plan) -> None:
    """CPUs and memory: now, and when the victims are gone and their starters run."""
    runs = {run.run_id: run.request for run in state.waiting}
    victims = {victim.run_id for one in decided.preemptions for victim in one.victims}
    for machine in state.capacity.nodes:
        here = [run for run in state.running if run.node == machine.name]
        new = [runs[start.run_id] for start in decided.starts if start.node == machine.name]
        later = [runs[one.starter] for one in decided.preemptions if one.room.node == machine.name]
        rest = [run for run in here if run.run_id not in victims]
        for holds, asks in ((here, new), (rest, new + later)):
            if asks:
                assert sum(run.cpu for run in holds) + sum(one.cpu for one in asks) <= machine.cpu + _EPSILON
                assert sum(run.mem for run in holds) + sum(one.mem for one in asks) <= machine.mem + _EPSILON


def _check_quotas(state: QueueState, decided: Plan) -> None:
    begun = {start.run_id for start in decided.starts} | {one.starter for one in decided.preemptions}
    new = [run for run in state.waiting if run.run_id in begun]
    for run in new:
        for kind, scope, quota in state.limits.scopes(run.user, run.account, run.organization):
            runs = [other for other in (*state.running, *new) if in_scope(state.limits, other, kind, scope)]
            held = [other for other in runs if not quota.spares_preemptable or other.run_class < RunClass.PREEMPTABLE]
            counted = run.run_class < RunClass.PREEMPTABLE or not quota.spares_preemptable
            if counted:
                assert run.request.gpu == 0 or _within(sum(map(_gpus, held)), quota.gpus)
                assert _within(sum(_asks(other).cpu for other in held), quota.cpus)
                assert _within(sum(_asks(other).mem for other in held), quota.mem)
            assert _within(len(runs), quota.running)
            if run.run_class is RunClass.INTERACTIVE:
                assert _within(sum(other.run_class is RunClass.INTERACTIVE for other in runs), quota.interactive)


def in_scope(quotas: Limits, run: WaitingRun | RunningRun, kind: str, scope: str) -> bool:
    return any((kind, scope) == found[:2] for found in quotas.scopes(run.user, run.account, run.organization))


def _within(amount: float, limit: float | None) -> bool:
    return limit is None or amount <= limit + _EPSILON


def _asks(run: WaitingRun | RunningRun) -> WaitingRun | RunningRun | Request:
    return run.request if isinstance(run, WaitingRun) else run


def _gpus(run: WaitingRun | RunningRun) -> int:
    return run.request.gpu if isinstance(run, WaitingRun) else len(run.devices)


def _check_victims(state: QueueState, decided: Plan) -> None:
    runs, held = {run.run_id: run for run in state.waiting}, {run.run_id: run for run in state.running}
    chosen = [victim.run_id for one in decided.preemptions for victim in one.victims]
    assert len(set(chosen)) == len(chosen), "stopped twice"
    for one in decided.preemptions:
        assert one.victims, "room is made without stopping anybody"
        for victim in one.victims:
            run = held[victim.run_id]
            assert run.making_room_for is None, "stopped already"
            assert not run.ending
            assert run.node == one.room.node
            assert run.run_class in (RunClass.PREEMPTABLE, RunClass.RESTARTABLE)
            assert runs[one.starter].run_class < run.run_class
            assert victim.lost == run.lost_if_stopped(state.now)


def fits(request: Request, machine: Node, holds: list[RunningRun]) -> bool:
    """By itself, apart from the planner's code: whether the request fits beside what is held."""
    if machine.drained:
        return False
    taken = {uuid for run in holds for uuid in run.devices}
    suitable = [device for device in machine.devices if not device.drained and request.takes(device)]
    return (
        sum(run.cpu for run in holds) + request.cpu <= machine.cpu + _EPSILON
        and sum(run.mem for run in holds) + request.mem <= machine.mem + _EPSILON
        and sum(device.uuid not in taken for device in suitable) >= request.gpu
    )


def as_running(run: WaitingRun, where: str, devices: tuple[str, ...], now: float) -> RunningRun:
    asks = run.request
    end = None if run.max_run_time is None else now + run.max_run_time
    return RunningRun(
        run.run_id, run.run_id, run.user, run.account, run.organization, run.run_class, where, asks.cpu, asks.mem, devices,
        run.bid, now, end, restartable=run.run_class is RunClass.RESTARTABLE,
    )  # fmt: skip


@dataclass
class Simulation:
    """Carries plans out by events: ends of runs, ends of those that are stopped (`grace` seconds later), arrivals. Runs end at
    their latest ends; those without a limit do not, unless `ends` names a time."""

    state: QueueState
    grace: float = 30.0
    ends: dict[str, float] = field(default_factory=dict)
    started: dict[str, float] = field(default_factory=dict)
    arrivals: Callable[[QueueState, int], tuple[WaitingRun, ...]] | None = None
    steps: int = 0
    last: Plan | None = None

    def run(self, until: Callable[[Simulation], bool], most: int = 200) -> None:
        """Until that holds, nothing happens any more, or so many passes are over."""
        for _ in range(most):
            self.last = self._pass()
            if until(self) or not self._advance():
                return

    def _pass(self) -> Plan:
        self.steps += 1
        state = self.state
        if self.arrivals is not None:
            state = replace(state, waiting=state.waiting + self.arrivals(state, self.steps))
        decided = plan(state)
        check(state, decided)
        runs = {run.run_id: run for run in state.waiting}
        new = [as_running(runs[one.run_id], one.node, one.devices, state.now) for one in decided.starts]
        self.started |= {run.run_id: state.now for run in new}
        rooms = {one.starter: one.room for one in decided.preemptions}
        stopped = {victim.run_id: one.starter for one in decided.preemptions for victim in one.victims}
        self.ends |= dict.fromkeys(stopped, state.now + self.grace)
        held = [
            replace(run, making_room_for=stopped[run.run_id]) if run.run_id in stopped else run for run in state.running
        ]
        self.state = replace(
            state,
            waiting=tuple(self._with_room(run, rooms) for run in state.waiting if run.run_id not in self.started),
            running=(*held, *new),
            promised=decided.promised,
        )
        return decided

    @staticmethod
    def _with_room(run: WaitingRun, rooms: dict[str, Room]) -> WaitingRun:
        return replace(run, room=rooms[run.run_id]) if run.run_id in rooms else run

    def end_of(self, run: RunningRun) -> float | None:
        return self.ends.get(run.run_id, run.latest_end)

    def _advance(self) -> bool:
        times = [end for run in self.state.running if (end := self.end_of(run)) is not None]
        if not times:
            return False
        now = max(self.state.now, min(times))
        rest = tuple(run for run in self.state.running if (end := self.end_of(run)) is None or end > now)
        self.state = replace(self.state, now=now, running=rest)
        return True
