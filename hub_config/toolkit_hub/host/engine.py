"""Docker Engine: found, installed or started, so that afterwards one answers.

An engine that is started here is a process of the machine, not of `make run`: jobs live in it and outlive every unit.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

from toolkit_hub import clock
from toolkit_hub.host.packages import DOCKERD, IPTABLES, ensure_packages, find_program
from toolkit_hub.host.steps import TAIL_LINES, Say, SetupError, run_command
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable

__all__ = ["engine_version", "ensure_engine"]

#: Seconds within which a started engine answers; the first start of one with many containers takes long.
START_TIMEOUT_S = 90.0
LOG = Path("/var/log/toolkit-dockerd.log")
PID_FILES = (Path("/run/docker.pid"), Path("/var/run/docker.pid"))


def engine_version(engine: Engine) -> str:
    """Raises `EngineUnavailable` when no engine answers."""
    return asyncio.run(engine.ping())


def ensure_engine(engine: Engine, say: Say) -> str:
    """Leave an engine that answers, and return its version. Raises `SetupError`."""
    try:
        return engine_version(engine)
    except EngineRefused as error:
        raise SetupError(
            f"Docker Engine answers, but refuses: {error}", "It must speak API 1.41 (Docker Engine 20.10) or newer."
        ) from error
    except EngineUnavailable as error:
        _refuse_foreign_engine(error)
    # A `docker` command may be there without any engine; what counts is dockerd.
    ensure_packages([DOCKERD, IPTABLES], say)
    if os.geteuid() != 0:
        raise SetupError("Docker Engine does not run.", "Start it, and start again: sudo systemctl start docker")
    if Path("/run/systemd/system").exists():
        run_command(
            ["systemctl", "start", "docker"], say, "Look at its messages: journalctl -u docker --no-pager | tail -50"
        )
        return _await_engine(engine, say, None)
    if _running_dockerd() is not None:
        say("dockerd is starting already")
        return _await_engine(engine, say, None)
    return _await_engine(engine, say, _start_dockerd(say))


def _refuse_foreign_engine(error: EngineUnavailable) -> None:
    """An engine that somebody else chose, or that keeps us out, is not ours to replace."""
    host = os.environ.get("DOCKER_HOST", "")
    if host and host not in ("unix:///var/run/docker.sock", "unix:///run/docker.sock"):
        raise SetupError(f"{error} (DOCKER_HOST is {host}).", "Start that engine, or unset DOCKER_HOST.") from error
    if "Permission denied" in str(error):
        raise SetupError(
            "Docker Engine does not let this user in (permission denied on its socket).",
            "Start again as root, or let this user in and log in again: sudo usermod -aG docker $USER",
        ) from error


def _running_dockerd() -> int | None:
    for path in PID_FILES:
        try:
            pid = int(path.read_text())
            if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd":
                return pid
        except (OSError, ValueError):
            continue
    return None


def _start_dockerd(say: Say) -> subprocess.Popen[bytes]:
    program = find_program("dockerd")
    assert program is not None, "ensure_packages found it"
    say(f"starting {program}, log in {LOG}")
    with LOG.open("ab") as log:
        # A session of its own: neither Ctrl-C nor the end of this terminal reaches it. Its pid: /run/docker.pid.
        return subprocess.Popen(
            [program], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )


def _await_engine(engine: Engine, say: Say, process: subprocess.Popen[bytes] | None) -> str:
    began = clock.monotonic()
    reported = 0.0
    while True:
        try:
            return engine_version(engine)
        except (EngineUnavailable, EngineRefused) as error:
            waited = clock.monotonic() - began
            ended = process is not None and process.poll() is not None
            if ended or waited > START_TIMEOUT_S:
                raise SetupError(
                    "Docker Engine ended while it started." if ended else f"No answer within {waited:.0f} s: {error}",
                    _start_hint(process is not None),
                    _log_tail() if process is not None else (),
                ) from error
        if waited - reported >= 1:
            reported = waited
            say(f"waiting for Docker Engine to answer ({waited:.0f} of at most {START_TIMEOUT_S:.0f} s)")
        time.sleep(0.1)


def _start_hint(ours: bool) -> str:
    if not ours:
        return "Look at the engine's own messages (journalctl -u docker), and start it by hand."
    return (
        f"The engine's own words are in {LOG}. In a container or a reduced kernel it needs cgroups mounted, iptables and "
        "the overlay file system; an engine elsewhere can be named by DOCKER_HOST."
    )


def _log_tail() -> list[str]:
    """The end of the engine's log, without its chatter where there is anything else."""
    try:
        lines = LOG.read_text(errors="replace").splitlines()[-3 * TAIL_LINES :]
    except OSError:
        return []
    telling = [line for line in lines if "level=info" not in line and "level=debug" not in line]
    return (telling or lines)[-TAIL_LINES:]
