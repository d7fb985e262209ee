"""The file rights of the jobs' user, taken on by one thread: what it opens then, a job could open as well.

Linux has the user id for file access, the *fsuid*, for each thread (credentials(7)); with one that is not root's, the thread
has no power over permissions either.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Iterator

from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID

__all__ = ["as_jobs_user", "become_jobs_user"]


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def become_jobs_user() -> None:
    """Give the present thread the file rights of uid 13011, for good. Without root there is nothing to give up.

    Raises:
        PermissionError: it did not work.
    """
    if os.geteuid() == 0:
        _set(CONTAINER_UID, CONTAINER_GID)


@contextlib.contextmanager
def as_jobs_user() -> Iterator[None]:
    """The same, while the block runs."""
    if os.geteuid() != 0:
        yield
        return
    _set(CONTAINER_UID, CONTAINER_GID)
    try:
        yield
    finally:
        _set(0, 0)


def _set(uid: int, gid: int) -> None:
    libc = _libc()
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    # It answers with the id that was in force before: asked twice, with the new one.
    if libc.setfsuid(uid) != uid or libc.setfsgid(gid) != gid:
        raise PermissionError("the thread could not take on the jobs' user")
