"""The gate unit: keeps the listening sockets, and lets one gate follow another on them.

SIGHUP replaces the gate: a new one starts on the same sockets, with the code and the settings as they are now; as soon as it
serves, the present one takes nothing new and serves out what it has, for up to an hour. The sockets stay open all the while,
so no connection is refused or lost. A new gate that does not come up changes nothing. Other ports need a stop and a start.

SIGTERM ends the unit when everything under way is served out, SIGINT or a second SIGTERM at once.
``python -m toolkit_hub.host.gate_keeper``
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence

from toolkit_hub.configure import load_settings
from toolkit_hub.gate.listeners import PortBusy, open_listeners
from toolkit_hub.host.processes import die_with_parent

__all__ = ["Keeper", "main"]

log = logging.getLogger("toolkit.gate.keeper")

#: Seconds within which a new gate serves.
READY_TIMEOUT_S = 60.0
#: Seconds between two tries when no gate comes up.
RETRY_S = 1.0


class Keeper:
    """The gates of one pair of sockets: at most one serves newcomers, any number serve out what they have."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = listeners
        self._gates: dict[Process, asyncio.Task[int]] = {}
        self._serving: Process | None = None
        self._replace_asked = asyncio.Event()
        self._ending = asyncio.Event()

    async def run(self) -> int:
        """Keep a gate serving until a signal ends the unit; returns the exit status, 1 when the first gate did not come up."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._replace_asked.set)
        loop.add_signal_handler(signal.SIGTERM, self._end_gently)
        loop.add_signal_handler(signal.SIGINT, self._end_at_once)
        if not await self._replace() and not self._ending.is_set():
            return 1
        while not self._ending.is_set():
            await self._something_happens()
            lost = self._serving is None or self._gates[self._serving].done()
            if self._ending.is_set() or not (lost or self._replace_asked.is_set()):
                continue
            self._replace_asked.clear()
            if lost:
                log.warning("the gate has ended; another one is started")
                self._serving = None
            if not await self._replace() and lost:
                await asyncio.sleep(RETRY_S)
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*self._gates.values())
        return 0

    async def _something_happens(self) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (self._replace_asked, self._ending)]
        try:
            await asyncio.wait([*waits, *self._gates.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        for gate in [gate for gate, end in self._gates.items() if end.done() and gate is not self._serving]:
            log.info("gate %d has served out its connections", gate.pid)
            del self._gates[gate]

    async def _replace(self) -> bool:
        """Start a gate; when it serves, the present one serves out. Returns whether it serves."""
        gate, ready = await self._start()
        if not ready:
            log.error(
                "the new gate %d does not serve; %s", gate.pid, "the present one goes on" if self._serving else ""
            )
            with contextlib.suppress(ProcessLookupError):
                gate.kill()
            await self._gates.pop(gate)
            return False
        before, self._serving = self._serving, gate
        log.info("gate %d serves", gate.pid)
        if before is not None:
            _send(before, signal.SIGTERM)
        if self._ending.is_set():
            _send(gate, signal.SIGTERM)
        return True

    async def _start(self) -> tuple[Process, bool]:
        readable, writable = os.pipe()
        numbers = [listener.fileno() for listener in self._listeners]
        words = ["--listeners", ",".join(map(str, numbers)), "--ready", str(writable)]
        try:
            gate = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "toolkit_hub.gate", *words),
                pass_fds=(*numbers, writable),
                preexec_fn=functools.partial(die_with_parent, signal.SIGINT),
            )
        finally:
            os.close(writable)
        self._gates[gate] = asyncio.create_task(gate.wait())
        # It reads a byte when the gate serves, and nothing when it has ended.
        told = asyncio.create_task(asyncio.to_thread(os.read, readable, 1))
        await asyncio.wait([told], timeout=READY_TIMEOUT_S)
        if not told.done():
            gate.kill()
        serves = bool(await told)
        os.close(readable)
        return gate, serves

    def _end_gently(self) -> None:
        if self._ending.is_set():
            self._end_at_once()
            return
        self._ending.set()
        if self._serving is not None:
            _send(self._serving, signal.SIGTERM)

    def _end_at_once(self) -> None:
        self._ending.set()
        for gate in self._gates:
            _send(gate, signal.SIGINT)


def _send(gate: Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        gate.send_signal(number)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        listeners = open_listeners(load_settings())
    except PortBusy as error:
        print(f"toolkit gate: {error}", file=sys.stderr)
        return 1

    async def keep() -> int:
        return await Keeper(listeners).run()

    return asyncio.run(keep())


if __name__ == "__main__":
    sys.exit(main())
