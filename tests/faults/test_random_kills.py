"""The service and the hub are killed at random points of their work, again and again, while jobs come and go."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import Tally
from tests.faults.scenarios import Scene
from tests.support.engine_relay import EngineRelay
from tests.support.fault_plan import FaultPlan, Point
from tests.support.invariants import wait_for_rest
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

SEED = 11
#: How many points a unit passes in a round, about.
REACH = {"service": 30, "hub": 45}


def kill_at_random(site: RunningSite, relay: EngineRelay, plan: FaultPlan, choice: random.Random, tally: Tally) -> None:
    """One round: a job that ends by itself and one that is killed, and somewhere in between a unit dies."""
    unit = choice.choice(["service", "service", "hub"])
    point = Point(unit, choice.randint(1, REACH[unit]))
    fault = choice.choice(["kill-before", "kill-after"])
    finished, killed = Scene(site, relay), Scene(site, relay)
    try:
        with plan.failing(point, fault):
            finished.submit()
            killed.submit()
            killed.kill()
            finished.finish()
            killed.wait("CANCELLED")
            wait_until(site.is_ready, "all units to answer", 75, interval=0.2)
            wait_for_rest(site)
        finished.ended_as_it_should()
        assert killed.job().state == "CANCELLED"
    except BaseException:
        tally.failed += 1
        print(f"FAILED random kills: {fault} at {point}", flush=True)
        raise
    tally.passed += 1


@pytest.mark.sample
def test_some_random_kills(shaky: RunningSite, relay: EngineRelay, plan: FaultPlan, tally: Tally) -> None:
    choice = random.Random(SEED)
    for _ in range(2):
        kill_at_random(shaky, relay, plan, choice, tally)


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_a_hundred_random_kills(shaky: RunningSite, relay: EngineRelay, plan: FaultPlan, tally: Tally) -> None:
    choice = random.Random(SEED)
    for _ in range(100):
        kill_at_random(shaky, relay, plan, choice, tally)
