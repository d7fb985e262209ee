"""`toolkit job top`: the table, its JSON, and the live view on a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime

import yaml

from tests.unit.canned_service import JOB_ID, Service, make_job
from tests.unit.cli.conftest import Cli
from toolkit_client.metrics_models import DeviceUse, JobUsage, TopJob, UsagePeak, UsePoint
from toolkit_client.models import JobState

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BUSY = UsePoint(
    time=AT, run=0, cpu=1.534, memory=1.25, disk_read=0.0, disk_write=2048.0, net_received=None, net_sent=9e6
)
GPUS = [
    DeviceUse(time=AT, run=0, device="GPU-1", use=97.4, memory=70.5),
    DeviceUse(time=AT, run=0, device="GPU-2", use=None, memory=0.0),
]
HEAD = {"account": "acme.joe", "creator": "acme.joe", "run": 0}
TRAIN = TopJob(id=JOB_ID, name="train", **HEAD, cpu_limit=2, memory_limit=4, last=BUSY, devices=GPUS)
NEW = TopJob(id="0" * 36, name=None, **HEAD, cpu_limit=0.5, memory_limit=0.25)


def test_the_table(service: Service, cli: Cli) -> None:
    service.answers["GET", "/top"] = [TRAIN, NEW]
    assert cli("job", "top", "--no-header") == (
        f"{JOB_ID} train 153% of 2 1.2 GiB of 4.0 GiB 0 B/s 2.0 KiB/s -        8.6 MiB/s 97% ? 70.5 GiB 0 B\n"
        f"{'0' * 36} -     -         -                  -     -         -        -         -     -\n"
    )
    assert [one.query for one in service.asked("GET", "/top")] == [{"mine": "true"}]
    cli("job", "top", "--account", "acme.team", "--once")
    assert service.asked("GET", "/top")[-1].query == {"mine": "false", "account": "acme.team"}


def test_numbers_for_programs(service: Service, cli: Cli) -> None:
    service.answers["GET", "/top"] = [TRAIN]
    assert json.loads(cli("job", "top", "--format", "json")) == TRAIN.model_dump(mode="json", by_alias=True)
    assert cli("job", "top", "--field", "last.cpu") == "1.534\n"
    assert cli("job", "top", "--fields", "name,last.memory,gpu", "--format", "csv") == (
        "name,last.memory,gpu\ntrain,1.25,97% ?\n"
    )
    service.answers["GET", "/top"] = []
    assert cli("job", "top", "--no-header") == ""


def test_one_job_and_its_info(service: Service, cli: Cli) -> None:
    peak = UsagePeak(cpu=1.9, memory=2.5)
    usage = JobUsage(cpu_limit=2, memory_limit=4, last=BUSY, devices=GPUS[:1], peak=peak)
    service.jobs = [make_job(name="train", state=JobState.SUCCEEDED, usage=usage)]
    assert cli("job", "top", "train", "--fields", "name,cpu,memory,gpuMemory", "--no-header") == (
        "train 153% of 2 1.2 GiB of 4.0 GiB 70.5 GiB\n"
    )
    info = yaml.safe_load(cli("job", "info", "train"))
    assert info["usage"]["last"]["memory"] == 1.25
    assert info["usage"]["peak"]["cpu"] == 1.9
    cli("job", "top", "train", "--last", code=2)
    cli("job", "top", "nothing", code=5)


def test_on_a_terminal_it_is_drawn_until_ctrl_c(service: Service, cli: Cli) -> None:
    """Over what was there before, on a screen of its own that is left at the end; the exit code is 0."""
    service.answers["GET", "/top"] = [TRAIN]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "toolkit_client.cli", "job", "top", "--delay", "1"]
    top = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    seen, until = b"", time.monotonic() + 30
    while seen.count(b"train") < 2:
        assert time.monotonic() < until, seen
        seen += os.read(ours, 65536)
    top.send_signal(signal.SIGINT)
    with suppress(OSError):  # the other end is closed: the program has ended
        while rest := os.read(ours, 65536):
            seen += rest
    os.close(ours)
    assert top.wait(30) == 0
    assert seen.startswith(b"\x1b[?1049h")
    assert b"153% of 2" in seen
    assert seen.rstrip().endswith(b"\x1b[?1049l")
