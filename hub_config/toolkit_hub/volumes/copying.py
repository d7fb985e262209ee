"""From one open file into another: shared blocks where the file system has them, else a copy in which holes stay holes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator

__all__ = ["Tick", "clone", "copy_content", "open_regular", "same_content"]

#: Called before so many bytes are read; raises to end the work.
Tick = Callable[[int], None]

FICLONE = 0x40049409
#: Bytes between two ticks.
AT_ONCE = 16 * 2**20
COMPARED_AT_ONCE = 2**20
#: What says that two files cannot share blocks, here or at all.
_NO_CLONE = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EBADF, errno.EPERM}
)
_NO_KERNEL_COPY = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EBADF})

_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
#: Without waiting: what was a file a moment ago may be a FIFO by now, which nobody ever writes to.
_LOOKING = _READING | os.O_NONBLOCK


def open_regular(name: bytes, folder: int) -> int | None:
    """A descriptor of a regular file in an open folder; None when the name is gone or means something else by now.

    Raises:
        BlockingIOError: somebody holds a lease on the file, which is being broken by this try.
        OSError: it cannot be read.
    """
    try:
        file = os.open(name, _LOOKING, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV):
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def clone(source: int, target: int) -> bool:
    """Let `target` have the blocks of `source`, until one of them is written to. False where that is not possible."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def copy_content(source: int, target: int, size: int, tick: Tick) -> None:
    """The first `size` bytes of `source` into the empty `target`, which is as long afterwards, or shorter if the source is.

    Raises `OSError`, and what `tick` raises.
    """
    end = 0
    for start, stop in _extents(source, size):
        end = _copy_range(source, target, start, stop, tick)
        if end < stop:
            break  # it was cut while it was copied
    os.ftruncate(target, min(size, max(end, os.fstat(source).st_size)))


def _extents(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Where data lies, below `size`."""
    at = 0
    while at < size:
        try:
            start = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole from here on
            raise
        if start >= size:
            return
        stop = min(os.lseek(file, start, os.SEEK_HOLE), size)
        if stop <= start:
            return  # it was cut between the two questions
        yield start, stop
        at = stop


def _copy_range(source: int, target: int, start: int, stop: int, tick: Tick) -> int:
    """Gives where it came to an end."""
    in_kernel = True
    while start < stop:
        amount = min(AT_ONCE, stop - start)
        tick(amount)
        if in_kernel:
            try:
                done = os.copy_file_range(source, target, amount, start, start)
            except OSError as error:
                if error.errno not in _NO_KERNEL_COPY:
                    raise
                in_kernel = False
                continue
        else:
            done = _copy_by_hand(source, target, min(amount, COMPARED_AT_ONCE), start)
        if done == 0:
            break
        start += done
    return start


def _copy_by_hand(source: int, target: int, amount: int, at: int) -> int:
    read = os.pread(source, amount, at)
    written = 0
    while written < len(read):
        written += os.pwrite(target, read[written:], at + written)
    return written


def same_content(one: int, other: int, size: int, tick: Tick) -> bool:
    """Whether both files begin with the same `size` bytes. Raises `OSError`, and what `tick` raises."""
    at = 0
    while at < size:
        amount = min(COMPARED_AT_ONCE, size - at)
        tick(amount)
        read = os.pread(one, amount, at)
        if not read or read != os.pread(other, len(read), at):
            return False
        at += len(read)
    return True
