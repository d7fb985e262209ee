"""The caller's ssh agent: which keys it has, and passing it on to a job as long as a forwarding lives.

Of the protocol (draft-ietf-sshm-ssh-agent): messages of a length, a type and content; each request is answered in its turn. What
is passed on is listing, signing and extensions (OpenSSH binds a session to its keys by one); what would change the agent is
refused here, since a job has no business with that.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from toolkit_client.errors import ToolkitError
from toolkit_client.exec.channel import EXEC_PROTOCOL, open_channel
from toolkit_client.exec.session import Command, CommandSession, OutputGone
from toolkit_client.exec.streams import Descriptors
from toolkit_ext.apps.agent_relay import Frames, frame
from toolkit_ext.apps.ssh_keys import KeyProblem, public_keys

__all__ = ["AgentRelay", "agent_keys", "agent_place", "public_key_files"]

_LENGTH = struct.Struct(">I")
_FAILURE, _LIST, _LISTED, _SIGN, _EXTENSION = 5, 11, 12, 13, 27
_LONGEST = 256 * 1024
#: Seconds for the agent to list its keys; to sign it may ask a person.
_LIST_S = 5.0
#: Seconds that a job may wait for the socket, and the relay lives on without its client.
READY_S, KEEP_S = 10.0, 60.0
_MOST_FILES, _LONGEST_FILE = 100, 16 * 1024
_PROGRAM = ["/opt/toolkit/base/bin/python3", "-I", "-S", "-m", "toolkit_ext.apps.agent_relay"]


def agent_place() -> str | None:
    """The socket of the caller's agent, if there is one."""
    return os.environ.get("SSH_AUTH_SOCK") or None


def agent_keys() -> list[str]:
    """The public keys that the agent has, as lines; none when there is no agent or it does not answer."""
    place = agent_place()
    if place is None:
        return []
    try:
        with socket.socket(socket.AF_UNIX) as agent:
            agent.settimeout(_LIST_S)
            agent.connect(place)
            agent.sendall(_LENGTH.pack(1) + bytes([_LIST]))
            return _listed(_message(agent))
    except (OSError, ValueError, struct.error):
        return []


def public_key_files() -> list[str]:
    """The lines of ``~/.ssh/*.pub``."""
    found = []
    with contextlib.suppress(OSError):
        for path in sorted((Path.home() / ".ssh").glob("*.pub"))[:_MOST_FILES]:
            with contextlib.suppress(OSError, ValueError):
                if path.stat().st_size <= _LONGEST_FILE:
                    found += [line for line in path.read_text("ascii").splitlines() if _is_key(line)]
    return found


def _is_key(line: str) -> bool:
    """Whether a job would take it. Certificates come by the key that they are for."""
    try:
        return public_keys(line) != []
    except KeyProblem:
        return False


def _listed(answer: bytes) -> list[str]:
    if answer[:1] != bytes([_LISTED]):
        return []
    found, place = [], 5
    for _ in range(_LENGTH.unpack_from(answer, 1)[0]):
        blob, place = _string(answer, place)
        _, place = _string(answer, place)
        kind, _ = _string(blob, 0)
        line = f"{kind.decode('ascii')} {base64.b64encode(blob).decode()}"
        if _is_key(line):
            found.append(line)
    return found


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    begin = place + _LENGTH.size
    end = begin + int(_LENGTH.unpack_from(data, place)[0])
    if end > len(data):
        raise ValueError("an agent's message that is too short")
    return data[begin:end], end


