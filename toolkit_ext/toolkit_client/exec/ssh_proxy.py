"""Handing a connection to OpenSSH.

Where the connection is a plain socket, ssh gets the socket itself (``ProxyUseFdpass``) and nothing of ours stands between it and
the gate. Where it is TLS, or the program that asks is another one, a process of ours carries the bytes.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import shlex
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from toolkit_client.exec.channel import Channel
from toolkit_client.exec.forward import splice

__all__ = ["carry_standard", "give_socket", "offer_socket", "wants_socket"]

#: Seconds between two looks whether the ssh that a connection is for is still there.
_LOOK_S = 0.5
_ROOM = 256 * 1024


def wants_socket() -> bool:
    """Whether standard input and output are one unix socket, as ssh makes them with ``ProxyUseFdpass``."""
    try:
        first, second = os.fstat(0), os.fstat(1)
        if not stat.S_ISSOCK(first.st_mode) or (first.st_dev, first.st_ino) != (second.st_dev, second.st_ino):
            return False
        with socket.socket(fileno=os.dup(1)) as found:
            return found.family == socket.AF_UNIX
    except OSError:
        return False


def give_socket(channel: Channel) -> None:
    """To the ssh whose ``ProxyUseFdpass`` this process is. When it returns, this process should end; raises `OSError`."""
    with socket.socket(fileno=os.dup(1)) as ssh:
        _send(ssh, _plain(channel))


def offer_socket(channel: Channel) -> str:
    """The words of a ProxyCommand by which ssh, which this process is about to become, gets the connection.

    ssh closes all descriptors that it is started with; so a process of its own keeps the connection until it is fetched.
    """
    # Short, for a unix socket's path has 107 bytes at most; `tempfile` would take longer to load than all of this.
    folder = Path(os.environ.get("TMPDIR") or "/tmp") / f"toolkit-ssh-{os.urandom(8).hex()}"  # noqa: S108
    folder.mkdir(mode=0o700)
    place = folder / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen(1)
    ours = os.getpid()
    if not _in_background(lambda: _wait_for_ssh(listener, channel, ours, folder)):
        listener.close()
        channel.close()
    script = Path(__file__).with_name("fetch_socket.py")
    words = [sys.executable, "-I", "-S", str(script), str(place)]
    return shlex.join(words).replace("%", "%%")


def carry_standard(channel: Channel) -> None:
    """Pass bytes between the connection and standard input and output, until both directions have ended or one has broken."""
    to_job, to_here = bytearray(), bytearray()
    input_over = told = output_over = False
    os.set_blocking(1, False)
    with contextlib.suppress(OSError):
        while not output_over or to_here:
            wanted = {channel.fileno(): select.POLLOUT if to_job else 0}
            if not output_over and len(to_here) < _ROOM:
                wanted[channel.fileno()] |= select.POLLIN
            if to_here:
                wanted[1] = select.POLLOUT
            if not input_over and len(to_job) < _ROOM:
                wanted[0] = select.POLLIN
            ready = _ready(wanted, at_once=channel.holds and wanted[channel.fileno()] & select.POLLIN != 0)
            if ready.get(1, 0) & select.POLLERR:
                return
            if 0 in ready:
                data = os.read(0, _ROOM)
                input_over = not data
                to_job += data
            if ready.get(channel.fileno(), 0) & ~select.POLLOUT or channel.holds:
                received = channel.receive()
                output_over = received == b""
                to_here += received or b""
            if to_here:
                with contextlib.suppress(BlockingIOError):
                    del to_here[: os.write(1, to_here)]
            if to_job:
                del to_job[: channel.send(to_job)]
            if input_over and not to_job and not told:
                told = True
                channel.end()
    channel.close()


def _ready(wanted: dict[int, int], *, at_once: bool) -> dict[int, int]:
    poll = select.poll()
    for fd, events in wanted.items():
        if events:
            poll.register(fd, events)
    return dict(poll.poll(0 if at_once else None))


# --- one socket for ssh ------------------------------------------------------------------------------------------------


def _plain(channel: Channel) -> socket.socket:
    """A socket whose bytes are the stream's: the connection itself, or one end of a pair that is joined with it."""
    if channel.plain is not None:
        channel.plain.setblocking(True)
        return channel.plain
    theirs, ours = socket.socketpair()
    if _in_background(lambda: _join(channel, theirs, ours)):
        raise AssertionError("the child does not come here")
    ours.close()
    return theirs


def _join(channel: Channel, theirs: socket.socket, ours: socket.socket) -> None:
    theirs.close()
    with contextlib.suppress(OSError):
        splice(channel, ours)


def _wait_for_ssh(listener: socket.socket, channel: Channel, ssh: int, folder: Path) -> None:
    """Until it fetches the connection, or is gone."""
    listener.settimeout(_LOOK_S)
    try:
        while os.getppid() == ssh:
            with contextlib.suppress(TimeoutError):
                asking, _ = listener.accept()
                break
        else:
            return
    finally:
        (folder / "socket").unlink(missing_ok=True)
        folder.rmdir()
    with asking:
        asking.setblocking(True)
        _send(asking, _plain(channel))


def _send(where: socket.socket, what: socket.socket) -> None:
    """As OpenSSH takes it (its monitor_fdpass.c): one descriptor with one byte."""
    where.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [what.fileno()]))])


def _in_background(work: Callable[[], None]) -> bool:
    """Do it in a child that holds none of this process's streams and gets none of the terminal's signals; False here."""
    if os.fork() != 0:
        return False
    code = 1
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        work()
        code = 0
    finally:
        os._exit(code)
