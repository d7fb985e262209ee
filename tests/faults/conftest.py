"""A site whose units reach the engine through a relay and fail where a test says so, shared by the tests of this folder.

Each test leaves it running and at rest. When nothing but this folder is run, the last line says how many cases passed and
failed: a test that goes through the points of a scenario counts as many cases as it tried.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import running
from tests.support.engine_relay import EngineRelay
from tests.support.fault_plan import FaultPlan
from tests.support.invariants import check_invariants
from tests.support.running_site import RunningSite
from toolkit_client.errors import ToolkitError

HERE = Path(__file__).parent


@dataclass
class Tally:
    """Cases of this session."""

    passed: int = 0
    failed: int = 0
    shown: bool = False


TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[TALLY].shown = all(item.path.is_relative_to(HERE) for item in session.items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    tally = item.config.stash[TALLY]
    counts_itself = "tally" in getattr(item, "fixturenames", ()) and report.when == "call"
    if report.failed and not counts_itself:
        tally.failed += 1
    elif report.when == "call" and report.passed and not counts_itself:
        tally.passed += 1
    return report


def pytest_unconfigure(config: pytest.Config) -> None:
    tally = config.stash.get(TALLY, None)
    if tally is not None and tally.shown:
        print(f"{tally.passed} passed, {tally.failed} failed")


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """For a test that counts its own cases."""
    return request.config.stash[TALLY]


@pytest.fixture(scope="session")
def relay() -> Iterator[EngineRelay]:
    opened = EngineRelay()
    opened.up()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory) -> FaultPlan:
    return FaultPlan(tmp_path_factory.mktemp("plan"))


@pytest.fixture(scope="session")
def relayed_site(
    tmp_path_factory: pytest.TempPathFactory, relay: EngineRelay, plan: FaultPlan
) -> Iterator[RunningSite]:
    yield from running_behind(relay, plan, tmp_path_factory.mktemp("faults") / "state")


def running_behind(relay: EngineRelay, plan: FaultPlan, state: Path) -> Iterator[RunningSite]:
    values = f"{plan.site_values}\nc.Toolkit.cpus = 16\nc.Toolkit.memory = 64.0"
    values += "\nc.Toolkit.simulated_gpus = 2\nc.Toolkit.preempt_grace = 3"
    # The hub soon gives up a server that nobody answers for, so that a test need not wait for two minutes.
    yield from running(state, values, {"DOCKER_HOST": relay.url}, "c.ToolkitSpawner.http_timeout = 5")


@dataclass(frozen=True)
class World:
    """A site, its way to the engine, and what fails in it."""

    site: RunningSite
    relay: EngineRelay
    plan: FaultPlan


@pytest.fixture(scope="session")
def world(relayed_site: RunningSite, relay: EngineRelay, plan: FaultPlan) -> World:
    return World(relayed_site, relay, plan)


@pytest.fixture(scope="session")
def worlds(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """Two: while one waits for a unit to come back, the other uses the processors."""
    plan, relay = FaultPlan(tmp_path_factory.mktemp("plan")), EngineRelay()
    relay.up()
    for site in running_behind(relay, plan, tmp_path_factory.mktemp("faults") / "state"):
        yield world, World(site, relay, plan)
    relay.close()


@pytest.fixture
def shaky(relayed_site: RunningSite) -> Iterator[RunningSite]:
    """After each test rows, servers, containers and records agree."""
    yield relayed_site
    try:
        check_invariants(relayed_site)
    finally:
        # What a failed test left running would make the next one fail, too.
        with relayed_site.client() as client:
            for job in client.jobs.list(state="alive"):
                with contextlib.suppress(ToolkitError):  # it may end by itself meanwhile
                    client.jobs.kill(job.id)
