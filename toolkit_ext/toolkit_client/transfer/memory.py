"""Memory that is used again instead of being taken anew."""

from __future__ import annotations

__all__ = ["keep_freed_memory"]

#: More than the blocks of a transfer have.
_LARGE = 16 * 2**20


def keep_freed_memory() -> None:
    """Let the process keep what it frees of the blocks of a transfer, for the next ones.

    By default, glibc hands a block of more than 128 KiB back to the system when it is freed, and the next one comes zeroed, page
    by page: with content that passes through block by block, this takes as long as all else that is done with it. It goes by
    the largest block that was ever freed (mallopt(3), ``M_MMAP_THRESHOLD``), so one that is larger than those to come, and
    that is never written to, is freed here.
    """
    bytes(_LARGE)
