"""The command ``toolkit``. Each command's module is loaded only when the command is used."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The console script."""
    try:
        from toolkit_client.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # Before click is loaded nothing else catches it.
        code = 130
    sys.exit(code)
