"""Fixtures that every kind of test may use. The whole site is started once; tests that break units have their own."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import postgres as postgres  # the fixture
from tests.support.running_site import RunningSite

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background so, and our commands would pass it on: tests of Ctrl-C would wait in vain.
    signal.signal(signal.SIGINT, signal.default_int_handler)
_sites: list[RunningSite] = []


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A running site that tests share. Its runs may declare more CPUs than there are, so that tests need not wait."""
    yield from running(tmp_path_factory.mktemp("site") / "state", "c.Toolkit.cpus = 16")


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[RunningSite]:
    """A running site for one test, with 2 CPUs and 4 GiB."""
    yield from running(tmp_path / "state", "c.Toolkit.cpus = 2\nc.Toolkit.memory = 4.0")


def running(
    state: Path, site_values: str, extra_environment: dict[str, str] | None = None, hub_values: str = ""
) -> Iterator[RunningSite]:
    started = RunningSite(state, site_values, extra_environment, hub_values)
    _sites.append(started)
    try:
        started.start()
        yield started
    finally:
        _sites.remove(started)
        started.destroy()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, None]:
    """A failure comes with the logs of the sites that run."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for number, running_site in enumerate(_sites):
            report.sections.append((f"logs of site {number}", running_site.logs()))
