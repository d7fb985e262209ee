"""What may still be written: the account's room, and the floor of free space that the machine keeps."""

from __future__ import annotations

import os
from datetime import datetime

from toolkit_client.errors import InsufficientStorage
from toolkit_hub.domain.data_usage import Room

__all__ = ["Budget"]

#: Bytes that are written before the free space is looked at again.
_LOOK_EVERY = 64 * 2**20


class Budget:
    """One for each push. Its numbers are set in the event loop, and used in the thread that writes."""

    def __init__(self, room: Room, folder: int, floor: float) -> None:
        """`folder` is a descriptor on the file system that is written to, `floor` the GiB that stay free on it."""
        self._folder = folder
        self._floor = int(floor * 2**30)
        self._unseen = _LOOK_EVERY
        self.renew(room)

    def renew(self, room: Room) -> None:
        """The room as it is now, with all that was written and noted until now."""
        self._room = room
        self._bytes_left, self._files_left = room.bytes_left, room.files_left

    def take(self, size: int) -> None:
        """Called before a file of `size` bytes is written, or the rest of one. Raises `InsufficientStorage`."""
        if self._bytes_left is not None:
            self._bytes_left -= size
            if self._bytes_left < 0:
                raise _over_quota(self._room.bytes_limit or 0, "bytes of disk space", self._room.as_of)
        if self._files_left is not None:
            self._files_left -= 1
            if self._files_left < 0:
                raise _over_quota(self._room.files_limit or 0, "files and folders", self._room.as_of)
        self._unseen += size
        if self._unseen >= _LOOK_EVERY:
            self._unseen = 0
            self._look(size)

    def _look(self, size: int) -> None:
        found = os.fstatvfs(self._folder)
        if found.f_bavail * found.f_frsize - size < self._floor:
            raise InsufficientStorage(
                f"the site's disk is full: less than {self._floor / 2**30:g} GiB would stay free on it",
                "what has arrived is kept; go on when an administrator has made room",
            )


def _over_quota(limit: int, what: str, as_of: datetime | None) -> InsufficientStorage:
    when = f" (measured {as_of:%H:%M} UTC)" if as_of else ""
    return InsufficientStorage(
        f"the account's quota of {limit} {what} is reached{when}",
        "what has arrived is kept; remove content or old versions, or ask an administrator: `toolkit quota ls`",
    )
