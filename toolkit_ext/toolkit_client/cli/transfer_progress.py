"""How a push or a pull shows what it does: a bar on a terminal, elsewhere a line now and then; and what it has done.

Everything goes to stderr. Names may have been chosen by other users, and are shown escaped.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TextIO

from toolkit_client.cli.safe_text import escape
from toolkit_client.transfer.outcome import Outcome
from toolkit_client.transfer.progress import Progress

__all__ = ["Bar", "DryRun", "Lines", "Watched", "bar_text", "problem_lines", "size_text", "summary", "time_text"]

#: Of files that could not be moved so many are named.
TOLD_PROBLEMS = 20
#: A file takes about as long as so many bytes: what is done is measured by both.
FILE_COST = 16 * 1024
#: Seconds over which the rate is smoothed.
SMOOTHED_S = 3.0
UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def size_text(size: float) -> str:
    """``512 B``, ``78.1 MiB``."""
    if size < 1024:
        return f"{size:.0f} B"
    power = 1
    while size / 1024**power >= 1023.95 and power < len(UNITS):
        power += 1
    scaled, unit = size / 1024**power, UNITS[power - 1]
    return f"{scaled:.1f} {unit}" if scaled < 99.95 else f"{scaled:.0f} {unit}"


def time_text(seconds: float) -> str:
    """``1.2 s``, ``3 min 5 s``, ``2 h 5 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _left_text(seconds: float) -> str:
    """``0:07``, ``1:02:03``."""
    minutes, rest = divmod(min(round(seconds), 359_999), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class Watched(Progress):
    """Counts, and calls `draw` at most once in `interval` seconds."""

    interval = 5.0

    def __init__(self, doing: str, out: TextIO | None = None) -> None:
        """`doing` is ``pushing`` or ``pulling``."""
        self._doing = doing
        self._out = sys.stderr if out is None else out
        self.files = self.size = self.moved = 0
        self._next = time.monotonic() + self.interval

    def passed(self, files: int, size: int) -> None:
        self.files += files
        self.size += size
        self.moved += size
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self.interval
            self.draw(now)

    def there(self, files: int, size: int) -> None:
        self.moved -= size
        self.passed(files, size)

    def again(self) -> None:
        self.files = self.size = 0

    def draw(self, now: float) -> None:
        """Show how far it is."""

    def close(self) -> None:
        """The end, of any kind: nothing half-drawn stays."""

    def note(self, text: str) -> None:
        self.close()
        print(escape(text), file=self._out, flush=True)


class Lines(Watched):
    """A plain line at most every five seconds."""

    def draw(self, now: float) -> None:
        done = f"{self._doing}: {self.files:,} files and {size_text(self.size)} so far"
        print(done, file=self._out, flush=True)


class Bar(Watched):
    """One line that is drawn again, at most ten times a second."""

    interval = 0.1
    wants_total = True

    def __init__(self, doing: str, out: TextIO | None = None) -> None:
        super().__init__(doing, out)
        self._totals: tuple[int, int] | None = None
        self._drawn = False
        self._begin = time.monotonic()
        self._last = (time.monotonic(), 0, 0)
        #: Bytes, and work, in a second.
        self._rate = self._speed = 0.0

    def total(self, files: int, size: int) -> None:
        self._totals = (files, size)

    def again(self) -> None:
        super().again()
        self._last = (time.monotonic(), self.moved, 0)

    def draw(self, now: float) -> None:
        self._measure(now)
        speed = self._speed if now > self._begin + 1 else 0.0  # what the first moments promise is far off
        text = bar_text(_width(self._out), self.files, self.size, self._totals, self._rate, speed)
        print(f"\r{text}\x1b[K", end="", file=self._out, flush=True)
        self._drawn = True

    def _measure(self, now: float) -> None:
        last, moved, work = self._last
        done = _work(self.files, self.size)
        passed = max(now - last, 1e-6)
        self._last = (now, self.moved, done)
        share = min(1.0, passed / SMOOTHED_S) if self._rate or self._speed else 1.0
        self._rate += ((self.moved - moved) / passed - self._rate) * share
        self._speed += (max(done - work, 0) / passed - self._speed) * share

    def close(self) -> None:
        if self._drawn:
            print("\r\x1b[K", end="", file=self._out, flush=True)
            self._drawn = False


class DryRun(Progress):
    """Prints what would be done, on stdout unless that is for something else."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self.sent = self.removed = 0

    def item(self, action: str, path: str) -> None:
        if not action.startswith("would "):
            return
        if action == "would remove":
            self.removed += 1
        else:
            self.sent += 1
        if self._out is not None:
            self._out.write(f"{action} {escape(path)}\n")

    def close(self) -> None:
        """Nothing is half-drawn."""


def bar_text(width: int, files: int, size: int, totals: tuple[int, int] | None, rate: float, speed: float) -> str:
    """The bar's line, no wider than the terminal. `speed` is work in a second, as `FILE_COST` measures it."""
    pace = f"{size_text(rate)}/s"
    if totals is None:
        return f"{files:,} files, {size_text(size)}, {pace}"[: width - 1]
    all_work, done = _work(*totals), _work(files, size)
    share = min(done / all_work, 1.0) if all_work else 1.0
    left = f"{_left_text((all_work - done) / speed)} left" if speed > 0 and done < all_work else ""
    counts = f"{min(files, totals[0]):,}/{totals[0]:,} files, {size_text(min(size, totals[1]))}/{size_text(totals[1])}"
    words = ", ".join(part for part in (counts, pace, left) if part)
    room = min(width - len(words) - 10, 40)
    drawn = f" [{('#' * int(room * share)).ljust(room, '.')}]" if room >= 5 else ""
    return f"{int(share * 100):3}%{drawn} {words}"[: width - 1]


def _work(files: int, size: int) -> int:
    return size + files * FILE_COST


def _width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def summary(done: str, outcome: Outcome, seconds: float) -> str:
    """``pushed 20,000 files, 78.1 MiB in 1.2 s (65 MiB/s); 12 unchanged, 3 removed``."""
    text = f"{done} {_files(outcome.files)}, {size_text(outcome.bytes)} in {time_text(seconds)}"
    if outcome.bytes and seconds > 0.05:
        text += f" ({size_text(outcome.bytes / seconds)}/s)"
    more = [f"{outcome.unchanged:,} unchanged"] if outcome.unchanged else []
    more += [f"{outcome.removed:,} removed"] if outcome.removed else []
    return text + (f"; {', '.join(more)}" if more else "")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def problem_lines(outcome: Outcome) -> list[str]:
    """What could not be moved as it is, a line each; of many the first ones, and how many more."""
    lines = [
        f"error: {escape(problem['path'])}: {escape(problem['problem'])}"
        for problem in outcome.problems[:TOLD_PROBLEMS]
    ]
    if outcome.problem_count > len(lines):
        lines.append(f"error: and {outcome.problem_count - len(lines):,} more like these")
    changed = [
        f"warning: {escape(path)} changed while it was read: what arrived may be of two moments"
        for path in outcome.changed[:TOLD_PROBLEMS]
    ]
    if len(outcome.changed) > len(changed):
        changed.append(f"warning: and {len(outcome.changed) - len(changed):,} more changed while they were read")
    return lines + changed
