"""How a transfer is watched: it tells, and whoever runs it shows."""

from __future__ import annotations

import threading

__all__ = ["OneAtATime", "Progress"]


class Progress:
    """What happens, told as it happens; this one shows nothing. Calls come one at a time."""

    #: Whether somebody wants to know how much there is in all, which takes a look at everything first.
    wants_total = False

    def total(self, files: int, size: int) -> None:
        """So much there is, in bytes; most of it may be there already."""

    def passed(self, files: int, size: int) -> None:
        """So much has gone over the wire."""

    def there(self, files: int, size: int) -> None:
        """So much was found to be there already."""

    def again(self) -> None:
        """It begins anew, and finds there what it has moved until now."""

    def item(self, action: str, path: str) -> None:
        """`sent`, `removed`, `would send`, `would remove`."""

    def note(self, text: str) -> None:
        """Something that a person should know while it goes on."""


class OneAtATime(Progress):
    """The same for `inner`, when several threads have something to tell."""

    def __init__(self, inner: Progress) -> None:
        self._inner, self._lock = inner, threading.Lock()
        self.wants_total = inner.wants_total

    def total(self, files: int, size: int) -> None:
        with self._lock:
            self._inner.total(files, size)

    def passed(self, files: int, size: int) -> None:
        with self._lock:
            self._inner.passed(files, size)

    def there(self, files: int, size: int) -> None:
        with self._lock:
            self._inner.there(files, size)

    def again(self) -> None:
        with self._lock:
            self._inner.again()

    def item(self, action: str, path: str) -> None:
        with self._lock:
            self._inner.item(action, path)

    def note(self, text: str) -> None:
        with self._lock:
            self._inner.note(text)
