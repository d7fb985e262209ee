"""What a job serves beside the notebook: a terminal, ssh, VS Code. In any image, for all of it comes from the runtime folder.

Each app starts at its first request and talks to the job server only, over a unix socket or a pair of sockets: none listens on a
port. `ttyd` and `code-server` are entries of jupyter-server-proxy; its routes to any port and any host are not served. `sshd` and
`tcp/PORT` are websockets that carry bytes (`bridge`).
"""

from __future__ import annotations

from toolkit_ext.apps.extension import load_apps

__all__ = ["load_apps"]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "toolkit_ext.apps"}]


_load_jupyter_server_extension = load_apps
