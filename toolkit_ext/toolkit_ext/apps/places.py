"""Where things are in a job's container: the runtime folder, the job server's own files, the image's shell."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["RUNTIME", "private_folder", "session_environment", "shell"]

#: Read-only, the same for every job.
RUNTIME = Path("/opt/toolkit")
#: The container's own memory: it is there in any image, no other job shares it, and it goes with the container.
PRIVATE = Path("/dev/shm/toolkit")  # noqa: S108
#: Where programs look for descriptions of terminals; the image's own come first.
TERMINFO = ("/etc/terminfo", "/lib/terminfo", "/usr/lib/terminfo", "/usr/share/terminfo", f"{RUNTIME}/termin")


@cache
def private_folder() -> Path:
    """The folder for keys, sockets and settings of this container, closed to others."""
    try:
        PRIVATE.mkdir(mode=0o700, exist_ok=True)
        if PRIVATE.is_symlink() or PRIVATE.stat().st_uid != os.getuid():
            raise PermissionError
        PRIVATE.chmod(0o700)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="toolkit-"))
    return PRIVATE


def shell() -> str:
    """The best shell of the image, or the runtime's. Not as a log-in shell: those forget the image's PATH."""
    found = (shutil.which(name) for name in ("bash", "ash", "sh"))
    return next((path for path in found if path), f"{RUNTIME}/libexec/sh")


def session_environment() -> dict[str, str]:
    """What a terminal gets on top of the job's environment."""
    extra = {"SHELL": shell(), "TERMINFO_DIRS": os.environ.get("TERMINFO_DIRS") or ":".join(TERMINFO)}
    if private_folder() != PRIVATE:
        extra["TOOLKIT_TMUX"] = str(private_folder() / "tmux")
    return extra
