"""Removing files and whole trees below a folder, following no link, at any depth."""

from __future__ import annotations

import errno
import os

from toolkit_client.errors import NotFound
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.paths import split_path

__all__ = ["open_up", "remove_content", "remove_path"]


def remove_path(beneath: Beneath, path: bytes) -> int:
    """Remove a file, a link, or a folder with all that is in it; returns how many names went. Nothing there is fine.

    Raises:
        OSError: something could not be removed; what was removed until then is gone.
    """
    folder, name = split_path(path)
    try:
        parent = beneath.folder(folder)
        os.unlink(name, dir_fd=parent)
    except (FileNotFoundError, NotFound):
        return 0
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    else:
        return 1
    count = remove_content(beneath, path)
    os.rmdir(name, dir_fd=beneath.folder(folder))
    return count + 1


def remove_content(beneath: Beneath, path: bytes) -> int:
    """Remove all that is in a folder, but not itself. Raises OSError, NotFound."""
    count = 0
    stack = [(len(path), _names(beneath, path))]
    prefix = path
    while stack:
        length, names = stack[-1]
        if not names:
            stack.pop()
            if stack:
                inner = prefix.rpartition(b"/")[2]
                prefix = prefix[: stack[-1][0]]
                os.rmdir(inner, dir_fd=beneath.folder(prefix))
                count += 1
            continue
        name = names.pop()
        try:
            os.unlink(name, dir_fd=beneath.folder(prefix))
            count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.EPERM):
                raise
            prefix = prefix[:length] + b"/" + name if length else name
            stack.append((len(prefix), _names(beneath, prefix)))
    return count


def _names(beneath: Beneath, path: bytes) -> list[bytes]:
    folder, name = split_path(path)
    if path:
        open_up(beneath.folder(folder), name)
    return [os.fsencode(found) for found in os.listdir(beneath.folder(path))]


def open_up(parent: int, name: bytes) -> None:
    """Give a folder back to its owner who has shut it: permission bits may be anything. Not through a link."""
    if not hasattr(os, "O_PATH"):
        return  # only Linux can without naming it a second time
    try:
        folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return
    try:
        mode = os.fstat(folder).st_mode
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{folder}", (mode & 0o777) | 0o700)
    except PermissionError:
        pass  # somebody else's: whoever uses it hears that
    finally:
        os.close(folder)
