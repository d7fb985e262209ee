"""The service and the hub are killed at random points of their work, again and again, while jobs come and go."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.conftest import Tally, World
from tests.faults.scenarios import Scene
from tests.support.fault_plan import Point
from tests.support.invariants import check_invariants, wait_for_rest
from tests.support.running_site import wait_until

pytestmark = pytest.mark.engine

SEED = 11
#: How many points a unit passes in a round, about.
REACH = {"service": 30, "hub": 45}


def kill_at_random(world: World, choice: random.Random, tally: Tally) -> None:
    """One round: a job that ends by itself and one that is killed, and somewhere in between a unit dies."""
    unit = choice.choice(["service", "service", "hub"])
    point = Point(unit, choice.randint(1, REACH[unit]))
    fault = choice.choice(["kill-before", "kill-after"])
    finished, killed = Scene(world.site, world.relay), Scene(world.site, world.relay)
    try:
        with world.plan.failing(point, fault):
            finished.submit()
            killed.submit()
            killed.kill()
            finished.finish()
            killed.wait("CANCELLED")
            wait_until(world.site.is_ready, "all units to answer", 75, interval=0.2)
            wait_for_rest(world.site)
        finished.ended_as_it_should()
        assert killed.job().state == "CANCELLED"
    except BaseException:
        tally.failed += 1
        print(f"FAILED random kills: {fault} at {point}", flush=True)
        raise
    tally.passed += 1


@pytest.mark.sample
def test_some_random_kills(world: World, tally: Tally) -> None:
    choice = random.Random(SEED)
    for _ in range(2):
        kill_at_random(world, choice, tally)
    check_invariants(world.site)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_a_hundred_random_kills(worlds: tuple[World, World], tally: Tally) -> None:
    def fifty(world: World, seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(50):
            kill_at_random(world, choice, tally)

    with ThreadPoolExecutor(2) as threads:
        for task in [threads.submit(fifty, world, SEED + number) for number, world in enumerate(worlds)]:
            task.result()
    for world in worlds:
        check_invariants(world.site)
