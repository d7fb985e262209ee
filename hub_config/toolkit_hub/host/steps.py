"""Steps of set-up as people see them: one line each, progress while one takes long, the whole output in a log file.

Standard library only: the first step makes the environment that everything else is installed in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from toolkit_hub import clock

__all__ = ["Console", "Say", "SetupError", "run_command", "show_failure"]

Say = Callable[[str], None]

#: Lines of a failed step's output that are shown; the log has all of them.
TAIL_LINES = 20
#: Seconds between two lines of progress where the output is not a terminal.
PLAIN_INTERVAL_S = 5.0
#: Seconds after which a step that prints nothing itself shows that it is still at work.
HEARTBEAT_S = 10.0


class SetupError(Exception):
    """A step cannot go on. `what` happened and why; `hint`: what to do next; `tail`: the last lines of its output."""

    def __init__(self, what: str, hint: str, tail: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.tail = tuple(tail)


class Console:
    """Prints steps, and keeps their output in `log` (created 0600; its folder must exist)."""

    def __init__(self, log: Path, out: TextIO | None = None) -> None:
        self.log_path = log
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        self._log = os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "a", 1)
        self._lock = threading.Lock()
        self._name = ""
        self._began = 0.0
        self._shown = 0.0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def close(self) -> None:
        self._log.close()

    def run(self, name: str, work: Callable[[Say], str]) -> None:
        """Do one step. `work` gets a function to report progress with, and returns what there is now ("20.10.24").

        A `SetupError` of `work` goes on to the caller with the last lines of the step's output.
        """
        self._name, self._began = name, clock.monotonic()
        self._shown = self._began
        self._tail.clear()
        self._log.write(f"=== {clock.now().isoformat(timespec='seconds')} {name}\n")
        finished = threading.Event()
        pulse = threading.Thread(target=self._heartbeat, args=(finished,), daemon=True)
        pulse.start()
        try:
            result = work(self.say)
        except SetupError as error:
            self._finish(finished, pulse, f"  failed  {name}")
            raise SetupError(error.what, error.hint, error.tail or self._tail) from error
        except BaseException:
            self._finish(finished, pulse, f"  failed  {name}")
            raise
        self._finish(finished, pulse, f"  ok      {name}: {result} ({self._elapsed:.1f} s)")

    def say(self, line: str) -> None:
        """One line of the running step's output: logged, and shown as its progress."""
        text = line.rstrip()
        if not text:
            return
        with self._lock:
            self._log.write(text + "\n")
            self._tail.append(text)
            self._show(text)

    def print(self, line: str = "") -> None:
        self._out.write(line + "\n")
        self._out.flush()

    @property
    def _elapsed(self) -> float:
        return clock.monotonic() - self._began

    def _show(self, text: str) -> None:
        """Rewrite the terminal's last line; elsewhere a new line now and then, or logs would drown in progress."""
        now = clock.monotonic()
        if self._live:
            width = max(20, shutil.get_terminal_size().columns - 1)
            self._out.write("\r\x1b[K" + f"  ...     {self._name} {self._elapsed:.0f} s: {_plain(text)}"[:width])
        elif now - self._shown >= PLAIN_INTERVAL_S:
            self._out.write(f"  ...     {self._name} {self._elapsed:.0f} s: {_plain(text)[:160]}\n")
        else:
            return
        self._shown = now
        self._out.flush()

    def _heartbeat(self, finished: threading.Event) -> None:
        while not finished.wait(1.0):
            with self._lock:
                if clock.monotonic() - self._shown >= HEARTBEAT_S:
                    self._show(self._tail[-1] if self._tail else "at work")

    def _finish(self, finished: threading.Event, pulse: threading.Thread, line: str) -> None:
        finished.set()
        pulse.join()
        if self._live:
            self._out.write("\r\x1b[K")
        self._log.write(line.strip() + "\n")
        self.print(line)


def _plain(text: str) -> str:
    """Without control characters: a tool's output must not drive the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def run_command(
    argv: Sequence[str], say: Say, hint: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a program that asks nothing, and hand each line of its output to `say`.

    Raises `SetupError` with `hint` when it is missing or ends with another code than 0.
    """
    say("$ " + " ".join(argv))
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise SetupError(f"`{argv[0]}` cannot be started: {error.strerror}.", hint) from error
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            say(line)
    if process.returncode:
        raise SetupError(f"`{' '.join(argv[:3])}` ended with code {process.returncode}.", hint)


def show_failure(error: SetupError, log: Path | None = None) -> None:
    """Say on stderr what failed, the end of its output, and what to do."""
    for line in error.tail:
        print(f"  | {_plain(line)}", file=sys.stderr)
    print(f"\n{error.what}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)
    if log is not None:
        print(f"The whole output: {log}", file=sys.stderr)
