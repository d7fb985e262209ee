"""The six ports of a site: are they free, and who holds one that is not."""

from __future__ import annotations

import socket

from toolkit_hub.configure import Toolkit
from toolkit_hub.host.processes import command_line, socket_owner
from toolkit_hub.host.steps import SetupError

__all__ = ["PORT_NAMES", "check_ports", "is_free"]

PORT_NAMES = ("proxy", "job hosts", "service", "gate", "proxy's API", "hub")
#: The first two listen on `bind_ip`, the others on loopback only.
PUBLIC_PORTS = 2


def check_ports(site: Toolkit) -> None:
    """Raises `SetupError` that names each busy port, who holds it, and the way to other ports."""
    busy = []
    for offset, name in enumerate(PORT_NAMES):
        address = site.bind_ip if offset < PUBLIC_PORTS else "127.0.0.1"
        problem = _problem(address, site.base_port + offset)
        if problem:
            busy.append(f"Port {site.base_port + offset} ({name}) {problem}.")
    if busy:
        base = _free_base(site.bind_ip)
        raise SetupError(
            "\n".join(busy),
            f"End what holds it, or take other ports: TOOLKIT_PORT={base} make run (six in a row; c.Toolkit.base_port in "
            "jupyterhub_config.py goes before it).",
        )


def is_free(address: str, port: int) -> bool:
    return not _problem(address, port)


def _problem(address: str, port: int) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        # As the units listen: ports of connections that have just ended are free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except PermissionError:
            return "may only be taken by root"
        except OSError as error:
            return f"is in use{_holder(port)}" if error.errno == 98 else f"cannot be taken: {error.strerror}"
    return ""


def _holder(port: int) -> str:
    pid = socket_owner(port)
    return f" by process {pid} ({command_line(pid)})" if pid else ""


def _free_base(address: str) -> int:
    for base in range(9000, 60000, 1000):
        if all(is_free(address, base + offset) for offset in range(len(PORT_NAMES))):
            return base
    return 9000
