"""The control port: the gate asks for the job server, or for commands to be run. Imported once the command runs."""

from __future__ import annotations

import contextlib
import hmac
import json
import select
import socket
import time
from collections.abc import Callable

from toolkit_ext.job_init.processes import report
from toolkit_ext.job_init.run_file import Run

__all__ = ["Control"]

#: A control request: its greatest length in bytes, its seconds, and how many are served at a time.
REQUEST_BYTES, REQUEST_S, REQUESTS = 4096, 5.0, 16


class Control:
    """Answers the gate's requests. No client can hold anything up: nothing blocks, and each has five seconds and 4 KiB."""

    def __init__(self, run: Run, ensure: dict[str, Callable[[], tuple[str, str]]], poll: select.poll) -> None:
        """`ensure`: what may be asked for, and what is done then."""
        self._secret = run.secret
        self._ensure = ensure
        self._poll = poll
        self._clients: dict[int, tuple[socket.socket, bytearray, float]] = {}
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        try:
            self._listener.bind(("0.0.0.0", run.control_port))
            self._listener.listen(REQUESTS)
        except OSError as error:
            report(f"no control port: {error}; the job server cannot be started on request")
            return
        poll.register(self._listener, select.POLLIN)

    def handle(self, fd: int) -> None:
        """One event on one of this class's descriptors. Whatever goes wrong with a client ends that client only."""
        try:
            if fd == self._listener.fileno():
                self._accept()
            elif fd in self._clients:
                self._read(fd)
        except Exception as error:  # PID 1 must outlive anything that a client sends
            report(f"control request failed: {error!r}")
            self._drop(fd)

    def next_deadline(self) -> float | None:
        return min((deadline for _, _, deadline in self._clients.values()), default=None)

    def drop_late(self) -> None:
        now = time.monotonic()
        for fd in [fd for fd, (_, _, deadline) in self._clients.items() if deadline <= now]:
            self._drop(fd)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if len(self._clients) >= REQUESTS:
            self._drop(next(iter(self._clients)))  # the oldest
        client.setblocking(False)
        self._clients[client.fileno()] = (client, bytearray(), time.monotonic() + REQUEST_S)
        self._poll.register(client, select.POLLIN)

    def _read(self, fd: int) -> None:
        client, received, _ = self._clients[fd]
        try:
            data = client.recv(REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        received += data
        line, end, _ = received.partition(b"\n")
        if not end and data and len(received) < REQUEST_BYTES:
            return
        if end:
            self._reply(client, *self._answer(bytes(line)))
        elif data:
            self._reply(client, "refused", f"the request is longer than {REQUEST_BYTES} bytes")
        self._drop(fd)

    def _answer(self, line: bytes) -> tuple[str, str]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return "refused", "the request is not JSON"
        given = request.get("secret") if isinstance(request, dict) else None
        if not isinstance(given, str) or not hmac.compare_digest(
            given.encode("utf-8", "surrogatepass"), self._secret.encode()
        ):
            return "refused", "the request does not carry the run's secret"
        ensure = self._ensure.get(str(request.get("do")))
        return ensure() if ensure else ("refused", "the request asks for nothing that is known here")

    def _reply(self, client: socket.socket, state: str, reason: str) -> None:
        with contextlib.suppress(OSError):
            client.send(json.dumps({"state": state, "reason": reason}).encode() + b"\n")

    def _drop(self, fd: int) -> None:
        client = self._clients.pop(fd, None)
        if client is not None:
            self._poll.unregister(fd)
            client[0].close()
