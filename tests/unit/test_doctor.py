"""Each check on a real broken state. The units' part is in tests/hub/test_admin.py."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.unit.conftest import People
from toolkit_client.admin_models import Finding, FindingState
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.doctor import CHECKS, Patient, check
from toolkit_hub.doctor.addresses import check_urls
from toolkit_hub.doctor.check import Check, examine_with, ok
from toolkit_hub.doctor.clocks import check_clock
from toolkit_hub.doctor.database import check_database, check_hub_database
from toolkit_hub.doctor.engine import check_engine
from toolkit_hub.doctor.software import check_runtime, check_versions
from toolkit_hub.doctor.storage import check_disk, check_secrets, space_finding
from toolkit_hub.doctor.units import check_ports, check_proxy, check_units
from toolkit_hub.doctor.work import check_gpus, check_runs
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.queue.planning.capacity import Device
from toolkit_hub.site_secrets import private_dir
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine

Examine = Callable[[Patient], Iterable[Finding]]


@pytest.fixture
def patient(store: Store, tmp_path: Path) -> Iterator[Patient]:
    """A site that does not run: no unit, no engine, only its folder and its database."""
    site = Toolkit(state_dir=str(private_dir(tmp_path / "state")), base_port=free_row())
    for name in ("service-token", "proxy-token"):
        site.secret(name)
    engine = Engine(f"unix://{tmp_path}/no-engine.sock")
    yield Patient(site, store, engine)
    engine.close()


def free_row() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def findings(examine: Examine, patient: Patient) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(patient)}


def worst(examine: Examine, patient: Patient) -> Finding:
    found = list(examine(patient))
    order = list(FindingState)
    return max(found, key=lambda finding: order.index(finding.state))


def test_every_finding_that_is_not_ok_says_what_to_do(patient: Patient) -> None:
    """On a site where nearly everything is missing, the doctor gets to its end and has words for all of it."""
    found = asyncio.run(examine_with(patient, CHECKS))
    assert found.state == "problem"
    told = {item.check for item in found.items}
    assert {
        "service",
        "hub",
        "gate",
        "proxy",
        "ports",
        "engine",
        "runtime",
        "database",
        "secrets",
        "urls",
        "clock",
    } <= told
    assert all(item.message for item in found.items)
    assert all(item.hint for item in found.items if item.state != "ok")
    assert not any("the check itself failed" in item.message for item in found.items)


def test_a_check_that_hangs_or_breaks_is_a_finding(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CHECK_TIMEOUT_S", 0.2)
    released = threading.Event()

    def hang(_patient: Patient) -> Iterator[Finding]:
        released.wait(10)
        yield ok("hangs", "")

    def fail(_patient: Patient) -> Iterator[Finding]:
        raise ZeroDivisionError("by zero")

    checks = [Check("hangs", hang), Check("fails", fail), Check("fine", lambda _patient: [ok("fine", "well")])]
    found = asyncio.run(examine_with(patient, checks))
    released.set()
    assert [(item.check, item.state) for item in found.items] == [
        ("hangs", "problem"),
        ("fails", "problem"),
        ("fine", "ok"),
    ]


@pytest.mark.parametrize("name", ["secrets/service-token", "secrets", "."])
def test_a_secret_that_others_can_read(patient: Patient, name: str) -> None:
    assert worst(check_secrets, patient).state == "ok"
    path = patient.site.state / name
    path.chmod(0o755 if path.is_dir() else 0o644)
    found = worst(check_secrets, patient)
    assert found.state == "problem"
    assert "others on this machine" in found.message
    assert found.hint.startswith("chmod ")


def test_a_secret_that_is_a_link(patient: Patient) -> None:
    (patient.site.state / "secrets" / "proxy-token").unlink()
    (patient.site.state / "secrets" / "proxy-token").symlink_to("/etc/hostname")
    assert "symbolic link" in worst(check_secrets, patient).message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB and 60 inodes."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=60", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("mounting a small file system takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_becomes_full(small_disk: Path) -> None:
    mib = 1 / 1024
    assert space_finding("state", small_disk, mib).state == "ok"
    (small_disk / "file").write_bytes(b"x" * int(2.5 * 2**20))
    assert space_finding("state", small_disk, mib).state == "warning"
    (small_disk / "more").write_bytes(b"x" * 2**20)
    found = space_finding("state", small_disk, mib)
    assert found.state == "problem"
    assert "less than the floor" in found.message


def test_a_disk_without_inodes_and_one_that_is_read_only(small_disk: Path) -> None:
    for number in range(58):
        (small_disk / str(number)).touch()
    found = space_finding("state", small_disk, 1 / 1024)
    assert found.state == "problem"
    assert "no file can be created" in found.message
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "read-only" in space_finding("state", small_disk, 1 / 1024).message


def test_disks_are_told_once_each(patient: Patient) -> None:
    found = findings(check_disk, patient)
    assert found["disk: state"].state == "ok"
    assert found["disk: engine"].state == "warning", "no engine, so nobody knows"


def test_the_database_is_in_order(patient: Patient) -> None:
    found = findings(check_database, patient)
    assert found["database"].message == f"schema {patient.store.schema()[1]}, can be written"
    assert found.get("database: content", ok("", "is whole")).message.find("whole") > 0


@pytest.mark.parametrize(
    ("revision", "words"),
    [("UPDATE alembic_version SET version_num = '9999'", "9999"), ("DELETE FROM alembic_version", "empty")],
)
def test_tables_of_another_version(patient: Patient, revision: str, words: str) -> None:
    with patient.store.begin() as session:
        session.execute(text(revision))
    found = worst(check_database, patient)
    assert found.state == "problem"
    assert words in found.message


def test_a_sqlite_file_that_is_missing_or_damaged(tmp_path: Path, patient: Patient) -> None:
    missing = Store(f"sqlite:///{tmp_path / 'missing.sqlite'}")
    found = worst(check_database, Patient(patient.site, missing, patient.engine))
    assert "there is no" in found.message
    assert not (tmp_path / "missing.sqlite").exists(), "to look must not make one"
    missing.close()
    file = patient.site.state / "hub.sqlite"
    assert "there is no" in worst(check_hub_database, patient).message
    made = Store(f"sqlite:///{file}")
    made.migrate()
    made.close()
    assert worst(check_hub_database, patient).state == "ok"
    with file.open("r+b") as raw:
        raw.seek(8192)
        raw.write(os.urandom(40_000))
    found = worst(check_hub_database, patient)
    assert found.state == "problem"
    assert "damaged" in found.message


def test_no_engine(patient: Patient) -> None:
    found = worst(check_engine, patient)
    assert found.state == "problem"
    assert "does not answer" in found.message


@pytest.mark.engine
def test_the_real_engine(patient: Patient) -> None:
    engine = Engine()
    found = findings(check_engine, Patient(patient.site, patient.store, engine))
    engine.close()
    assert found["engine"].state == found["engine: limits"].state == "ok"
    greedy = Toolkit(state_dir=patient.site.state_dir, cpus=1000)
    engine = Engine()
    found = findings(check_engine, Patient(greedy, patient.store, engine))
    engine.close()
    assert found["engine: capacity"].state == "warning"


def test_no_unit_runs(patient: Patient) -> None:
    found = findings(check_units, patient)
    assert {name: item.state for name, item in found.items()} == dict.fromkeys(("service", "hub", "gate"), "problem")
    assert worst(check_proxy, patient).state == "problem"
    assert worst(check_runtime, patient).state == "problem"


def test_a_port_that_is_open_to_others(patient: Patient) -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        site = Toolkit(state_dir=patient.site.state_dir, base_port=listener.getsockname()[1] - 5)
        found = list(check_ports(Patient(site, patient.store, patient.engine)))
    assert found[-1].state == "problem"
    assert "(hub) listens on 0.0.0.0" in found[-1].message


@pytest.mark.parametrize(
    ("hub", "jobs", "state", "words"),
    [
        ("http://127.0.0.1:8000", "http://localhost:8001", "ok", "without TLS"),
        ("https://hub.example.org", "https://jobs.example.org", "ok", "by TLS"),
        ("https://hub.example.org", "https://hub.example.org:8443", "problem", "both on hub.example.org"),
        ("https://example.org", "https://jobs.example.org", "problem", "set cookies that the hub gets"),
        ("https://hub.jobs.example.org", "https://jobs.example.org", "problem", "looks like a job's own host"),
        ("http://hub.example.org", "https://jobs.example.org", "problem", "in clear"),
        ("hub.example.org", "https://jobs.example.org", "problem", "no address"),
        ("https://hub.example.org/base", "https://jobs.example.org", "problem", "no address"),
    ],
)
def test_addresses(patient: Patient, hub: str, jobs: str, state: str, words: str) -> None:
    site = Toolkit(state_dir=patient.site.state_dir, public_url=hub, jobs_url=jobs)
    found = worst(check_urls, Patient(site, patient.store, patient.engine))
    assert (found.state, words in found.message) == (state, True), found.message


def test_a_clock_that_was_moved(patient: Patient) -> None:
    began = (clock.now().timestamp() - 3600, clock.monotonic())
    found = worst(check_clock, Patient(patient.site, patient.store, patient.engine, began))
    assert found.state == "warning"
    assert "moved by +3600 s" in found.message


def test_a_database_with_another_time(patient: Patient) -> None:
    if patient.store.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no clock of its own")
    ahead = clock.now().timestamp() + 120
    clock.set_clock(lambda: ahead)
    try:
        found = list(check_clock(patient))
    finally:
        clock.set_clock()
    assert any("database's clock differs by -1" in item.message and item.state == "problem" for item in found)


def test_runs_that_stay_between_states(patient: Patient, people: People) -> None:
    with_people = Patient(patient.site, people.store, patient.engine)
    assert worst(check_runs, with_people).message == "0 running, 0 waiting, none stuck between states"
    job = people.submit("alice")
    with people.store.begin() as session:
        admit_now(session, people.site)
    later = clock.now() + timedelta(minutes=6)
    clock.set_clock(later.timestamp)
    try:
        found = worst(check_runs, with_people)
    finally:
        clock.set_clock()
    assert found.state == "warning"
    assert job.id in found.message


def test_versions_fit(patient: Patient) -> None:
    assert findings(check_versions, patient)["versions"].state == "ok"


def test_devices_that_nobody_gets_are_shown_with_the_reason(patient: Patient) -> None:
    assert list(check_gpus(patient)) == [], "only the service knows them"
    devices = [Device("GPU-1", "A100"), Device("GPU-2", "A100", drained="its memory is being repaired")]
    assert worst(check_gpus, replace(patient, devices=devices[:1])).state == FindingState.OK
    found = worst(check_gpus, replace(patient, devices=devices))
    assert found.state == FindingState.WARNING
    assert "GPU-2 (A100) is out of use: its memory is being repaired" in found.message
