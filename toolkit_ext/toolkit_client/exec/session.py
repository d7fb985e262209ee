"""A command in a job, as its client sees it: one session, over as many connections as it takes."""

from __future__ import annotations

import os
import secrets
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from toolkit_client.errors import Conflict, ServiceUnavailable
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.streams import Streams
from toolkit_client.transfer.connection import Interrupted
from toolkit_ext.job_init.exec_frames import (
    ACK,
    EXIT,
    HELLO,
    LEAVE,
    NUMBERED,
    PING,
    REFUSED,
    RESIZE,
    SIGNAL,
    STDIN,
    STDIN_END,
    VERSION,
    WELCOME,
    BadFrame,
    Decoder,
    Inbox,
    Outbox,
    frame,
    read_json,
    write_hello,
)

__all__ = ["KEEP_S", "Command", "CommandSession", "OutputGone", "Told", "Watcher"]

#: Seconds that a command lives on without a connection before it is ended.
KEEP_S = 300.0
#: Seconds of silence after which the other end is asked for a word, and after which the connection counts as broken.
PING_S, SILENCE_S = 20.0, 45.0
#: Seconds for the first connection, and the pauses between two tries.
FIRST_S = 10.0
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0)
#: Connections in a row that break before they have been of any use.
MOST_TRIES = 30
_SIZE = struct.Struct(">HH")


class OutputGone(Exception):
    """Nobody reads what the command writes, or its client was told to leave."""


class Watcher:
    """Is told what becomes of the connection."""

    def lost(self) -> None:
        """Another one is tried."""

    def back(self) -> None:
        """There is another one."""

    def told(self, text: str) -> None:
        """Something that a person who waits wants to know."""


class Told(Watcher):
    """Tells it on stderr."""

    def told(self, text: str) -> None:
        print(f"toolkit: {text}", file=sys.stderr)


@dataclass
class Command:
    """What is to be run. `folder`: the job's own if empty; `terminal`: rows and columns; `keep`: see `KEEP_S`, None for ever."""

    words: Sequence[bytes]
    variables: Sequence[bytes] = ()
    folder: str = ""
    terminal: tuple[int, int] | None = None
    keep: float | None = KEEP_S


@dataclass
class _Ended:
    code: int
    reason: str = ""


@dataclass
class _Output:
    """What has come and is not written yet; `kind` EXIT stands for the end."""

    number: int
    kind: int
    data: memoryview
    ended: _Ended | None = field(default=None)


