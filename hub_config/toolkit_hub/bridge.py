"""The jobs' bridge on this machine."""

from __future__ import annotations

import fcntl
import socket
import struct

__all__ = ["address_of_bridge"]

#: From <linux/sockios.h>: the IPv4 address of an interface.
_SIOCGIFADDR = 0x8915


def address_of_bridge(bridge: str) -> str | None:
    """This machine's own IPv4 address on a network interface; None while there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", bridge.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