def _message(agent: socket.socket) -> bytes:
    """The next message, without its length. Raises `OSError`, `ValueError`."""
    length = _LENGTH.unpack(_exactly(agent, _LENGTH.size))[0]
    if not 0 < length <= _LONGEST:
        raise ValueError("an agent's message of an odd length")
    return _exactly(agent, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the agent closed the connection")
        data += piece
    return data


class AgentRelay:
    """Passes the caller's agent on to one job. Starts its program there when it is asked for, and again where that has ended."""

    def __init__(self, url: Callable[[], str], token: str, tell: Callable[[str], None]) -> None:
        """`url` gives the address of the job's exec; `tell` gets a line when the agent cannot be passed on."""
        self._url, self._token, self._tell = url, token, tell
        #: Nobody can guess it, and it goes with this object.
        self.name = secrets.token_urlsafe(16)
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def ensure(self) -> bool:
        """Whether the job has the socket now. Blocks for some seconds at most."""
        with self._lock:
            if self._running is None or self._running.over:
                self._running = _Running(self._url, self._token, self.name, self._tell)
            return self._running.ready()

    def close(self) -> None:
        """Have the socket taken away."""
        with self._lock:
            if self._running is not None:
                self._running.close()


class _Running:
    """One start of the program in the job."""

    def __init__(self, url: Callable[[], str], token: str, name: str, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._is_ready = threading.Event()
        self.over = False
        self._write_lock = threading.Lock()
        self._agents: dict[int, _AgentLink] = {}
        theirs_in, self._to_job = os.pipe()
        self._from_job, theirs_out = os.pipe()
        self._wakeup, self._wake = socket.socketpair()
        command = Command([os.fsencode(word) for word in [*_PROGRAM, name]], keep=KEEP_S)
        nothing = os.open(os.devnull, os.O_WRONLY)
        streams = Descriptors(stdin=theirs_in, stdout=theirs_out, stderr=nothing)
        self._session = CommandSession(lambda: open_channel(url(), token, EXEC_PROTOCOL), command, streams)
        self._session.wakeup = self._wakeup.fileno()
        self._ends = (theirs_in, theirs_out, nothing)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        threading.Thread(target=self._read, daemon=True).start()

    def ready(self) -> bool:
        return self._is_ready.wait(READY_S) and not self.over

    def close(self) -> None:
        self._session.leave()
        self._wake.send(b"x")
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            _, reason = self._session.run()
            problem = reason
        except OutputGone:
            problem = ""
        except ToolkitError as error:
            problem = error.message
        self.over = True
        self._is_ready.set()
        if problem:
            self._tell(f"your ssh agent is not passed on: {problem}")
        for fd in self._ends:
            os.close(fd)

    def _read(self) -> None:
        frames = Frames()
        while data := os.read(self._from_job, 64 * 1024):
            for number, content in frames.feed(data):
                if number == 0:
                    self._is_ready.set()
                elif content:
                    link = self._agents.get(number) or self._agents.setdefault(number, _AgentLink(number, self.send))
                    link.take(content)
                elif (gone := self._agents.pop(number, None)) is not None:
                    gone.close()
        for link in self._agents.values():
            link.close()
        with self._write_lock:
            for fd in (self._from_job, self._to_job):
                os.close(fd)
            self._to_job = -1

    def send(self, number: int, data: bytes) -> None:
        with self._write_lock, contextlib.suppress(OSError):
            rest = memoryview(frame(number, data))
            while rest:
                rest = rest[os.write(self._to_job, rest) :]


class _AgentLink:
    """One connection that a program in the job has made, and ours to the agent for it: sessions may be bound to it."""

    def __init__(self, number: int, answer: Callable[[int, bytes], None]) -> None:
        self._number, self._answer = number, answer
        self._received = bytearray()
        self._more = threading.Condition()
        self._closed = False
        threading.Thread(target=self._serve, daemon=True).start()

    def take(self, data: bytes) -> None:
        with self._more:
            if len(self._received) < 2 * _LONGEST:
                self._received += data
            self._more.notify()

    def close(self) -> None:
        with self._more:
            self._closed = True
            self._more.notify()

    def _serve(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX) as agent:
                agent.connect(agent_place() or "")
                while (request := self._next()) is not None:
                    if request[0] in (_LIST, _SIGN, _EXTENSION):
                        agent.sendall(_LENGTH.pack(len(request)) + request)
                        answer = _message(agent)
                    else:
                        answer = bytes([_FAILURE])
                    self._answer(self._number, _LENGTH.pack(len(answer)) + answer)
        except (OSError, ValueError):
            pass
        self._answer(self._number, b"")

    def _next(self) -> bytes | None:
        """The next request; None at the end. Raises `ValueError`."""
        with self._more:
            while True:
                if len(self._received) >= _LENGTH.size:
                    length = int(_LENGTH.unpack_from(self._received)[0])
                    if not 0 < length <= _LONGEST:
                        raise ValueError("a request of an odd length")
                    end = _LENGTH.size + length
                    if len(self._received) >= end:
                        request = bytes(self._received[_LENGTH.size : end])
                        del self._received[:end]
                        return request
                if self._closed:
                    return None
                self._more.wait()
