"""One unit of a running site at a time: ``python -m toolkit_hub.host.units status|start|stop|restart [UNIT…]``.

A restart cuts neither the other units nor any job; that of the gate cuts no connection either: a new gate takes over, and the
old one serves out what it has. A start waits until the unit answers.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time

from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.host.readiness import gate_process, problem_of, routes_problem
from toolkit_hub.host.site import load_site
from toolkit_hub.host.steps import SetupError, show_failure
from toolkit_hub.host.supervision import Supervisor, log_file
from toolkit_hub.host.unit import UNITS

__all__ = ["main"]

#: Seconds within which a started unit answers.
ANSWER_TIMEOUT_S = 60.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m toolkit_hub.host.units", description="See, stop, start and restart the units of a running site."
    )
    parser.add_argument("verb", choices=["status", "start", "stop", "restart"])
    parser.add_argument("unit", nargs="*", help=f"any of {', '.join(UNITS)}; all when none is named")
    options = parser.parse_args(arguments)
    unknown = set(options.unit) - set(UNITS)
    if unknown:
        parser.error(f"no such unit: {', '.join(sorted(unknown))}; there are {', '.join(UNITS)}")
    chosen = [unit for unit in UNITS if not options.unit or unit in options.unit]
    try:
        site = load_site()
        supervisor = Supervisor(site)
        handed_over = options.verb == "restart" and "gate" in chosen and _hand_over(site, supervisor)
        changed = [unit for unit in chosen if not (handed_over and unit == "gate")]
        if options.verb in ("stop", "restart"):
            for unit in reversed(changed):
                supervisor.stop(unit)
        if options.verb in ("start", "restart"):
            _start(site, supervisor, changed)
        _print_states(site, supervisor, chosen)
    except SetupError as error:
        show_failure(error)
        return 1
    return 0


def _start(site: Toolkit, supervisor: Supervisor, units: list[str]) -> None:
    """Start units and wait until each answers. Raises `SetupError` when one does not within `ANSWER_TIMEOUT_S`."""
    for unit in units:
        supervisor.start(unit)
    deadline = clock.monotonic() + ANSWER_TIMEOUT_S
    for unit in units:
        while problem := problem_of(site, unit):
            if clock.monotonic() > deadline or supervisor.states()[unit].state == "FATAL":
                raise SetupError(f"The unit `{unit}` is not ready: {problem}.", f"Its log: {log_file(site, unit)}")
            time.sleep(0.05)
    # A proxy begins without routes: it is back when the hub has posted them.
    while {"proxy", "hub"} & set(units) and _all_run(supervisor) and (problem := routes_problem(site)):
        if clock.monotonic() > deadline:
            raise SetupError(f"The proxy has no routes: {problem}.", f"The hub's log: {log_file(site, 'hub')}")
        time.sleep(0.05)


def _hand_over(site: Toolkit, supervisor: Supervisor) -> bool:
    """Have a new gate follow the present one, and wait until it serves. Returns False when no gate runs.

    Raises `SetupError` when the new one does not serve; the present one then goes on.
    """
    before = gate_process(site)
    if before is None or supervisor.states()["gate"].state != "RUNNING":
        return False
    supervisor.signal("gate", signal.SIGHUP)
    deadline = clock.monotonic() + ANSWER_TIMEOUT_S
    while gate_process(site) in (before, None):
        if clock.monotonic() > deadline:
            raise SetupError(
                "The new gate does not serve; the present one goes on.", f"Its log: {log_file(site, 'gate')}"
            )
        time.sleep(0.05)
    return True


def _all_run(supervisor: Supervisor) -> bool:
    """Whether every unit has a process. One that was just started is STARTING for its first second, as it answers already."""
    return all(state.state in ("STARTING", "RUNNING") for state in supervisor.states().values())


def _print_states(site: Toolkit, supervisor: Supervisor, units: list[str]) -> None:
    states = supervisor.states()
    for unit in units:
        state = states[unit]
        process = f"pid {state.pid}" if state.pid else "-"
        print(f"{unit:<8} {state.state:<9} {process:<12} {log_file(site, unit)}")


if __name__ == "__main__":
    sys.exit(main())
