"""The apps with a page: what jupyter-server-proxy starts for them at their first request."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit_ext.apps.places import RUNTIME, private_folder, session_environment, shell

__all__ = ["server_entries"]

#: Settings of Node.js that an image may have for programs of its own.
NODE_VARIABLES = ("NODE_OPTIONS", "NODE_PATH", "NODE_EXTRA_CA_CERTS")
START_LIMIT_S = 60
#: Lines that tmux keeps of each window, in the job's memory: a cell takes 5 bytes, and 28 with one of 16 million colours, so at
#: 200 columns this is 10 MiB, or 53. Who wants more sets `history-limit` in the image's tmux.conf, or in an own one.
HISTORY_LINES = 10_000
#: No assistant that needs an account elsewhere, and no page about the editor at its start.
EDITOR_SETTINGS = {
    "chat.disableAIFeatures": True,
    "telemetry.telemetryLevel": "off",
    "workbench.startupEditor": "none",
}


def server_entries(home: Path) -> dict[str, dict[str, Any]]:
    """The entries of jupyter-server-proxy, by the apps' names. None runs as root."""
    if os.getuid() == 0:
        return {}
    return {"ttyd": ttyd(home), "code-server": code_server(home)}


def ttyd(home: Path) -> dict[str, Any]:
    """One tmux session for all who look: a page that is closed and opened again finds it as it was."""
    settings = private_folder() / "tmux.conf"
    words = [str(RUNTIME / "base/bin/ttyd"), "--writable", "--cwd", str(home), "--interface"]
    tmux = [str(RUNTIME / "base/bin/tmux"), "-u", "-S", str(private_folder() / "tmux"), "-f", str(settings)]

    def command(unix_socket: str) -> list[str]:
        settings.write_text(tmux_settings(home))
        return [*words, unix_socket, *tmux, "new", "-A", "-s", "main"]

    return entry("ttyd", "Terminal (ttyd)", command, session_environment())


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
            f"set -g history-limit {HISTORY_LINES}",
            "set -g mouse on",
            *(f"source-file -q {shlex.quote(path)}" for path in own),
        ]
    )


def code_server(home: Path) -> dict[str, Any]:
    """VS Code in the browser. Its own way to any port of the job is off: the gate decides on ports."""
    program = [str(RUNTIME / "code/bin/node"), str(RUNTIME / "code/code-server/out/node/entry.js")]
    options = ["--auth", "none", "--socket-mode", "0600", "--disable-telemetry", "--disable-update-check"]
    options += ["--disable-workspace-trust", "--disable-proxy", "--disable-getting-started-override"]
    options += ["--config", str(private_folder() / "code-server.yaml")]

    def command(unix_socket: str) -> list[str]:
        first_settings(home)
        return [*program, *options, "--socket", unix_socket, str(home)]

    environment = {**session_environment(), **dict.fromkeys(NODE_VARIABLES, "")}
    return entry("code-server", "VS Code", command, environment)


def first_settings(home: Path) -> None:
    """The editor's settings for this machine, where there are none yet; the user's own win over them."""
    place = home / ".local/share/code-server/Machine/settings.json"
    with contextlib.suppress(OSError):  # the home may be read-only
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(EDITOR_SETTINGS, indent=2) + "\n")


def entry(name: str, title: str, command: Callable[[str], list[str]], environment: dict[str, str]) -> dict[str, Any]:
    def literal(text: str) -> str:
        """The proxy takes braces for places where it puts something in."""
        return text.replace("{", "{{").replace("}", "}}")

    def started(unix_socket: str) -> list[str]:
        return [literal(word) for word in command(unix_socket)]

    return {
        "command": started,
        "environment": {key: literal(value) for key, value in environment.items()},
        "unix_socket": str(private_folder() / f"{name}.sock"),
        "timeout": START_LIMIT_S,
        "new_browser_tab": True,
        "launcher_entry": {"title": title},
    }
