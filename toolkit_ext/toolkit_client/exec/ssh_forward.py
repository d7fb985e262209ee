"""A local port that leads to a job's ssh server, for clients that know nothing of this: no key is named, no agent is forwarded.

By each connection those may come in who have a key of the caller's agent, of ``~/.ssh/*.pub`` or of ours; nothing of this is left
when the connection ends. The caller's agent is passed on beside the connections, so that sessions have it without ``-A``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from toolkit_client.exec.channel import Channel
from toolkit_client.exec.forward import Forward, patiently
from toolkit_client.exec.ssh import SshFiles, SshStream, open_ssh, ssh_files
from toolkit_client.exec.ssh_agent import AgentRelay, agent_keys, agent_place, public_key_files
from toolkit_client.profiles import profile_name
from toolkit_ext.apps.ssh_keys import LONGEST_KEYS

__all__ = ["SshForward"]


class SshForward(Forward):
    """Serves one listener, as its base does."""

    def __init__(
        self,
        listener: socket.socket,
        url: Callable[[], str],
        token: str,
        tell: Callable[[str], None],
        agent: bool = True,
        files: SshFiles | None = None,
    ) -> None:
        """`url` gives the address of the job's ``ssh`` stream; `agent`: pass the caller's on, where there is one. `files` are
        those of the profile in use, unless others are named.

        Raises:
            ToolkitError: the job's ssh server cannot be had, now or at all.
        """
        super().__init__(listener, url, token, tell)
        self._files = files or ssh_files(profile_name())
        self._relay: AgentRelay | None = None
        if agent and agent_place() is not None:
            self._relay = AgentRelay(lambda: url().rpartition("/")[0] + "/exec", token, tell)
        self.known_hosts = self._files.folder / "known_hosts" / f"port-{self._port}"
        # At once, so that who may not come in hears of it here, and the host key is known before the first connection.
        self._connect().channel.close()

    @property
    def _port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        super().close()
        if self._relay is not None:
            self._relay.close()

    def _open(self) -> Channel:
        return self._connect().channel

    def _connect(self) -> SshStream:
        keys = _as_many_as_fit([self._files.public_key(), *agent_keys(), *public_key_files()])
        agent = self._relay.name if self._relay is not None and self._relay.ensure() else ""
        stream = patiently(lambda: open_ssh(self._url(), self._token, keys, agent))
        names = dict.fromkeys(("localhost", "127.0.0.1", "::1", os.uname().nodename))
        hosts = ",".join(f"[{name}]:{self._port}" for name in names)
        self._files.known_hosts(f"port-{self._port}", stream.host_key, hosts)
        return stream


def _as_many_as_fit(keys: list[str]) -> list[str]:
    """Each once, without its comment; the first ones, of very many."""
    found, left = [], LONGEST_KEYS
    for key in dict.fromkeys(" ".join(key.split()[:2]) for key in keys):
        left -= len(key) + 1
        if left >= 0:
            found.append(key)
    return found
