"""The apps with a page: what jupyter-server-proxy starts for them at their first request."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from toolkit_ext.apps.places import RUNTIME, private_folder, session_environment, shell

__all__ = ["server_entries"]

#: Settings of Node.js that an image may have for programs of its own.
NODE_VARIABLES = ("NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS")
START_LIMIT_S = 60


def server_entries(home: Path) -> dict[str, dict[str, Any]]:
    """The entries of jupyter-server-proxy, by the apps' names. None runs as root."""
    if os.getuid() == 0:
        return {}
    return {"ttyd": ttyd(home), "code-server": code_server(home)}


def ttyd(home: Path) -> dict[str, Any]:
    """One tmux session for all who look: a page that is closed and opened again finds it as it was."""
    settings = private_folder() / "tmux.conf"
    settings.write_text(tmux_settings(home))
    words = [str(RUNTIME / "base/bin/ttyd"), "--interface", "{unix_socket}", "--writable", "--cwd", str(home)]
    tmux = [str(RUNTIME / "base/bin/tmux"), "-u", "-S", str(private_folder() / "tmux"), "-f", str(settings)]
    return entry("Terminal (ttyd)", [*words, *tmux, "new", "-A", "-s", "main"], session_environment())


def tmux_settings(home: Path) -> str:
    """The image's and the user's own settings come after ours."""
    own = ("/etc/tmux.conf", f"{home}/.tmux.conf", f"{home}/.config/tmux/tmux.conf")
    return "".join(
        f"{line}\n"
        for line in [
            f"set -g default-shell {shlex.quote(shell())}",
            # Without it tmux starts log-in shells, which forget the image's PATH.
            f"set -g default-command {shlex.quote(shell())}",
            "set -g default-terminal screen-256color",
            "set -g history-limit 50000",
            "set -g mouse on",
            *(f"source-file -q {shlex.quote(path)}" for path in own),
        ]
    )


def code_server(home: Path) -> dict[str, Any]:
    """VS Code in the browser. Its own way to any port of the job is off: the gate decides on ports."""
    program = [str(RUNTIME / "code/bin/node"), str(RUNTIME / "code/code-server/out/node/entry.js")]
    options = ["--auth", "none", "--socket", "{unix_socket}", "--socket-mode", "0600", "--disable-telemetry"]
    options += ["--disable-update-check", "--disable-workspace-trust", "--disable-proxy"]
    options += ["--disable-getting-started-override", "--config", str(private_folder() / "code-server.yaml")]
    return entry(
        "VS Code", [*program, *options, str(home)], {**session_environment(), **dict.fromkeys(NODE_VARIABLES, "")}
    )


def entry(title: str, command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    name = Path(command[0]).name
    return {
        "command": command,
        "environment": environment,
        "unix_socket": str(private_folder() / f"{name}.sock"),
        "timeout": START_LIMIT_S,
        "new_browser_tab": True,
        "launcher_entry": {"title": title},
    }
