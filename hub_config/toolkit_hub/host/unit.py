"""Becomes one unit: ``python -m toolkit_hub.host.unit hub`` is what the supervisor starts.

The unit ends with its supervisor, however that ends, so that none is left behind holding a port. Standard library only:
it runs before each start of a unit.
"""

from __future__ import annotations

import os
import signal
import sys

from toolkit_hub.host.processes import die_with_parent

__all__ = ["END_SIGNALS", "UNITS", "unit_command"]

#: In the order of their start; they are stopped in the reverse one. The hub comes last: it needs the proxy at once.
UNITS = ("proxy", "service", "gate", "hub")
#: What ends a unit within seconds, where that is not SIGTERM: to the gate it means to serve out connections, for an hour.
END_SIGNALS = {"gate": signal.SIGINT}
MODULES = {"gate": "host.gate_keeper"}


def unit_command(name: str, config: str) -> list[str]:
    """The command of a unit. ``-P``: a folder that is called like a module must not be taken for it."""
    options = ["-f", config] if name == "hub" else []
    return [sys.executable, "-P", "-m", f"toolkit_hub.{MODULES.get(name, name)}", *options]


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in UNITS:
        print(f"usage: python -m toolkit_hub.host.unit {'|'.join(UNITS)}", file=sys.stderr)
        return 2
    supervisor = os.getppid()
    die_with_parent(END_SIGNALS.get(arguments[0], signal.SIGTERM))
    if os.getppid() != supervisor:
        return 1  # it ended before the kernel watched it
    command = unit_command(arguments[0], os.environ["TOOLKIT_CONFIG"])
    return os.execv(command[0], command)  # noqa: S606 - a shell between would take the signals


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
