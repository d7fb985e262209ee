"""A staging folder that several transfers write in at a time: what a killed one has left is told from what one still needs.

Files of the moment have a name for milliseconds, so they have no locks of their own. Whoever makes some holds the folder
(`flock`, shared); where nobody does, those that are there belong to nobody. Locks end with their process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os

__all__ = ["MOMENT", "clear_unused", "hold", "release"]

#: How the names of files of the moment begin.
MOMENT = "t-"


def hold(staging: int) -> None:
    """Hold the folder until `release`, or until the descriptor `staging` is closed, which nobody else may use.

    What nobody uses is cleared before. Waits only while another one clears. Raises OSError.
    """
    clear_unused(staging)
    fcntl.flock(staging, fcntl.LOCK_SH)


def release(staging: int) -> None:
    """The end of `hold`. Whoever is the last one clears what could not be cleared when it began."""
    clear_unused(staging)
    with contextlib.suppress(OSError):
        fcntl.flock(staging, fcntl.LOCK_UN)


def clear_unused(staging: int) -> bool:
    """Remove the files of the moment, unless somebody else holds the folder; returns whether nobody does.

    The descriptor has the folder for itself afterwards, until it is locked in another way or closed.
    """
    try:
        fcntl.flock(staging, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held; or the file system has no such locks, and nobody can know
        return False
    for name in os.listdir(staging):
        if name.startswith(MOMENT):
            with contextlib.suppress(OSError):  # the next one tries again
                os.unlink(name, dir_fd=staging)
    return True
