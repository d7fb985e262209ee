"""Every engine call and every commit of every scenario fails once: by an error, by silence, by the death of its unit."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.faults.conftest import Tally
from tests.faults.scenarios import SCENARIOS, Scenario, Scene
from tests.support.engine_relay import EngineRelay
from tests.support.fault_plan import FaultPlan, Point
from tests.support.invariants import wait_for_rest
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import ToolkitError

pytestmark = pytest.mark.engine

FAULTS = ("error", "timeout", "kill-before", "kill-after")
ASKING_FAULTS = ("error", "timeout", "kill-before")
#: JupyterHub's own commits: that it survives their failing is its business, that we survive its death is ours.
HUB_FAULTS = ("kill-before",)
HUB_SCENARIOS = ("submit, start, finish", "kill")
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


class Stage:
    """Performs scenarios on one site."""

    def __init__(self, site: RunningSite, relay: EngineRelay, plan: FaultPlan) -> None:
        self._site, self._relay, self._plan = site, relay, plan

    def cases(self, scenario: Scenario) -> list[Case]:
        """Perform it undisturbed; all points that it passed, with all their faults."""
        scene = Scene(self._site, self._relay)
        self._prepare(scenario, scene)
        with self._plan.recording() as points:
            scenario.act(scene)
        scenario.recover(scene)
        assert points, "the units were not watched"
        cases = [Case(point, fault) for point in points for fault in faults_of(scenario, point)]
        print(f"{scenario.name}: {len(points)} points, {len(cases)} cases", flush=True)
        return cases

    def try_case(self, scenario: Scenario, case: Case) -> bool:
        """Perform it with the point failing. False: the point was not reached this time."""
        refused = case.fault == "error" and STARTS_A_CONTAINER.search(case.point.line) is not None
        scene = Scene(self._site, self._relay, start_refused=refused)
        self._prepare(scenario, scene)
        with self._plan.failing(case.point, case.fault):
            scenario.act(scene)
            fired = self._plan.fired
        scenario.recover(scene)
        return fired

    def _prepare(self, scenario: Scenario, scene: Scene) -> None:
        scenario.prepare(scene)
        if scene.job_id:
            wait_for_rest(self._site)

    def clear(self) -> None:
        """After a failure: end what is left, so that the next case starts from rest."""
        wait_until(self._site.is_ready, "all units to answer", 60, interval=0.5)
        with self._site.client() as client:
            for job in client.jobs.list(state="alive"):
                client.jobs.kill(job.id)
        wait_for_rest(self._site)


def faults_of(scenario: Scenario, point: Point) -> Iterable[str]:
    """A call that only asks leaves the same behind whether its unit dies before or after it."""
    if point.line.endswith(" hub-commit"):
        return HUB_FAULTS if scenario.name in HUB_SCENARIOS else ()
    return ASKING_FAULTS if re.search(r" engine (GET|HEAD) ", point.line) else FAULTS


@pytest.fixture
def stage(relayed_site: RunningSite, relay: EngineRelay, plan: FaultPlan) -> Stage:
    return Stage(relayed_site, relay, plan)


def try_all(stage: Stage, scenario: Scenario, cases: Iterable[Case], tally: Tally) -> None:
    """Try each; fails at the end with all that failed."""
    failures, missed = [], []
    for case in cases:
        try:
            if any(stage.try_case(scenario, case) for _ in range(2)):
                tally.passed += 1
            else:
                missed.append(str(case))
        except (AssertionError, ToolkitError) as error:
            tally.failed += 1
            failures.append(f"{case}: {error}")
            print(f"FAILED {scenario.name}: {case}: {str(error)[:2000]}", flush=True)
            stage.clear()
    if missed:
        print(f"{scenario.name}: not reached, as it depends on who is first: {'; '.join(missed)}")
    assert not failures, "\n".join(failures)


def by_scenario(scenarios: Iterable[Scenario]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name.replace(" ", "-"))


@by_scenario(random.Random(SEED).sample(SCENARIOS, SAMPLE_SCENARIOS))
@pytest.mark.sample
@pytest.mark.timeout(600)
def test_some_points_fail(shaky: RunningSite, stage: Stage, tally: Tally, scenario: Scenario) -> None:
    cases = stage.cases(scenario)
    chosen = random.Random(f"{SEED} {scenario.name}").sample(cases, min(SAMPLE_CASES, len(cases)))
    try_all(stage, scenario, chosen, tally)


@by_scenario(SCENARIOS)
@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
def test_each_point_fails(shaky: RunningSite, stage: Stage, tally: Tally, scenario: Scenario) -> None:
    try_all(stage, scenario, stage.cases(scenario), tally)
