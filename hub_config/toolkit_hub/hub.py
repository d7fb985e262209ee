"""The hub unit: JupyterHub as it is, in half the time. ``python -m toolkit_hub.hub -f jupyterhub_config.py``

JupyterHub's event log imports all of jsonschema's format checkers, and one of them compiles a grammar for a second. No event
has a field of that format (an IRI), and jsonschema does without the checker where it is not installed.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

SLOW_AND_UNUSED = "rfc3987_syntax"


def main() -> None:
    """Run JupyterHub with the arguments of this process."""
    sys.modules[SLOW_AND_UNUSED] = None  # type: ignore[assignment]  # Python's own way to say "not installed"
    from jupyterhub.app import main as run_jupyterhub

    run_jupyterhub()


if __name__ == "__main__":
    main()
