"""Runs commands in a job's container for those whom the gate lets in, and connects them with the job's own ports.

PID 1 starts it at the first request. It imports nothing of the image and needs nothing of it: a command runs as soon as its
frames are here, in an image with a shell or without. It ends when nobody has needed it for a while, and is started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from typing import Any

from toolkit_ext.job_init.exec_frames import VERSION, WELCOME, BadFrame, frame
from toolkit_ext.job_init.exec_link import Link, Refused
from toolkit_ext.job_init.exec_loop import IN, Loop
from toolkit_ext.job_init.exec_program import NotStarted, Request, start
from toolkit_ext.job_init.exec_session import Session
from toolkit_ext.job_init.exec_splice import Splice
from toolkit_ext.job_init.run_file import Run

__all__ = ["MOST_LINKS", "MOST_SESSIONS", "MOST_SSH", "ExecServer", "serve"]

MOST_SESSIONS, MOST_LINKS, MOST_SSH = 256, 1024, 256
#: Bytes in each direction that are kept for a session: the first few, and the others.
WINDOWS = (2**20, 256 * 1024)
WIDE_SESSIONS = 24
#: Seconds that a command may live on without its client: at most, and when the client does not say.
LONGEST_KEEP_S, USUAL_KEEP_S = 86400.0, 300.0
#: Seconds without a connection or a session after which this program ends.
IDLE_S = 600.0


class ExecServer:
    """All sessions of one run."""

    def __init__(self, listener: socket.socket, run: Run, environment: dict[bytes, bytes]) -> None:
        self._listener, self._run, self._environment = listener, run, environment
        self._loop = Loop()
        self._loop.on_child = self._child_ended
        self._sessions: dict[str, Session] = {}
        self._by_pid: dict[int, Session] = {}
        self._links: set[Link] = set()
        self._splices: set[Splice] = set()
        #: Processes that serve a connection of ssh's each.
        self._ssh: set[int] = set()
        self._busy_at = time.monotonic()
        listener.setblocking(False)
        self._loop.watch(listener.fileno(), IN, self._accept)

    def run_until_idle(self) -> None:
        while True:
            now = time.monotonic()
            if self._sessions or self._links or self._splices or self._ssh:
                self._busy_at = now
            elif now >= self._busy_at + IDLE_S:
                return
            self._loop.turn(max(0.0, self._next_deadline() - now))
            self._check(time.monotonic())

    def _next_deadline(self) -> float:
        timed: list[Link | Session | Splice] = [*self._links, *self._sessions.values(), *self._splices]
        deadlines = [each.deadline for each in timed]
        return min([when for when in deadlines if when is not None], default=self._busy_at + IDLE_S)

    def _check(self, now: float) -> None:
        for link in [link for link in self._links if link.deadline <= now]:
            link.close()
        for splice in list(self._splices):
            splice.check(now)
        for session in list(self._sessions.values()):
            session.check(now)
            if session.over:
                del self._sessions[session.name]
                session.close()

    def _accept(self, events: int) -> None:
        for _ in range(64):
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if len(self._links) >= MOST_LINKS:
                connection.close()
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links.add(Link(self._loop, connection, self._run.secret, self))

    def _child_ended(self, pid: int, code: int) -> None:
        self._ssh.discard(pid)
        session = self._by_pid.pop(pid, None)
        if session is not None:
            session.ended(code)

    # --- what links ask for -------------------------------------------------------------------------------------------

    def attach(
        self, link: Link, user: str, hello: dict[str, Any], words: list[bytes], variables: list[bytes]
    ) -> Session:
        """The session that a HELLO means; a new one with its command started, if it may. Raises `Refused`, `BadFrame`."""
        if hello.get("version") != VERSION:
            raise Refused("version", f"this job's exec speaks version {VERSION}", "use a client of the site's version")
        name, received = hello.get("session"), hello.get("received")
        if not isinstance(name, str) or not 16 <= len(name) <= 64 or not isinstance(received, int):
            raise BadFrame("a HELLO without a session")
        session, new, size = self._sessions.get(name), False, None
        if session is None:
            if not hello.get("start"):
                raise Refused(
                    "gone",
                    "this command's session is no more",
                    "its client was away for too long, or exec was restarted",
                )
            if received:
                raise BadFrame("a HELLO that begins in the middle")
            size = _size(hello)
            session, new = self._new(name, user, hello), True
        elif session.user != user:
            raise Refused("gone", "this command's session is no more")
        welcome = {"received": session.inbox.received, "window": session.window}
        link.send(frame(WELCOME, 0, json.dumps(welcome).encode()))
        session.attach(link, received)
        if new:
            self._start(session, Request(words, variables, str(hello.get("folder") or ""), size))
        return session

    def _new(self, name: str, user: str, hello: dict[str, Any]) -> Session:
        if len(self._sessions) >= MOST_SESSIONS:
            raise Refused("busy", f"{MOST_SESSIONS} commands run in this job already", "wait for some of them to end")
        keep = hello.get("keep", USUAL_KEEP_S)
        if keep is not None and not isinstance(keep, int | float):
            raise BadFrame("a HELLO with an odd time")
        window = WINDOWS[len(self._sessions) >= WIDE_SESSIONS]
        limited = None if keep is None else min(max(float(keep), 0.0), LONGEST_KEEP_S)
        session = self._sessions[name] = Session(self._loop, name, user, window, limited)
        return session

    def _start(self, session: Session, request: Request) -> None:
        try:
            program = start(request, self._environment, self._run.workdir)
        except NotStarted as error:
            session.fail(error.code, error.reason)
            return
        except ValueError as error:  # a folder with a NUL in its name
            session.fail(126, f"cannot run this: {error}")
            return
        self._by_pid[program.pid] = session
        session.run(program)

    def connect(self, link: Link, port: int) -> None:
        """Join the link's connection with one of the job's ports."""
        self._links.discard(link)
        connection = link.release()
        own = connection.getsockname()[0]
        if not 0 < port < 65536:
            connection.close()
            return
        splice = Splice(self._loop, connection, ["127.0.0.1", own, "::1"], port, self._splices.discard)
        self._splices.add(splice)

    def ssh(self, link: Link) -> None:
        """Give the link's connection to a process that becomes its sshd."""
        from toolkit_ext.job_init.exec_ssh import start_ssh  # commands do not need it

        self._links.discard(link)
        with link.release() as connection, contextlib.suppress(BlockingIOError):
            if len(self._ssh) >= MOST_SSH:
                connection.send(f"refused: {MOST_SSH} ssh connections are open in this job already\n".encode())
                return
            connection.send(b"ssh\n")
            self._ssh.add(start_ssh(connection, self._environment))

    def gone(self, link: Link) -> None:
        self._links.discard(link)


def _size(hello: dict[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of the terminal that is asked for, if one is. Raises `BadFrame`."""
    size = hello.get("terminal")
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(each, int) and each >= 0 for each in size):
        raise BadFrame("a HELLO with an odd terminal")
    return size[0], size[1]


def serve(listener: socket.socket, run: Run, environment: dict[bytes, bytes]) -> None:
    """Until nobody has needed it for a while."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(0o022)
    ExecServer(listener, run, environment).run_until_idle()