class CommandSession:
    """Runs one command. Belongs to one thread; `signal` and `resize` may be called by its signal handlers."""

    def __init__(
        self,
        open_channel: Callable[[], Channel],
        command: Command,
        streams: Streams,
        watcher: Watcher | None = None,
    ) -> None:
        self._open, self._command, self._streams = open_channel, command, streams
        self._watcher = watcher or Watcher()
        self._name = secrets.token_hex(16)
        self._inbox, self._outbox = Inbox(), Outbox()
        self._window = 0
        self._welcomed = False
        self._input_over = False
        self._output: deque[_Output] = deque()
        self._consumed = self._acknowledged = 0
        self._ended: _Ended | None = None
        self._to_send = bytearray()
        self._decoder = Decoder()
        self._attached = False
        self._heard = self._asked = 0.0
        self._leaving = False
        #: A descriptor that becomes readable when a signal has come; its content does not matter.
        self.wakeup: int | None = None

    def run(self) -> tuple[int, str]:
        """The command's exit code, and a reason where it could not be started.

        Raises:
            ToolkitError: it could not be asked for, or its session is lost.
            OutputGone: nobody reads its output any more; the command is ended.
        """
        began, tries, progress = time.monotonic(), 0, self._progress
        while True:
            try:
                channel = self._open()
            except Interrupted:
                limit = (self._command.keep or KEEP_S) if self._welcomed else FIRST_S
                if time.monotonic() - began > limit:
                    raise
                if self._welcomed and tries == len(PAUSES):
                    self._watcher.told("the connection is lost; trying again")
                time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
                continue
            if self._welcomed:
                self._watcher.back()
            try:
                self._converse(channel)
            except (OSError, BadFrame) as problem:
                if tries > MOST_TRIES:
                    raise Interrupted(f"the connection breaks again and again: {problem}") from problem
                self._attached = False
                self._watcher.lost()
                time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
            else:
                assert self._ended is not None
                return self._ended.code, self._ended.reason
            finally:
                channel.close()
            if self._progress != progress:
                progress, began, tries = self._progress, time.monotonic(), 0

    @property
    def _progress(self) -> tuple[int, int]:
        """What has arrived, here and there; a connection that changes none of it has been of no use."""
        return self._inbox.received, self._outbox.acknowledged

    @property
    def attached(self) -> bool:
        """Whether there is a connection over which the command can be told something."""
        return self._attached

    def signal(self, number: int) -> None:
        """Send a signal to the command."""
        self._post(SIGNAL, bytes([number]))

    def resize(self, rows: int, columns: int) -> None:
        """Tell the command's terminal its size."""
        self._post(RESIZE, _SIZE.pack(min(rows, 65535), min(columns, 65535)))

    def leave(self) -> None:
        """Have the command ended, and `run` raise `OutputGone` without waiting for it."""
        self._leaving = True

    def _post(self, kind: int, content: bytes) -> None:
        made = self._outbox.add(kind, content)
        if self._attached:
            self._to_send += made

    # --- one connection -----------------------------------------------------------------------------------------------

    def _converse(self, channel: Channel) -> None:
        """Until the command's end is here. Raises `OSError` and `BadFrame` for what another connection may mend."""
        self._decoder, self._attached, self._to_send = Decoder(), False, bytearray(self._hello())
        self._acknowledged = 0  # what was said over the last connection may not have arrived
        self._heard = self._asked = time.monotonic()
        poll = select.poll()
        while self._ended is None:
            self._read_input_of_memory()
            self._write_output_of_memory()
            if self._leaving:
                raise self._left(channel)
            self._acknowledge()
            self._send(channel)
            if self._ended is None:
                self._wait(poll, channel)
        self._send_all(channel)

    def _hello(self) -> bytes:
        command = self._command
        fields = {"version": VERSION, "session": self._name, "received": self._inbox.received, "start": False}
        if self._welcomed:
            return frame(HELLO, 0, write_hello(fields, [], []))
        size = list(command.terminal) if command.terminal else None
        fields |= {"start": True, "folder": command.folder, "terminal": size, "keep": command.keep}
        return frame(HELLO, 0, write_hello(fields, list(command.words), list(command.variables)))

    def _wait(self, poll: select.poll, channel: Channel) -> None:
        wanted = self._wanted(channel)
        for fd, events in wanted.items():
            poll.register(fd, events)
        ready = poll.poll(0 if channel.holds else 1000 * min(PING_S, SILENCE_S) / 4)
        for fd in wanted:
            poll.unregister(fd)
        found = dict(ready)
        if channel.fileno() in found or channel.holds:
            self._receive(channel)
        self._stay_awake()
        for fd in found:
            if fd == self.wakeup:
                os.read(fd, 4096)
            elif fd == self._streams.input_fd() and self._may_read():
                self._read_input()
        if self._sink() in found:
            self._write_output()

    def _wanted(self, channel: Channel) -> dict[int, int]:
        wanted = {channel.fileno(): select.POLLIN | (select.POLLOUT if self._to_send else 0)}
        if self.wakeup is not None:
            wanted[self.wakeup] = select.POLLIN
        source = self._streams.input_fd()
        if source is not None and self._may_read():
            wanted[source] = select.POLLIN
        if (sink := self._sink()) is not None:
            wanted[sink] = wanted.get(sink, 0) | select.POLLOUT
        return wanted

    def _stay_awake(self) -> None:
        now = time.monotonic()
        if now - self._heard > SILENCE_S:
            raise TimeoutError("the connection is silent")
        if now - max(self._heard, self._asked) > PING_S:
            self._asked = now
            self._to_send += frame(PING)

    def _receive(self, channel: Channel) -> None:
        data = channel.receive()
        if data is None:
            return
        if not data:
            raise ConnectionResetError("the other end closed the connection")
        self._heard = time.monotonic()
        for kind, number, content in self._decoder.feed(data):
            self._take(kind, number, content)

    def _take(self, kind: int, number: int, content: bytes) -> None:
        if kind == WELCOME:
            fields = read_json(content)
            self._window, self._welcomed, self._attached = int(fields["window"]), True, True
            for made in self._outbox.after(int(fields["received"])):
                self._to_send += made
        elif kind == REFUSED:
            raise self._refused(content)
        elif kind == ACK:
            self._outbox.acknowledge(number)
        elif kind >= NUMBERED and self._inbox.take(number):
            ended = None
            if kind == EXIT:
                fields = read_json(content)
                ended = _Ended(int(fields["code"]), str(fields.get("reason") or ""))
            self._output.append(_Output(number, kind, memoryview(content), ended))

    def _refused(self, content: bytes) -> Exception:
        fields = read_json(content)
        code, message, hint = (str(fields.get(name) or "") for name in ("code", "message", "hint"))
        if code == "broken":
            return BadFrame(message)
        return ServiceUnavailable(message, hint) if code == "busy" else Conflict(message, hint)

    # --- input --------------------------------------------------------------------------------------------------------

    def _may_read(self) -> bool:
        return self._attached and not self._input_over and self._outbox.weight < self._window

    def _read_input_of_memory(self) -> None:
        while self._streams.input_fd() is None and self._may_read():
            self._read_input()

    def _read_input(self) -> None:
        data = self._streams.read()
        self._input_over = not data
        self._post(STDIN if data else STDIN_END, data)

    # --- output -------------------------------------------------------------------------------------------------------

    def _write_output_of_memory(self) -> None:
        while self._output and self._sink() is None:
            self._write_output()

    def _sink(self) -> int | None:
        """The descriptor that has to be ready for what is to be written next; None if there is none."""
        if not self._output or self._output[0].kind == EXIT:
            return None
        return self._streams.output_fd(self._output[0].kind)

    def _write_output(self) -> None:
        first = self._output[0]
        if first.ended is not None:
            self._ended = first.ended
        else:
            try:
                first.data = first.data[self._streams.write(first.kind, first.data) :]
            except OSError:
                self._leaving = True
                return
        if not first.data or first.ended is not None:
            self._output.popleft()
            self._consumed = first.number

    def _acknowledge(self) -> None:
        if self._attached and self._consumed > self._acknowledged:
            self._acknowledged = self._consumed
            self._to_send += frame(ACK, self._consumed)

    # --- the connection's other direction -----------------------------------------------------------------------------

    def _send(self, channel: Channel) -> None:
        while self._to_send:
            sent = channel.send(self._to_send)
            if not sent:
                return
            del self._to_send[:sent]

    def _send_all(self, channel: Channel) -> None:
        """What is left, but waiting for no one: the command's end is known."""
        deadline = time.monotonic() + 1.0
        try:
            while self._to_send and time.monotonic() < deadline:
                self._send(channel)
                if self._to_send:
                    select.select([], [channel], [], 0.2)
        except OSError:
            return

    def _left(self, channel: Channel) -> OutputGone:
        self._to_send += frame(LEAVE)
        self._send_all(channel)
        return OutputGone()
