"""How errors are shown, and commands that act on several things: one that fails does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from toolkit_client.cli.safe_text import escape
from toolkit_client.errors import ToolkitError

__all__ = ["for_each", "print_problem"]

RefT = TypeVar("RefT")


def print_problem(message: str, hint: str = "") -> None:
    """On stderr as ``error: …`` and ``hint: …``, one line each."""
    print("error:", escape(message), file=sys.stderr)
    if hint:
        print("hint:", escape(hint), file=sys.stderr)


def for_each(refs: Iterable[RefT], act: Callable[[RefT], Any]) -> tuple[list[Any], int]:
    """What `act` gave for each reference, and the exit code; what it refused is told on stderr.

    The code is 0, or that of the errors, or 1 for errors of several kinds.
    """
    results, codes = [], set()
    for ref in refs:
        try:
            results.append(act(ref))
        except ToolkitError as problem:
            print_problem(problem.message, problem.hint)
            codes.add(problem.exit_code)
    return results, 0 if not codes else codes.pop() if len(codes) == 1 else 1
