"""A server that says again what it is told, in a program of its own, and what a test needs to reach it."""

from __future__ import annotations

import socket

__all__ = ["ECHO", "free_port"]

#: `echo PORT` on loopback, or `echo /PATH` on a unix socket.
ECHO = """import socket, sys
listener = socket.socket(socket.AF_UNIX if sys.argv[1].startswith("/") else socket.AF_INET)
listener.bind(sys.argv[1] if sys.argv[1].startswith("/") else ("127.0.0.1", int(sys.argv[1])))
listener.listen()
while True:
    one = listener.accept()[0]
    one.sendall(b"echo " + one.recv(100)); one.close()
"""


def free_port() -> int:
    """One of loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
