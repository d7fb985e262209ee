"""The clock: log-ins, time limits and retention go by it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from sqlalchemy import text

from toolkit_client.admin_models import Finding
from toolkit_client.errors import ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.doctor.check import Patient, ok, problem, warning

__all__ = ["check_clock"]

#: Seconds of difference that are said, and that are a problem: codes for a log-in live 30 seconds.
APART_S, FAR_APART_S = 3.0, 30.0
#: Seconds by which a clock is set right without anybody minding.
MOVED_S = 5.0
SYNCHRONISE = "let chrony or systemd-timesyncd keep the time on each machine of the site"


def check_clock(patient: Patient) -> Iterator[Finding]:
    findings = [*_moved(patient), *_against_hub(patient), *_against_database(patient), *_synchronised()]
    yield from findings
    if not findings:
        yield ok("clock", f"{clock.now():%Y-%m-%d %H:%M:%S} UTC, and nothing disagrees")


def _moved(patient: Patient) -> Iterator[Finding]:
    wall, steady = patient.began
    moved = (clock.now().timestamp() - wall) - (clock.monotonic() - steady)
    if abs(moved) > MOVED_S:
        words = f"the clock was moved by {moved:+.0f} s since this process began: time limits and log-ins may be early or late"
        yield warning("clock", words, SYNCHRONISE)


def _against_hub(patient: Patient) -> Iterator[Finding]:
    try:
        answer = httpx.get(f"{patient.site.hub_url}/hub/api/", timeout=5, trust_env=False)
        there = parsedate_to_datetime(answer.headers["Date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return  # that the hub does not answer is another finding
    yield from _difference("hub", there, resolution=1.0)


def _against_database(patient: Patient) -> Iterator[Finding]:
    if patient.store.engine.dialect.name != "postgresql":
        return
    try:
        with patient.store.begin(write=False) as session:
            there = session.scalar(text("SELECT clock_timestamp()"))
    except ServiceUnavailable:
        return
    if isinstance(there, datetime):
        yield from _difference("database", there.astimezone(UTC), resolution=0.0)


def _difference(who: str, there: datetime, *, resolution: float) -> Iterator[Finding]:
    apart = (there - clock.now()).total_seconds()
    if abs(apart) > FAR_APART_S:
        yield problem("clock", f"the {who}'s clock differs by {apart:+.0f} s: log-ins and sessions fail", SYNCHRONISE)
    elif abs(apart) > APART_S + resolution:
        yield warning("clock", f"the {who}'s clock differs by {apart:+.1f} s", SYNCHRONISE)


def _synchronised() -> Iterator[Finding]:
    """What systemd says; where there is none, nobody is asked."""
    program = shutil.which("timedatectl")
    if program is None:
        return
    try:
        told = subprocess.run(
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return
    if told.stdout.strip() == "no":
        yield warning("clock", "this machine's clock is not synchronised with any other", SYNCHRONISE)
