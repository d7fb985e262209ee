"""`make run`: the four units of a site in the foreground, until Ctrl-C. Jobs outlive it. ``python -m toolkit_hub.host.run``"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.host.admin import FirstAdmin, admin_token, prepare_store
from toolkit_hub.host.ports import check_ports
from toolkit_hub.host.processes import command_line
from toolkit_hub.host.readiness import problem_of, routes_problem
from toolkit_hub.host.site import load_site
from toolkit_hub.host.steps import Console, Say, SetupError, show_failure
from toolkit_hub.host.supervision import Supervisor, UnitState, log_file, start_supervisor
from toolkit_hub.host.unit import UNITS
from toolkit_hub.site_secrets import private_dir
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable

__all__ = ["main"]

#: Seconds within which each unit answers.
READY_TIMEOUT_S = 60.0
#: Seconds for which an instance that is just stopping is waited for.
STOPPING_TIMEOUT_S = 20.0
#: A unit that has been started this often without an answer will not come up by itself.
STARTS_BEFORE_GIVING_UP = 3
WATCH_INTERVAL_S = 1.0
DEFAULT_PORT = 8000


def main() -> int:
    _catch_signals()
    began = clock.monotonic()
    try:
        site = load_site()
        console = Console(private_dir(site.state) / "run.log")
        with _only_instance(site, console) as lock:
            return _run(site, console, lock, began)
    except SetupError as error:
        show_failure(error)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 1


def _run(site: Toolkit, console: Console, lock: int, began: float) -> int:
    check_ports(site)
    _check_runtime(site)
    _say_what_runs(site, console, "Jobs that run on from an earlier start, now adopted")
    admin = prepare_store(site)
    process = start_supervisor(site, lock)
    supervisor = Supervisor(site)
    try:
        try:
            _start_units(site, console, supervisor)
        except (SetupError, KeyboardInterrupt):
            _say_password(console, admin)  # no later start would
            raise
        _greet(site, console, admin, began)
        _watch(console, site, supervisor, process)
        return 1  # only a lost process manager ends the watch
    except KeyboardInterrupt:
        console.print()
        return 0
    finally:
        _stop(site, console, supervisor, process)


def _catch_signals() -> None:
    """SIGTERM and a closed terminal stop the units in order, as Ctrl-C does; ``nohup`` still holds."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, interrupt)


@contextlib.contextmanager
def _only_instance(site: Toolkit, console: Console) -> Iterator[int]:
    """Hold the site's lock. Raises `SetupError` with the other instance's pid."""
    path = site.state / "run.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take_lock(lock, site, console)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _take_lock(lock: int, site: Toolkit, console: Console) -> None:
    deadline = clock.monotonic() + STOPPING_TIMEOUT_S
    told = False
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        pid = (os.pread(lock, 32, 0).decode(errors="replace").strip()) or "unknown"
        alive = pid.isdecimal() and "toolkit_hub.host.run" in command_line(int(pid))
        if alive or clock.monotonic() > deadline:
            raise SetupError(
                f"The units of {site.state} run already (process {pid}).",
                "Stop them there with Ctrl-C, or start another site: TOOLKIT_STATE=other TOOLKIT_PORT=9000 make run",
            )
        if not told:
            console.print("  ...     an earlier start is stopping its units; waiting for it")
            told = True
        time.sleep(0.1)


def _check_runtime(site: Toolkit) -> None:
    if not (site.runtime_dir / "current").exists():
        raise SetupError(f"Set-up is not complete: there is no {site.runtime_dir / 'current'}.", "Run `make setup`.")


# --- start ----------------------------------------------------------------------------------------------------------------


def _start_units(site: Toolkit, console: Console, supervisor: Supervisor) -> None:
    # All but the hub at once; the hub last, for it ends when it does not find its proxy.
    for unit in UNITS[:-1]:
        supervisor.start(unit)
    console.run("proxy", functools.partial(_await, site, supervisor, "proxy"))
    supervisor.start("hub")
    for unit in UNITS[1:]:
        console.run(unit, functools.partial(_await, site, supervisor, unit))
    console.run("routes", lambda say: _await_answer(lambda: routes_problem(site), lambda: None, say, site, "hub"))


def _await(site: Toolkit, supervisor: Supervisor, unit: str, say: Say) -> str:
    """Wait until a unit answers. Raises `SetupError` with the end of its log."""
    starts: set[int] = set()

    def check() -> None:
        state = supervisor.states()[unit]
        if state.pid:
            starts.add(state.pid)
        if state.state == "FATAL" or len(starts) >= STARTS_BEFORE_GIVING_UP:
            raise _unit_failed(site, unit, f"ended {max(1, len(starts) - 1)} times while it started")

    _await_answer(lambda: problem_of(site, unit), check, say, site, unit)
    return f"process {supervisor.states()[unit].pid}"


