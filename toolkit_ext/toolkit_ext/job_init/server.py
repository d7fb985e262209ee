"""The job server as PID 1's second child."""

from __future__ import annotations

import os
import time

from toolkit_ext.job_init.processes import report, spawn
from toolkit_ext.job_init.run_file import Run

__all__ = ["JobServer"]

SECRET_VARIABLE = b"TOOLKIT_RUN_SECRET"
#: Seconds before a job server that ended is started again: doubled each time, from the first to the second.
RESTART_S = (1.0, 60.0)


class JobServer:
    """The second child. It may end and be asked for again as often as it likes."""

    def __init__(self, run: Run, environment: dict[bytes, bytes]) -> None:
        self.pid: int | None = None
        self._port = run.lab_port
        self._words = [run.job_server, "--base-url", run.base_url, "--port", str(run.lab_port)]
        self._environment = {**environment, SECRET_VARIABLE: run.secret.encode()}
        self._home = os.fsdecode(environment.get(b"HOME", b"/"))
        self._ended = ""
        self._not_before = 0.0
        self._pause = RESTART_S[0]

    def ensure(self) -> tuple[str, str]:
        """Start it unless it runs; its state and, where that helps, a reason in words."""
        if self.pid is None:
            wait = self._not_before - time.monotonic()
            if wait > 0:
                return "unavailable", f"{self._ended}; it is started again in {wait:.0f} s at the earliest"
            try:
                self.pid = spawn(self._words, self._environment, self._home if os.path.isdir(self._home) else "/", 1)
            except (OSError, ValueError) as error:
                return "unavailable", self._why_not(error)
            report(f"job server started, pid {self.pid}")
        if is_listening(self._port):
            self._pause = RESTART_S[0]
            return "running", ""
        return "starting", "the job server was started and does not listen yet"

    def gone(self, code: int) -> None:
        self.pid = None
        self._ended = f"the job server ended with exit code {code}"
        self._not_before = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, RESTART_S[1])
        report(self._ended)

    def _why_not(self, error: OSError | ValueError) -> str:
        program = self._words[0]
        if isinstance(error, FileNotFoundError):
            return f"this site's runtime folder has no {program}; its administrator builds it anew with `make runtime`"
        return f"{program} cannot be started: {error}"


def is_listening(port: int) -> bool:
    """Whether some process of this container listens on `port`; read from the kernel, for a connection could block."""
    suffix = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                rows = [line.split()[1:4] for line in file]
        except OSError:
            continue
        if any(row[0].endswith(suffix) and row[2] == "0A" for row in rows):
            return True
    return False
