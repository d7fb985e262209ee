"""Names of things within data: relative paths as bytes, for file systems have bytes and not text.

Text stands for them as `os.fsdecode` makes it (UTF-8, with lone surrogates for what is none), at every border: the command
line, JSON, the wire's messages.
"""

from __future__ import annotations

from toolkit_client.errors import InvalidRequest

__all__ = ["LONGEST_NAME", "checked_path", "path_of_text", "split_path", "text_of_path", "told_path"]

#: Bytes of one name (NAME_MAX of Linux's file systems).
LONGEST_NAME = 255
#: Bytes of a whole path: far more than PATH_MAX, for folders may be nested deeper than one path can name.
LONGEST_PATH = 1 << 20


def path_of_text(text: str) -> bytes:
    """The path that a person wrote: slashes at its ends, doubled ones and ``.`` say nothing. The whole data is ``b""``.

    Raises:
        InvalidRequest: `..`, a NUL byte, or a name that is too long for a file system.
    """
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidRequest(f"{text[:80]!r} is no path: it has characters that no file name has", "") from None
    return checked_path(b"/".join(part for part in raw.split(b"/") if part not in (b"", b".")))


def text_of_path(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def told_path(path: bytes) -> str:
    """The path as proper text, for people and databases: bytes that are none are written as ``\\xff``."""
    return path.decode("utf-8", "backslashreplace")


def checked_path(path: bytes) -> bytes:
    """The same path, if it is a relative one that stays below where it begins.

    Raises:
        InvalidRequest: it is not.
    """
    if not path:
        return path
    if b"\0" in path or len(path) > LONGEST_PATH:
        raise _bad(path, "it contains a NUL byte" if b"\0" in path else "it is too long")
    for part in path.split(b"/"):
        if part in (b"", b".", b".."):
            raise _bad(path, "a path here has no empty names, no `.` and no `..`")
        if len(part) > LONGEST_NAME:
            raise _bad(path, f"a name has {LONGEST_NAME} bytes at most")
    return path


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """The folder that a path lies in, and its name there."""
    folder, _, name = path.rpartition(b"/")
    return folder, name


def _bad(path: bytes, why: str) -> InvalidRequest:
    return InvalidRequest(f"{text_of_path(path)[:80]!r} is no path within data: {why}", "give it as FOLDER/FILE")
