"""Starting programs, and words for why one did not start."""

# ruff: noqa: SIM105 (contextlib would cost 9 ms)
from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` builds enums, which costs 7 ms
import errno
import os

__all__ = ["NOT_FOUND", "NOT_STARTED", "initial_environment", "report", "send_signal", "spawn", "why_not_started"]

NOT_FOUND, NOT_STARTED = 127, 126
#: A command starts with every signal at its default: Python ignores some in its own process, and whoever started the engine
#: may have ignored others.
AT_DEFAULT = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def report(text: str) -> None:
    """A line for the engine's log of this container, which only the site's administrator reads."""
    try:
        os.write(1, f"job-init: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def initial_environment() -> dict[bytes, bytes]:
    """The environment that the container was started with; Python may have added LC_CTYPE to `os.environ`."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    return dict(entry.split(b"=", 1) for entry in entries if entry.find(b"=") > 0)


def spawn(words: list[str], environment: dict[bytes, bytes], folder: str, output: int) -> int:
    """Start a program in a session of its own; stdout and stderr go to `output`. Raises `OSError`, `ValueError`."""
    os.chdir(folder)
    try:
        return os.posix_spawnp(
            words[0],
            words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                # Through a descriptor that is surely another one: dup2 onto itself would leave close-on-exec set.
                (os.POSIX_SPAWN_DUP2, output, 2),
                (os.POSIX_SPAWN_DUP2, 2, 1),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=AT_DEFAULT,
        )
    finally:
        os.chdir("/")


def why_not_started(words: list[str], error: OSError | ValueError, folder: str, path: str) -> tuple[int, str]:
    """Exit code and words for a command that could not be started."""
    what = f"cannot run {words[0][:200]!r}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT and "/" not in words[0]:
        return NOT_FOUND, f"{what}: no such file or directory in the image (PATH={path})"
    if number == errno.ENOENT and os.path.exists(os.path.join(folder, words[0])):
        return NOT_FOUND, f"{what}: the interpreter or loader that it names is not in the image"
    if number in (errno.ENOENT, errno.ENOTDIR):
        return NOT_FOUND, f"{what}: no such file or directory in the image"
    if number == errno.EACCES:
        return NOT_STARTED, f"{what}: it is not executable for the job's user (permission denied)"
    if number == errno.ENOEXEC:
        return NOT_STARTED, f"{what}: it is no program for this machine, and no script that begins with #!"
    if number == errno.E2BIG:
        size = sum(len(word) for word in words)
        return NOT_STARTED, f"{what}: arguments and environment are too long ({len(words)} words, {size} characters)"
    return NOT_STARTED, f"{what}: {os.strerror(number) if number else error}"


def send_signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except OSError:
        pass
