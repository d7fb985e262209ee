"""A site keeps its machine safe from its jobs: no start in the open, and no run that fills the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import running
from tests.support.running_site import RunningSite


@pytest.fixture(scope="module")
def broken_firewall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH; what is called iptables-restore in it fails."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def small_site(tmp_path_factory: pytest.TempPathFactory, broken_firewall: Path) -> Iterator[RunningSite]:
    values = "c.Toolkit.cpus = 8\nc.Toolkit.scratch_quota = 0.1"
    path = f"{broken_firewall}:{os.environ['PATH']}"
    yield from running(tmp_path_factory.mktemp("small") / "state", values, {"PATH": path})


def break_firewall(folder: Path) -> Path:
    program = folder / "iptables-save"
    program.write_text("#!/bin/sh\necho 'iptables-save: the table is locked by a test' >&2\nexit 4\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def test_nothing_starts_while_the_network_is_not_closed_off(small_site: RunningSite, broken_firewall: Path) -> None:
    program = break_firewall(broken_firewall)
    try:
        job = small_site.wait_state(small_site.submit("true").id, "FAILED")
    finally:
        program.unlink()
    assert "jobs' network is not closed off" in job.state_info
    assert "locked by a test" in job.state_info
    assert small_site.containers() == []
    small_site.wait_state(small_site.submit("true").id, "SUCCEEDED")


@pytest.mark.parametrize(
    "script",
    [
        "head -c 200M /dev/urandom > ~/file; sleep 60",
        "mkdir -p /var/tmp/x; head -c 200M /dev/urandom > /var/tmp/x/file; sleep 60",
        "exec 3> ~/file; rm ~/file; head -c 200M /dev/urandom >&3; sleep 60",
    ],
    ids=["home", "layer", "deleted"],
)
def test_a_run_that_writes_too_much_is_killed_and_its_neighbour_is_not(small_site: RunningSite, script: str) -> None:
    neighbour = small_site.submit("bash", "-c", "head -c 10M /dev/urandom > ~/file; sleep 20", resources={"mem": 0.25})
    job = small_site.wait_state(small_site.submit("bash", "-c", script, resources={"mem": 0.5}).id, "FAILED")
    assert job.state_info == "killed: wrote more than 0.1 GiB outside its data volumes"
    assert small_site.wait_state(neighbour.id, "RUNNING").state == "RUNNING"


def test_writing_to_tmp_is_memory_and_no_disk(small_site: RunningSite) -> None:
    small_site.wait_state(
        small_site.submit("bash", "-c", "head -c 150M /dev/zero > /tmp/x; sleep 8", resources={"mem": 0.5}).id,
        "SUCCEEDED",
    )


def test_writing_to_data_is_no_scratch(small_site: RunningSite) -> None:
    """A home that is data counts as data."""
    with small_site.client() as client:
        client.data.new("work")
    script = "head -c 150M /dev/zero > ~/file; sleep 8"
    job = small_site.submit("bash", "-c", script, data=["work:/home/toolkit"], resources={"mem": 0.5})
    small_site.wait_state(job.id, "SUCCEEDED")


def test_below_the_floor_the_writer_is_stopped_and_nobody_else(own_site_below_floor: RunningSite) -> None:
    site = own_site_below_floor
    idle = site.submit("sleep", "60", resources={"mem": 0.25})
    site.wait_state(idle.id, "RUNNING")
    writer = site.submit(
        "bash", "-c", "while sleep 0.2; do head -c 8M /dev/urandom >> ~/file; done", resources={"mem": 0.25}
    )
    ended = site.wait_state(writer.id, "FAILED")
    assert "the machine's disk was nearly full" in ended.state_info
    assert site.wait_state(idle.id, "RUNNING").state == "RUNNING"


@pytest.fixture
def own_site_below_floor(tmp_path: Path) -> Iterator[RunningSite]:
    """A site that wants more free space than any disk has."""
    yield from running(
        tmp_path / "state", "c.Toolkit.cpus = 4\nc.Toolkit.disk_floor = 1e9\nc.Toolkit.scratch_quota = 0"
    )
