"""The hub unit: JupyterHub as it is, in half the time. ``python -m toolkit_hub.hub -f jupyterhub_config.py``

JupyterHub commits some eight times for each start of a server, on its event loop. SQLite's write-ahead log takes one flush to
the disk for a commit where its rollback journal takes four; what is committed is as safe.

JupyterHub's event log imports all of jsonschema's format checkers, and one of them compiles a grammar for a second. No event
has a field of that format (an IRI), and jsonschema does without the checker where it is not installed.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

__all__ = ["main"]

SLOW_AND_UNUSED = "rfc3987_syntax"


def main() -> None:
    """Run JupyterHub with the arguments of this process."""
    sys.modules[SLOW_AND_UNUSED] = None  # type: ignore[assignment]  # Python's own way to say "not installed"
    from jupyterhub.app import main as run_jupyterhub
    from sqlalchemy import Engine, event

    event.listen(Engine, "connect", _write_ahead)
    run_jupyterhub()


def _write_ahead(connection: Any, _record: Any) -> None:
    """The file keeps the mode; asking for it once more changes nothing. What a hub that was killed left in the log is folded in,
    for JupyterHub copies only the file itself before it changes the tables."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_checkpoint").fetchall()


if __name__ == "__main__":
    main()
