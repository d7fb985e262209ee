"""The gate's listening sockets: for the job hosts, and for the proxy. They may outlive a gate, and serve the next one."""

from __future__ import annotations

import socket

from toolkit_hub.configure import Toolkit

__all__ = ["BACKLOG", "PortBusy", "open_listeners"]

#: Connections that may wait to be accepted.
BACKLOG = 1024


class PortBusy(Exception):
    """A port that the gate needs is taken."""


def open_listeners(site: Toolkit) -> list[socket.socket]:
    """The sockets of a gate: for the job hosts, and for the proxy. Raises `PortBusy`."""
    places = [(site.bind_ip, site.jobs_port), ("127.0.0.1", site.base_port + 3)]
    opened: list[socket.socket] = []
    try:
        for ip, port in places:
            opened.append(_listener(ip, port))
    except PortBusy:
        for listener in opened:
            listener.close()
        raise
    return opened


def _listener(ip: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise PortBusy(
            f"the gate cannot listen on {ip} port {port}: {error.strerror or error}. Another program may use it; "
            "set TOOLKIT_PORT, or c.Toolkit.base_port, to move all ports of the toolkit"
        ) from error
    listener.setblocking(False)
    return listener
