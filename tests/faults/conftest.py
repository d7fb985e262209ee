"""A site whose units reach the engine through a relay, shared by the tests of this folder: each leaves it running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import running
from tests.support.engine_relay import EngineRelay
from tests.support.invariants import check_invariants
from tests.support.running_site import RunningSite


@pytest.fixture(scope="session")
def relay() -> Iterator[EngineRelay]:
    opened = EngineRelay()
    opened.up()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def relayed_site(tmp_path_factory: pytest.TempPathFactory, relay: EngineRelay) -> Iterator[RunningSite]:
    state = tmp_path_factory.mktemp("faults") / "state"
    yield from running(state, "c.Toolkit.cpus = 16", {"DOCKER_HOST": relay.url})


@pytest.fixture
def shaky(relayed_site: RunningSite) -> Iterator[RunningSite]:
    """After each test rows, servers and containers agree."""
    yield relayed_site
    check_invariants(relayed_site)
