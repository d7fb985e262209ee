"""What a command's client and the program that runs the command in a job's container say to each other.

After the gate's 101 both ends send *frames*: one byte with the kind, eight with a number, four with the length of what follows.
Frames of a kind from `NUMBERED` on carry 1, 2, 3 … in each direction, whatever connection they go over. Who sends one keeps it
until it is acknowledged; who gets one acknowledges it when it is *consumed*: written to the program, or to the terminal. So what
is kept is bounded by the `window`, and who does not read stops the other end.

A connection begins with HELLO and WELCOME, which tell each other the last number that arrived; what came after it is sent again.
The first HELLO of a session starts its command. Since the client makes up the session's name, starting twice is the same as
once, and a connection that breaks at any byte loses nothing and doubles nothing.

Used by both ends, and in any image: standard library only, and little of it.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any

__all__ = [
    "ACK",
    "CHUNK",
    "EXIT",
    "HELLO",
    "LEAVE",
    "NUMBERED",
    "PING",
    "PONG",
    "REFUSED",
    "RESIZE",
    "SIGNAL",
    "STDERR",
    "STDIN",
    "STDIN_END",
    "STDOUT",
    "VERSION",
    "WELCOME",
    "BadFrame",
    "Decoder",
    "Inbox",
    "Outbox",
    "frame",
    "read_hello",
    "read_json",
    "write_hello",
]

VERSION = 1
#: Without a number: HELLO and LEAVE (the client goes for good) from the client, WELCOME and REFUSED to it, the others both ways.
HELLO, WELCOME, REFUSED, ACK, PING, PONG, LEAVE = range(1, 8)
#: With a number: the first four from the client, the others to it.
NUMBERED = 16
STDIN, STDIN_END, RESIZE, SIGNAL = range(16, 20)
STDOUT, STDERR, EXIT = range(24, 27)

#: Bytes of a program's input or output in one frame.
CHUNK = 64 * 1024
#: The longest frame: a HELLO with all that Linux lets a command line and an environment have, and some more.
LONGEST = 4 * 2**20
#: What a kept frame costs beside its content.
_OVERHEAD = 128
_HEAD = struct.Struct(">BQI")


class BadFrame(Exception):
    """The other end does not keep to this; nothing that it sends can be trusted to be whole."""


def frame(kind: int, number: int = 0, data: bytes = b"") -> bytes:
    return _HEAD.pack(kind, number, len(data)) + data


class Decoder:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(kind, number, content) of each frame that is complete. Raises `BadFrame`."""
        self._rest += data
        begin = 0
        try:
            while len(self._rest) - begin >= _HEAD.size:
                kind, number, length = _HEAD.unpack_from(self._rest, begin)
                if length > LONGEST:
                    raise BadFrame(f"a frame of {length} bytes")
                end = begin + _HEAD.size + length
                if len(self._rest) < end:
                    break
                content = bytes(memoryview(self._rest)[begin + _HEAD.size : end])
                begin = end
                yield kind, number, content
        finally:
            del self._rest[:begin]


class Outbox:
    """Frames that were sent, or are to be, and are not acknowledged."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, bytes]] = deque()
        self._newest = 0
        #: What they hold, in bytes.
        self.weight = 0
        #: The last number of which the other end says that everything up to it is consumed.
        self.acknowledged = 0

    def add(self, kind: int, data: bytes = b"") -> bytes:
        """The next frame, to be sent now."""
        self._newest += 1
        made = frame(kind, self._newest, data)
        self._kept.append((self._newest, made))
        self.weight += len(made) + _OVERHEAD
        return made

    def acknowledge(self, number: int) -> None:
        """Everything up to `number` is consumed. Raises `BadFrame` for what was never sent."""
        if number > self._newest:
            raise BadFrame(f"frame {number} is acknowledged before it was sent")
        self.acknowledged = max(self.acknowledged, number)
        while self._kept and self._kept[0][0] <= number:
            self.weight -= len(self._kept.popleft()[1]) + _OVERHEAD

    def after(self, number: int) -> list[bytes]:
        """What has to be sent again when everything up to `number` has arrived. Raises `BadFrame`."""
        oldest = self._kept[0][0] if self._kept else self._newest + 1
        if not oldest - 1 <= number <= self._newest:
            raise BadFrame(f"frame {number} is not among those that are kept")
        return [made for kept, made in self._kept if kept > number]

    @property
    def empty(self) -> bool:
        return not self._kept


class Inbox:
    """How far frames have arrived."""

    def __init__(self) -> None:
        self.received = 0

    def take(self, number: int) -> bool:
        """Whether the frame is a new one. Raises `BadFrame` when one before it is missing."""
        if number > self.received + 1:
            raise BadFrame(f"frame {number} follows on {self.received}")
        if number <= self.received:
            return False
        self.received = number
        return True


def write_hello(fields: dict[str, Any], words: list[bytes], variables: list[bytes]) -> bytes:
    """Content of a HELLO. `words` and `variables` (``NAME=value``) may be any bytes but NUL."""
    head = json.dumps({**fields, "words": len(words), "variables": len(variables)}).encode()
    return head + b"\n" + b"\0".join([*words, *variables])


def read_hello(content: bytes) -> tuple[dict[str, Any], list[bytes], list[bytes]]:
    """Raises `BadFrame`."""
    head, _, rest = content.partition(b"\n")
    fields = read_json(head)
    words, variables = fields.get("words"), fields.get("variables")
    if not isinstance(words, int) or not isinstance(variables, int):
        raise BadFrame("a HELLO without words")
    parts = rest.split(b"\0") if words + variables else []
    if len(parts) != words + variables or words < 0 or variables < 0:
        raise BadFrame("a HELLO with other words than it says")
    return fields, parts[:words], parts[words:]


def read_json(content: bytes) -> dict[str, Any]:
    """Raises `BadFrame`."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadFrame("a frame that is no JSON") from error
    if not isinstance(found, dict):
        raise BadFrame("a frame that is no JSON object")
    return found
