"""Starting a command in a job's container: its words, environment, folder, and pipes or a terminal."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass, field

from toolkit_ext.job_init.exec_frames import STDERR, STDOUT
from toolkit_ext.job_init.processes import AT_DEFAULT, NOT_FOUND, NOT_STARTED, why_not_started

__all__ = ["NotStarted", "Program", "Request", "resize", "start"]

FALLBACK_PATH = b"/usr/local/bin:/usr/bin:/bin"


@dataclass
class Request:
    """What is to be run. `folder`: empty for the job's own; `terminal`: rows and columns, None for pipes."""

    words: list[bytes]
    variables: list[bytes]
    folder: str = ""
    terminal: tuple[int, int] | None = None


@dataclass
class Program:
    """A command that runs, in a session and process group of its own. All descriptors are this side's, and do not block."""

    pid: int
    stdin: int
    #: descriptor → STDOUT or STDERR; of a terminal the one that is `stdin` as well.
    outputs: dict[int, int]
    terminal: bool = False


class NotStarted(Exception):
    """The command could not be started: its exit code, and why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass
class _Ends:
    """Descriptors of one start: this side's, and what the command gets."""

    ours: list[int] = field(default_factory=list)
    theirs: list[int] = field(default_factory=list)


def start(request: Request, environment: dict[bytes, bytes], workdir: str) -> Program:
    """Raises `NotStarted`."""
    if not request.words or not request.words[0]:
        raise NotStarted(NOT_FOUND, "cannot run an empty command")
    variables = dict(item.split(b"=", 1) for item in request.variables if item.find(b"=") > 0)
    whole = {**environment, **variables}
    folder = _enter(request.folder or workdir, request.folder == "")
    ends = _Ends()
    try:
        actions = _terminal(ends, *request.terminal) if request.terminal else _pipes(ends)
        pid = _spawn(request.words, whole, folder, actions)
    except OSError as error:
        _close(ends.ours)
        raise NotStarted(NOT_STARTED, f"cannot give the command its pipes or terminal: {error.strerror}") from error
    except NotStarted:
        _close(ends.ours)
        raise
    finally:
        _close(ends.theirs)
        os.chdir("/")
    if request.terminal:
        return Program(pid, ends.ours[0], {ends.ours[0]: STDOUT}, True)
    stdin, stdout, stderr = ends.ours
    return Program(pid, stdin, {stdout: STDOUT, stderr: STDERR})


def resize(terminal: int, rows: int, columns: int) -> None:
    """Tell a terminal's programs its size."""
    size = struct.pack("HHHH", min(rows, 65535), min(columns, 65535), 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def _enter(folder: str, own: bool) -> str:
    try:
        os.chdir(folder)
    except OSError as error:
        whose = "the job's working directory" if own else "the working directory"
        raise NotStarted(NOT_STARTED, f"cannot enter {whose} {folder!r}: {error.strerror}") from error
    return folder


def _pipes(ends: _Ends) -> list[tuple[int, ...]]:
    actions: list[tuple[int, ...]] = []
    for number in range(3):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        ours, theirs = (writer, reader) if number == 0 else (reader, writer)
        ends.ours.append(ours)
        ends.theirs.append(theirs)
        os.set_blocking(ours, False)
        actions.append((os.POSIX_SPAWN_DUP2, theirs, number))
    return actions


def _terminal(ends: _Ends, rows: int, columns: int) -> list[tuple[int, ...]]:
    """The command opens the terminal itself: as the leader of a session without one, it gets it as its controlling one."""
    master, slave = os.openpty()
    ends.ours.append(master)
    ends.theirs.append(slave)
    os.set_blocking(master, False)
    resize(master, rows, columns)
    opened: tuple[object, ...] = (os.POSIX_SPAWN_OPEN, 0, os.ttyname(slave), os.O_RDWR, 0)
    return [opened, (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]  # type: ignore[list-item]


def _spawn(words: list[bytes], environment: dict[bytes, bytes], folder: str, actions: list[tuple[int, ...]]) -> int:
    """Look the command up in the PATH that it will have itself, and start it."""
    path = environment.get(b"PATH", FALLBACK_PATH)
    refused: OSError | None = None
    for place in [words[0]] if b"/" in words[0] else [part + b"/" + words[0] for part in path.split(b":") if part]:
        try:
            return os.posix_spawn(
                place, words, environment, file_actions=actions, setsid=True, setsigmask=[], setsigdef=AT_DEFAULT
            )
        except (OSError, ValueError) as error:
            if not isinstance(error, OSError) or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise _not_started(words, error, folder, path) from error
            if refused is None or error.errno == errno.EACCES:
                refused = error
    raise _not_started(words, refused or FileNotFoundError(errno.ENOENT, "not found"), folder, path)


def _not_started(words: list[bytes], error: OSError | ValueError, folder: str, path: bytes) -> NotStarted:
    shown = [os.fsdecode(word) for word in words]
    return NotStarted(*why_not_started(shown, error, folder, os.fsdecode(path)))


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