def _await_answer(
    problem: Callable[[], str | None], check: Callable[[], None], say: Say, site: Toolkit, unit: str
) -> str:
    deadline = clock.monotonic() + READY_TIMEOUT_S
    words = problem()
    while words is not None:
        check()
        if clock.monotonic() > deadline:
            raise _unit_failed(site, unit, f"is not ready after {READY_TIMEOUT_S:.0f} s: {words}")
        say("waiting for its answer")
        time.sleep(0.1)
        words = problem()
    return "ready"


def _unit_failed(site: Toolkit, unit: str, words: str) -> SetupError:
    file = log_file(site, unit)
    try:
        tail = file.read_text(errors="replace").splitlines()[-20:]
    except OSError:
        tail = []
    return SetupError(f"The unit `{unit}` {words}.", f"Above is the end of its log, {file}.", tail or ["(empty log)"])


def _greet(site: Toolkit, console: Console, admin: FirstAdmin, began: float) -> None:
    console.print()
    console.print(f"  URL       {site.public_url}    (job hosts: {site.jobs_url})")
    console.print(f"  user      {admin.name}")
    _say_password(console, admin)
    if admin.password is None and admin.password_file.exists():
        console.print(f"  password  the first one is in {_short(admin.password_file)}")
    try:
        console.print(f"  command   {_login_line(site, admin_token(site))}")
    except SetupError as error:
        console.print(f"  command   {error.what} {error.hint}")
    console.print(f"  logs      {_short(site.state / 'logs')}/    stop: Ctrl-C, jobs run on")
    console.print(f"\nToolkit is ready at {site.public_url} ({clock.monotonic() - began:.1f} s)")


def _say_password(console: Console, admin: FirstAdmin) -> None:
    if admin.password is not None:
        console.print(f"  password  {admin.password}    (shown once; kept in {_short(admin.password_file)})")


def _login_line(site: Toolkit, token: Path) -> str:
    program = Path(sys.executable).with_name("toolkit")
    url = "" if site.public_url == f"http://127.0.0.1:{DEFAULT_PORT}" else f" --url {site.public_url}"
    return f"{_short(program)} login{url} --token @{_short(token)}"


def _short(path: Path) -> str:
    """Relative to the present folder where it lies below it."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


# --- while it runs ----------------------------------------------------------------------------------------------------


def _watch(console: Console, site: Toolkit, supervisor: Supervisor, process: subprocess.Popen[bytes]) -> None:
    """Say when a unit ended and was started again. Returns when the process manager has ended."""
    known = supervisor.states()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(WATCH_INTERVAL_S)
            console.print("The process manager ended; its units end with it. Start again: make run")
            return
        with contextlib.suppress(SetupError):
            present = supervisor.states()
            for unit in UNITS:
                _say_change(console, known[unit], present[unit], log_file(site, unit))
            known = present


def _say_change(console: Console, before: UnitState, now: UnitState, log: Path) -> None:
    if now.state == "FATAL" and before.state != "FATAL":
        console.print(f"  failed  {now.name} does not start any more; its log: {_short(log)}")
    elif now.pid and now.pid != before.pid:
        console.print(f"  started {now.name} again, process {now.pid}; its log: {_short(log)}")


def _stop(site: Toolkit, console: Console, supervisor: Supervisor, process: subprocess.Popen[bytes]) -> None:
    """Stop the units in order. A second Ctrl-C does not cut it short: units need their seconds to end well."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    console.print("Stopping the units; jobs run on.")
    for unit in reversed(UNITS):
        with contextlib.suppress(SetupError):
            supervisor.stop(unit)
            console.print(f"  stopped {unit}")
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOPPING_TIMEOUT_S)
    _say_what_runs(site, console, "Jobs that run on, and that the next `make run` adopts")


def _say_what_runs(site: Toolkit, console: Console, words: str) -> None:
    engine = Engine()
    try:
        runs = asyncio.run(engine.list_runs(site.instance_id))
    except (EngineUnavailable, EngineRefused) as error:
        console.print(f"  ...     {error}")
        return
    finally:
        engine.close()
    alive = sum(state.running for state in runs)
    if alive:
        console.print(f"{words}: {alive}")


if __name__ == "__main__":
    sys.exit(main())
