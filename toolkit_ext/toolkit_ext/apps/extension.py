"""The apps' routes below the job server's root."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from jupyter_server.utils import url_path_join
from jupyter_server_proxy.api import ServersInfoHandler
from jupyter_server_proxy.config import ServerProxy, make_handlers

from toolkit_ext.apps.entries import server_entries
from toolkit_ext.apps.paced import PacedServer
from toolkit_ext.apps.ssh_keys import SshKeys
from toolkit_ext.apps.sshd import GuestsHandler, HostKeyHandler, SshHandler, TcpHandler

__all__ = ["load_apps"]

log = logging.getLogger("toolkit.apps")
KEYS_AFTER_S = 0.5


def load_apps(server: Any) -> None:
    """Jupyter's hook for extensions."""
    base = server.web_app.settings["base_url"]
    home = Path.home()
    keys = SshKeys(home)
    # Soon, for somebody may want to take `id_container` home; but not before the server answers.
    server.io_loop.call_later(KEYS_AFTER_S, lambda: server.io_loop.run_in_executor(None, prepared, keys))
    entries = {name: PacedServer(name=name, **fields) for name, fields in server_entries(home).items()}
    proxy = ServerProxy(parent=server, servers=entries)
    processes = list(proxy.servers.values())
    server.web_app.add_handlers(
        ".*",
        [
            (url_path_join(base, "sshd/host-key"), HostKeyHandler, {"keys": keys}),
            (url_path_join(base, "sshd/guests"), GuestsHandler, {"keys": keys}),
            (url_path_join(base, "sshd"), SshHandler, {"keys": keys}),
            (url_path_join(base, r"tcp/(\d{1,5})"), TcpHandler),
            # What JupyterLab's launcher asks for its tiles.
            (url_path_join(base, "server-proxy/servers-info"), ServersInfoHandler, {"server_processes": processes}),
            *make_handlers(base, processes),
        ],
    )


def prepared(keys: SshKeys) -> None:
    try:
        keys.prepare()
    except OSError as error:
        log.warning("the keys for ssh could not be made: %s", error)
