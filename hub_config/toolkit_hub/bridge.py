"""The jobs' bridge on this machine, and what listens on its address: only jobs reach that."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
from collections.abc import Awaitable, Callable

__all__ = ["address_of_bridge", "listen_on_bridge"]

log = logging.getLogger("toolkit.bridge")

#: From <linux/sockios.h>: the IPv4 address of an interface.
_SIOCGIFADDR = 0x8915
#: Seconds between two looks at the bridge, which the engine may make anew.
LOOK_EVERY_S = 5


def address_of_bridge(bridge: str) -> str | None:
    """This machine's own IPv4 address on a network interface; None while there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", bridge.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])


async def listen_on_bridge(bridge: str, what: str, listen: Callable[[str], Awaitable[Callable[[], None]]]) -> None:
    """Keep listening on the bridge's address, whatever it becomes, until this is cancelled.

    `listen` opens a listener on an address and returns what closes it; `what` says in the log what is served there. Without the
    bridge there is no job that could ask.
    """
    close: Callable[[], None] | None = None
    at, told = None, ""
    try:
        while True:
            address = address_of_bridge(bridge)
            if address != at and close is not None:
                close()
                close, at = None, None
            if address is not None and close is None:
                try:
                    close = await listen(address)
                except OSError as error:
                    if str(error) != told:
                        told = str(error)
                        log.error("jobs cannot reach %s on %s: %s", what, address, error)
                else:
                    at, told = address, ""
                    log.info("%s for jobs on %s", what, address)
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        if close is not None:
            close()
