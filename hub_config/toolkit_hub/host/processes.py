"""Processes on Linux: children that end with their parent, and who they are. Standard library only."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

__all__ = ["command_line", "die_with_parent", "socket_owner"]

PR_SET_PDEATHSIG = 1
#: State of a listening socket in /proc/net/tcp.
TCP_LISTEN = "0A"

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send this process a signal when its parent ends, however that happens; survives exec.

    Also fits `preexec_fn`. The parent must start it from its main thread, for the kernel watches the thread.
    """
    if _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def command_line(pid: int) -> str:
    """The command of a process, at most 120 characters; empty when it is gone or hidden."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace").strip()[:120]


def socket_owner(port: int) -> int | None:
    """Pid of a process that listens on a TCP port of this machine; None when /proc does not tell (another user's)."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and wanted & _open_sockets(entry.path):
            return int(entry.name)
    return None


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _open_sockets(process: str) -> set[str]:
    try:
        return {os.readlink(link.path) for link in os.scandir(f"{process}/fd")}
    except OSError:  # it ended, or belongs to another user
        return set()
