"""What a job serves beside the notebook: a terminal, ssh, VS Code. In any image, for all of it comes from the runtime folder.

Each app starts at its first request and talks to the job server only, over a unix socket or a pair of sockets: none listens on a
port. `ttyd` and `code-server` are entries of jupyter-server-proxy; its routes to any port and any host are not served. `sshd` and
`tcp/PORT` are websockets that carry bytes (`bridge`).
"""

from __future__ import annotations

from typing import Any

__all__ = ["load_apps"]


def load_apps(server: Any) -> None:
    """Jupyter's hook for extensions. What it needs is loaded here: parts of this package are used without Jupyter, too."""
    from toolkit_ext.apps import extension

    extension.load_apps(server)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "toolkit_ext.apps"}]


_load_jupyter_server_extension = load_apps
