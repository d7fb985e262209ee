"""Commands in one job, for programs: input and output are in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from toolkit_client.exec.channel import EXEC_PROTOCOL, Channel, open_channel, run_url
from toolkit_client.exec.session import Command, CommandSession
from toolkit_client.exec.streams import Memory
from toolkit_ext.job_init.exec_frames import STDERR, STDOUT

__all__ = ["Done", "JobCommands", "run_url"]


@dataclass(frozen=True)
class Done:
    """A command that has ended. `reason`: why it could not be started (exit codes 126 and 127)."""

    code: int
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    reason: str = ""


class JobCommands:
    """Runs commands in one job's present run. May be used by many threads at once; each command has its own connection."""

    def __init__(self, lab_url: str, token: str) -> None:
        self._url = run_url(lab_url, "exec")
        self._token = token

    def run(
        self,
        words: Sequence[str | bytes],
        *,
        input: bytes = b"",
        variables: Mapping[str, str] | None = None,
        folder: str = "",
    ) -> Done:
        """Run a command to its end. A command that cannot be started is `Done` too, by 126 or 127.

        Raises:
            ToolkitError: the job does not run, or you may not run commands in it (`job:exec`).
        """
        added = [os.fsencode(f"{name}={value}") for name, value in (variables or {}).items()]
        command = Command([os.fsencode(word) for word in words], added, folder)
        streams = Memory(input)
        code, reason = CommandSession(self.open, command, streams).run()
        return Done(code, bytes(streams.outputs[STDOUT]), bytes(streams.outputs[STDERR]), reason)

    def open(self) -> Channel:
        """A connection for one command."""
        return open_channel(self._url, self._token, EXEC_PROTOCOL)
