"""Amounts and endings as people read them."""

from __future__ import annotations

import signal

__all__ = ["duration", "exit_code", "gib"]


def duration(seconds: int) -> str:
    """`90 s`, `10 min`, `48 h`; what is no whole number of the larger unit is told in parts."""
    if seconds < 120 and seconds != 60:
        return f"{seconds} s"
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def gib(amount: float) -> str:
    """Memory in GiB, with one or two decimals: `2.0 GiB`, `0.25 GiB`."""
    text = f"{amount:.2f}"
    return f"{text[:-1] if text.endswith('0') else text} GiB"


def exit_code(code: int | None) -> str:
    """`exit code 3`, with what the shell's conventional codes mean."""
    if code is None:
        return "it is not known how it ended"
    meaning = {126: "the command cannot be executed", 127: "command not found"}.get(code, "")
    if code > 128:
        name = _signal_name(code - 128)
        meaning = f"ended by {name}" if name else ""
    return f"exit code {code}" + (f": {meaning}" if meaning else "")


def _signal_name(number: int) -> str:
    try:
        found = signal.Signals(number)
    except ValueError:
        return ""
    words = signal.strsignal(found) or ""
    return f"{found.name} ({words.lower()})" if words else found.name
