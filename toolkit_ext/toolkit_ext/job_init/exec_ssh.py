"""A connection of ssh's own: the gate's connection becomes standard input and output of an sshd that serves nothing else.

So nothing of ours stands between the two ends. Before that the client sends one line, JSON with its public keys (`keys`, which
may come in by this connection) and the name of its agent, if it passes one on (`agent`); it is answered by one line: `host_key`
and `user`, or a `problem` in words.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

from toolkit_ext.apps.places import private_folder
from toolkit_ext.apps.ssh_keys import LONGEST_KEYS, KeyProblem, SshKeys
from toolkit_ext.job_init.processes import AT_DEFAULT, report

__all__ = ["HELLO_S", "start_ssh"]

#: Seconds for the client's line.
HELLO_S = 30
_LONGEST_LINE = LONGEST_KEYS + 4096
_LAST_DESCRIPTOR = 1 << 20


def start_ssh(connection: socket.socket, environment: dict[bytes, bytes]) -> int:
    """Fork a process that serves the connection; its pid. Raises `OSError`.

    A fork has all modules loaded: a new Python would take longer than all the rest.
    """
    private_folder()  # where /dev/shm is no use it makes a folder, which all connections are to share
    pid = os.fork()
    if pid == 0:
        try:
            _serve(connection, environment)
        except BaseException as error:
            report(f"an ssh connection failed: {error!r}")
        finally:
            os._exit(1)
    return pid


def _serve(connection: socket.socket, environment: dict[bytes, bytes]) -> None:
    signal.set_wakeup_fd(-1)
    for number in AT_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(HELLO_S)
    os.setsid()
    connection.setblocking(True)
    for number in (0, 1):
        os.dup2(connection.fileno(), number)
    # The other connections are not this process's to hold open.
    os.closerange(3, _LAST_DESCRIPTOR)
    os.environb.clear()
    os.environb.update(environment)
    os.chdir("/")
    client = socket.socket(fileno=0)
    try:
        words, answer = _prepared(_line(client))
    except (KeyProblem, OSError, ValueError) as error:
        client.sendall(json.dumps({"problem": str(error)[:1000]}).encode() + b"\n")
        return
    client.sendall(json.dumps(answer).encode() + b"\n")
    signal.alarm(0)
    os.execve(words[0], words, {"PATH": "/nowhere"})  # noqa: S606


def _line(client: socket.socket) -> bytes:
    """The first line, and no byte more: the next one is sshd's. Raises `ValueError`, `OSError`."""
    line = b""
    while not line.endswith(b"\n"):
        seen = client.recv(_LONGEST_LINE, socket.MSG_PEEK)
        if not seen or len(line) > _LONGEST_LINE:
            raise ValueError("the first line is not whole")
        line += client.recv(seen.find(b"\n") + 1 or len(seen))
    return line


def _prepared(line: bytes) -> tuple[list[str], dict[str, Any]]:
    """sshd's command line, and what the client is told. Raises `KeyProblem`, `ValueError`, `OSError`."""
    asked = json.loads(line)
    if not isinstance(asked, dict) or not isinstance(asked.get("keys"), list):
        raise ValueError("the first line is none of the toolkit's")
    keys = SshKeys(Path.home())
    keys.prepare()
    words = keys.for_caller("\n".join(str(key) for key in asked["keys"]), str(asked.get("agent") or ""))
    return words, {"host_key": keys.host_key(), "user": "toolkit"}
