"""Files below one folder, reached name by name: no symbolic link is ever followed, whoever puts one there and when.

Other people write in the folders that are read here, while they are read. So nothing is looked up by a whole path: each
folder on the way is opened in the one before it (``openat`` with ``O_NOFOLLOW``), and what is opened is what is used. That way
no name leads out of the root, and nesting is not bounded by the length of a path.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from types import TracebackType
from typing import Self

from toolkit_client.errors import NotFound
from toolkit_client.transfer.paths import text_of_path

__all__ = ["Beneath", "NotAFolder"]

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Folders of the way that are kept open. Processes have some hundred descriptors; folders may be nested by the thousand.
KEPT_OPEN = 48


class NotAFolder(NotFound):
    """Something else than a folder stands where a path goes through: a file, or a link that is not followed."""


class Beneath:
    """A root folder. Keeps open the way to the folder that was used last, for those who come to it, or near it, next.

    Not for several threads at once; each makes its own.
    """

    def __init__(self, root: int | bytes | str | os.PathLike[str]) -> None:
        """`root` is a folder's path, which is trusted, or a descriptor, which is closed with this. Raises OSError."""
        self._root = root if isinstance(root, int) else os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        #: The names of the way, and their descriptors; -1 for one that was closed for others.
        self._names: list[bytes] = []
        self._open: list[int] = []
        self._path = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def root(self) -> int:
        return self._root

    def close(self) -> None:
        self.forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def forget(self) -> None:
        """Drop the way that is kept: the folders may have been moved."""
        self._cut(0)

    def folder(self, path: bytes, *, make: bool = False) -> int:
        """A descriptor of the folder `path` (``b""``: the root), good until the next call. `make`: with those on the way.

        Raises:
            NotFound: there is none.
            NotAFolder: something on the way is no folder.
            OSError: anything else.
        """
        if not path:
            return self._root
        if path == self._path and self._open[-1] >= 0:
            return self._open[-1]
        if self._names and path == self._path[: -len(self._names[-1]) - 1] and self._open[-2] >= 0:
            self._cut(len(self._names) - 1)  # the folder that it lies in: nothing to look up, however deep it is
            return self._open[-1]
        if self._names and self._open[-1] >= 0 and path.startswith(self._path + b"/"):
            names = path[len(self._path) + 1 :].split(b"/")
        else:
            names = path.split(b"/")
            kept = self._kept(names)
            self._cut(kept)
            names = names[kept:]
        current = self._open[-1] if self._open else self._root
        for name in names:
            current = self._enter(current, name, make)
            self._append(name, current)
        return current

    def _kept(self, names: list[bytes]) -> int:
        """How many folders of the way there are open already, in one piece."""
        kept = 0
        for mine, wanted in zip(self._names, names, strict=False):
            if mine != wanted:
                break
            kept += 1
        while kept and self._open[kept - 1] < 0:
            kept -= 1
        return kept

    def _append(self, name: bytes, descriptor: int) -> None:
        self._path = self._path + b"/" + name if self._names else name
        self._names.append(name)
        self._open.append(descriptor)
        if len(self._open) > KEPT_OPEN:
            self._close_at(len(self._open) - KEPT_OPEN - 1)

    def _enter(self, parent: int, name: bytes, make: bool) -> int:
        try:
            return os.open(name, FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise NotFound(f"there is no {text_of_path(self._shown(name))!r} in it", "") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise NotAFolder(
                    f"{text_of_path(self._shown(name))!r} is no folder, but {self._kind(parent, name)}", ""
                ) from None
            raise
        with contextlib.suppress(FileExistsError):  # somebody else may be faster
            os.mkdir(name, 0o755, dir_fd=parent)
        return self._enter(parent, name, False)

    def _shown(self, name: bytes) -> bytes:
        return b"/".join([*self._names, name])

    @staticmethod
    def _kind(parent: int, name: bytes) -> str:
        try:
            mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
        except OSError:
            return "something that was just removed"
        return "a symbolic link, which is not followed" if stat.S_ISLNK(mode) else "a file"

    def _close_at(self, index: int) -> None:
        if self._open[index] >= 0:
            os.close(self._open[index])
            self._open[index] = -1

    def _cut(self, length: int) -> None:
        if length >= len(self._names):
            return
        for index in range(length, len(self._open)):
            self._close_at(index)
        if length == len(self._names) - 1:
            self._path = self._path[: -len(self._names[-1]) - 1] if length else b""
        else:
            self._path = b"/".join(self._names[:length])
        del self._open[length:]
        del self._names[length:]
