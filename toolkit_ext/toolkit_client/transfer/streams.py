"""Large files on connections of their own, beside the main stream: one connection is slower than most networks and machines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

from toolkit_client.transfer.link import Interrupted
from toolkit_client.transfer.sender import Wanted
from toolkit_client.transfer.walk import FILE

__all__ = ["LARGE", "STREAMS", "SideStreams", "folders_above"]

#: Bytes from which on a file goes beside.
LARGE = 32 * 2**20
#: Files beside the main stream at a time; when all are busy, the main stream takes the next one itself.
STREAMS = 3

SumsT = TypeVar("SumsT")
ItemT = TypeVar("ItemT")


class SideStreams(Generic[SumsT]):
    """`move` moves one file and returns its sums, in a thread. Leaving the block ends what is still under way."""

    def __init__(self, move: Callable[[Wanted], SumsT]) -> None:
        self._move = move
        self._pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="toolkit-transfer")
        self._pending: set[Future[SumsT]] = set()
        self._stop = threading.Event()
        self.sums: list[SumsT] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, item: Wanted) -> bool:
        """Move this file beside, if it is worth it and there is a free place. Raises what an earlier one has failed with."""
        if item.entry.kind != FILE or item.remove or item.only_mode or item.entry.size < LARGE:
            return False
        self._collect(0)
        if len(self._pending) >= STREAMS:
            return False
        self._pending.add(self._pool.submit(self._move, item))
        return True

    def finished(self, seconds: float) -> bool:
        """Wait so long at most; whether all that was taken is moved. Raises what one has failed with."""
        self._collect(seconds)
        return not self._pending

    def as_long_as_wished(self, pieces: Iterable[ItemT]) -> Iterator[ItemT]:
        """The same pieces, until the whole transfer is given up. Raises Interrupted then."""
        for piece in pieces:
            if self._stop.is_set():
                raise Interrupted("the transfer was given up", "")
            yield piece

    def _collect(self, seconds: float) -> None:
        done, self._pending = wait(self._pending, seconds, FIRST_COMPLETED)
        self.sums += [future.result() for future in done]


def folders_above(path: bytes) -> Iterator[bytes]:
    """The folders that a path lies in, the innermost first."""
    while b"/" in path:
        path = path[: path.rindex(b"/")]
        yield path
