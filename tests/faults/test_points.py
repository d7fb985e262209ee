"""Every engine call and every commit of every scenario fails once: by an error, by silence, by the death of its unit."""

from __future__ import annotations

import contextlib
import random
import re
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.faults.conftest import Tally, World
from tests.faults.scenarios import SCENARIOS, Scenario, Scene
from tests.support.fault_plan import Point
from tests.support.invariants import check_invariants, wait_for_rest
from tests.support.running_site import wait_until
from toolkit_client.errors import ToolkitError

pytestmark = pytest.mark.engine

FAULTS = ("error", "timeout", "kill-before", "kill-after")
ASKING_FAULTS = ("error", "timeout", "kill-before")
#: The rounds ask the same again and again; how often, depends on how long things take.
ASKED_OFTEN = 6
#: JupyterHub's own commits: that it survives their failing is its business, that we survive its death is ours.
HUB_FAULTS = ("kill-before",)
HUB_SCENARIOS = ("submit, start, finish",)
#: What the engine may refuse for good, and so end a run.
STARTS_A_CONTAINER = re.compile(r"engine (POST /containers/(create|ID/start)|(GET|POST) /networks)")
SEED = 7
SAMPLE_SCENARIOS, SAMPLE_CASES = 5, 2


@dataclass(frozen=True)
class Case:
    point: Point
    fault: str

    def __str__(self) -> str:
        return f"{self.fault} at {self.point}"


def cases_of(world: World, scenario: Scenario) -> list[Case]:
    """Perform it undisturbed; all points that it passed, with all their faults."""
    scene = Scene(world.site, world.relay)
    prepare(scenario, scene)
    with world.plan.recording() as points:
        scenario.act(scene)
    scenario.recover(scene)
    assert points, "the units were not watched"
    cases = [Case(point, fault) for point in points for fault in faults_of(scenario, point)]
    print(f"{scenario.name}: {len(points)} points, {len(cases)} cases", flush=True)
    return cases


def try_case(world: World, scenario: Scenario, case: Case) -> bool:
    """Perform it with the point failing. False: the point was not reached this time."""
    refused = case.fault == "error" and STARTS_A_CONTAINER.search(case.point.line) is not None
    scene = Scene(world.site, world.relay, start_refused=refused)
    prepare(scenario, scene)
    with world.plan.failing(case.point, case.fault):
        scenario.act(scene)
        fired = world.plan.fired
    scenario.recover(scene)
    return fired


def prepare(scenario: Scenario, scene: Scene) -> None:
    scenario.prepare(scene)
    if scene.job_id:
        wait_for_rest(scene.site)


def clear(world: World) -> None:
    """After a failure: end what is left, so that the next case starts from rest."""
    wait_until(world.site.is_ready, "all units to answer", 60, interval=0.5)
    with world.site.client() as client:
        for job in client.jobs.list(state="alive"):
            client.jobs.kill(job.id)
    wait_for_rest(world.site)


def faults_of(scenario: Scenario, point: Point) -> Iterable[str]:
    """A call that only asks leaves the same behind whether its unit dies before or after it."""
    if point.line.endswith(" hub-commit"):
        return HUB_FAULTS if scenario.name in HUB_SCENARIOS else ()
    if not re.search(r" engine (GET|HEAD) ", point.line):
        return FAULTS
    return ASKING_FAULTS if point.occurrence <= ASKED_OFTEN else ()


class Trial:
    """Tries the cases of a scenario, in as many worlds at once as there are."""

    def __init__(self, scenario: Scenario, cases: Iterable[Case], tally: Tally) -> None:
        self._scenario, self._left, self._tally = scenario, list(cases)[::-1], tally
        self._failures: list[str] = []
        self._missed: list[str] = []

    def run(self, *worlds: World) -> None:
        """Fails at the end with all that failed."""
        with ThreadPoolExecutor(len(worlds)) as threads:
            for task in [threads.submit(self._work, world) for world in worlds]:
                task.result()
        if self._missed:
            print(f"{self._scenario.name}: not reached, as it depends on who is first: {'; '.join(self._missed)}")
        assert not self._failures, "\n".join(self._failures)

    def _work(self, world: World) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._try(world, self._left.pop())

    def _try(self, world: World, case: Case) -> None:
        try:
            if any(try_case(world, self._scenario, case) for _ in range(2)):
                self._tally.passed += 1
            else:
                self._missed.append(str(case))
        except (AssertionError, ToolkitError, OSError, subprocess.SubprocessError) as error:
            self._tally.failed += 1
            self._failures.append(f"{case}: {error}")
            print(f"FAILED {self._scenario.name}: {case}: {str(error)[:2000]}", flush=True)
            clear(world)


def by_scenario(scenarios: Iterable[Scenario]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name.replace(" ", "-"))


@by_scenario(random.Random(SEED).sample(SCENARIOS, SAMPLE_SCENARIOS))
@pytest.mark.sample
@pytest.mark.timeout(600)
def test_some_points_fail(world: World, tally: Tally, scenario: Scenario) -> None:
    cases = cases_of(world, scenario)
    chosen = random.Random(f"{SEED} {scenario.name}").sample(cases, min(SAMPLE_CASES, len(cases)))
    Trial(scenario, chosen, tally).run(world)
    check_invariants(world.site)


@by_scenario(SCENARIOS)
@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_each_point_fails(worlds: tuple[World, World], tally: Tally, scenario: Scenario) -> None:
    Trial(scenario, cases_of(worlds[0], scenario), tally).run(*worlds)
    for world in worlds:
        check_invariants(world.site)
