"""One planning pass over a long queue on a large site, beside `sorted()` of the same jobs by the same keys."""

from __future__ import annotations

import random
import time

from tests.bench.rows import Row, ratio_row
from tests.support.running_site import RunningSite
from toolkit_hub.queue.planning import (
    AccountShare,
    Capacity,
    Device,
    Limits,
    Node,
    QueueState,
    Quota,
    Request,
    RunClass,
    RunningRun,
    WaitingRun,
    plan,
)

NODES, GPUS_EACH, QUEUED = 125, 8, 10_000
_MODELS = (("A100", 40.0, 8.0), ("A100", 80.0, 8.0), ("H100", 80.0, 9.0))
_NOW = 1_000_000.0


def queue_state(busy: float, queued: int = QUEUED, seed: int = 1) -> QueueState:
    """A queue of all classes from 200 accounts, of which some have quotas, where this part of the GPUs is held."""
    chance = random.Random(seed)
    capacity = Capacity(tuple(_node(number) for number in range(NODES)))
    accounts = [f"account-{number}" for number in range(200)]
    running = []
    for node in capacity.nodes:
        free = [device.uuid for device in node.devices]
        while free and len(free) > GPUS_EACH * (1 - busy):
            count = min(chance.choice((1, 1, 2, 4, 8)), len(free))
            held, free = tuple(free[:count]), free[count:]
            running.append(_running(f"running-{len(running)}", chance, accounts, node.name, held))
    return QueueState(
        capacity,
        _NOW,
        tuple(_waiting(number, chance, accounts) for number in range(queued)),
        tuple(running),
        Limits(accounts={account: Quota(account, gpus=12) for account in accounts[::4]}, interactive_per_user=1),
        {account: AccountShare(chance.random() * 1000, chance.choice((1.0, 2.0))) for account in accounts},
    )


def _node(number: int) -> Node:
    model, mem, capability = _MODELS[number % len(_MODELS)]
    name = f"node-{number:03}"
    devices = tuple(Device(f"GPU-{name}-{index}", model, mem, capability) for index in range(GPUS_EACH))
    return Node(name, 64.0, 512.0, devices)


def _running(
    run_id: str, chance: random.Random, accounts: list[str], node: str, devices: tuple[str, ...]
) -> RunningRun:
    account = chance.choice(accounts)
    end = _NOW + chance.uniform(60, 100_000) if chance.random() < 0.8 else None
    user, run_class, size = f"user-{account}", chance.choice(list(RunClass)), float(len(devices))
    return RunningRun(
        run_id, run_id, user, account, "acme", run_class, node, 6 * size, 48 * size, devices, 0, _NOW - 500, end
    )


def _waiting(number: int, chance: random.Random, accounts: list[str]) -> WaitingRun:
    account = chance.choice(accounts)
    gpu = chance.choice((0, 1, 1, 1, 2, 4, 8))
    model = chance.choice((None, None, "A100", "!A100")) if gpu else None
    request = Request(
        chance.choice((1.0, 4.0, 6.0)) * max(1, gpu), chance.choice((8.0, 40.0)) * max(1, gpu), gpu, 0, model
    )
    run_class = chance.choices(list(RunClass), (1, 10, 5, 5))[0]
    limit = chance.choice((3600.0, 86400.0, 172800.0, None))
    user, bid = f"user-{account}", chance.choice((0, 0, 0, 5, 10))
    return WaitingRun(f"run-{number:05}", user, account, "acme", run_class, request, _NOW - number, bid, limit)


def _in_order(state: QueueState) -> list[WaitingRun]:
    used = {account: share.used / share.weight for account, share in state.shares.items()}
    return sorted(
        state.waiting, key=lambda run: (run.run_class, -run.bid, used[run.account], run.submitted, run.run_id)
    )


def _row(name: str, busy: float, rounds: int) -> Row:
    state = queue_state(busy)
    decided = plan(state)
    assert len(decided.starts) + len(decided.reasons) == QUEUED
    values, references = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        plan(state)
        middle = time.perf_counter()
        _in_order(state)
        references.append(time.perf_counter() - middle)
        values.append(middle - begin)
    return ratio_row(name, values, references, 10)


def full_site(_site: RunningSite, rounds: int = 25) -> Row:
    """All GPUs are held, some by runs that are stopped for others."""
    return _row("planning pass, 10,000 queued, all GPUs held", 1.0, rounds)


def empty_site(_site: RunningSite, rounds: int = 25) -> Row:
    """No GPU is held: as many starts at once as there can be."""
    return _row("planning pass, 10,000 queued, all GPUs free", 0.0, rounds)
