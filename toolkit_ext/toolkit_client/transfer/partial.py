"""Half-sent files: each is locked by whoever writes it."""

from __future__ import annotations

import fcntl
import os

__all__ = ["PartialBusy", "open_partial"]

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class PartialBusy(Exception):
    """Somebody else writes the same file just now."""


def open_partial(staging: int, name: str) -> int:
    """A descriptor of the half-sent file `name`, which is made if there is none, locked until it is closed.

    Raises:
        PartialBusy: somebody else has it.
        OSError: it cannot be made.
    """
    while True:
        file = os.open(name, _FLAGS, 0o600, dir_fd=staging)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between the two it may have become whole, and been renamed to its place: that one is not ours to write in.
            if os.path.samestat(os.fstat(file), os.stat(name, dir_fd=staging, follow_symlinks=False)):
                return file
        except BlockingIOError:
            os.close(file)
            raise PartialBusy from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)
