"""The gate's part in the tests of commands, and clients that are slow, typing, or cut off."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.docker.run_container import SECRET, RunContainer, wait_for
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.session import Command, CommandSession
from toolkit_client.exec.streams import Memory
from toolkit_client.transfer.link import Interrupted
from toolkit_ext.job_init.exec_frames import STDERR, STDOUT

__all__ = ["EXEC_PORT", "Door", "Relay", "Slow", "Typing"]

EXEC_PORT = 8886


class Door:
    """Opens connections as the gate does."""

    def __init__(self, run: RunContainer, user: str = "joe") -> None:
        self.run, self.user = run, user
        wait_for("exec", lambda: run.ask_server("start-exec")["state"] == "running")
        self.ip = run.ip

    def dial(self, port: int = 0, secret: str = SECRET, address: tuple[str, int] | None = None) -> socket.socket:
        connection = socket.create_connection(address or (self.ip, EXEC_PORT), 10)
        connection.sendall(json.dumps({"secret": secret, "user": self.user, "port": port}).encode() + b"\n")
        return connection

    def open(self, address: tuple[str, int] | None = None) -> Channel:
        try:
            connection = self.dial(address=address)
            if connection.recv(3) != b"ok\n":
                raise ConnectionResetError
        except OSError as error:
            raise Interrupted("no connection") from error
        return Channel(connection)

    def __call__(
        self, *words: str | bytes, stdin: bytes = b"", opener: Callable[[], Channel] | None = None, **more: Any
    ) -> tuple[int, bytes, bytes, str]:
        streams = Memory(stdin)
        code, reason = self.session(*words, streams=streams, opener=opener, **more).run()
        return code, bytes(streams.outputs[STDOUT]), bytes(streams.outputs[STDERR]), reason

    def session(
        self, *words: str | bytes, streams: Any = None, opener: Callable[[], Channel] | None = None, **more: Any
    ) -> CommandSession:
        command = Command([os.fsencode(word) for word in words], **more)
        return CommandSession(opener or self.open, command, streams or Memory())


class Typing(Memory):
    """Input that comes when the output has got so far."""

    def __init__(self, *steps: tuple[bytes, Callable[[], bytes]]) -> None:
        super().__init__()
        self._steps = list(steps)
        self.reader, self._writer = os.pipe()

    def input_fd(self) -> int:  # type: ignore[override]
        return self.reader

    def read(self) -> bytes:
        return os.read(self.reader, 65536)

    def write(self, kind: int, data: memoryview) -> int:
        written = super().write(kind, data)
        while self._steps and self._steps[0][0] in self.outputs[STDOUT]:
            typed = self._steps.pop(0)[1]()
            if typed:
                os.write(self._writer, typed)
        return written


class Slow(Memory):
    """Reads nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.reader, self.writer = os.pipe()  # never writable, for it is the reading end

    def output_fd(self, kind: int) -> int | None:  # type: ignore[override]
        return None if self.go.is_set() else self.reader


class Relay:
    """Passes connections on, and cuts each after a random number of bytes."""

    def __init__(self, target: tuple[str, int], cuts: int, random_: random.Random) -> None:
        self._target, self.cuts, self._random = target, cuts, random_
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = self._listener.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        budget = None
        if self.cuts > 0:
            self.cuts -= 1
            budget = self._random.choice([self._random.randrange(400), self._random.randrange(300_000)])
        # Either end may go at any time.
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as server:
            while True:
                for source in select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if budget is not None:
                        data, budget = data[:budget], budget - len(data)
                    if data:
                        (server if source is client else client).sendall(data)
                    if not data or (budget is not None and budget <= 0):
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
                        return
