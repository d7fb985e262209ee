"""The program that runs commands, as PID 1's third child."""

from __future__ import annotations

import os
import socket
import time

from toolkit_ext.job_init.processes import report
from toolkit_ext.job_init.run_file import Run

__all__ = ["ExecService"]

#: Seconds before it is started again when it has failed.
RESTART_S = 1.0
#: Connections that may wait to be accepted.
BACKLOG = 512


class ExecService:
    """Started at a request; may end and be asked for again as often as it likes.

    It is a fork of PID 1, which has all that it needs: no other program, and nothing of the image.
    """

    def __init__(self, run: Run, environment: dict[bytes, bytes]) -> None:
        self.pid: int | None = None
        self._run = run
        self._environment = environment
        self._not_before = 0.0

    def ensure(self) -> tuple[str, str]:
        """Start it unless it runs; its state and, where that helps, a reason in words."""
        if self.pid is not None:
            return "running", ""
        if time.monotonic() < self._not_before:
            return "starting", "it has just failed, and is started again in a moment"
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("0.0.0.0", self._run.exec_port))
            listener.listen(BACKLOG)
            pid = os.fork()
        except OSError as error:
            listener.close()
            return "unavailable", f"commands cannot be run in this job: {error.strerror} (port {self._run.exec_port})"
        if pid == 0:
            self._be(listener)
        listener.close()
        self.pid = pid
        return "running", ""

    def gone(self, code: int) -> None:
        self.pid = None
        if code:
            self._not_before = time.monotonic() + RESTART_S
            report(f"the program that runs commands ended with exit code {code}")

    def _be(self, listener: socket.socket) -> None:
        """The child's life. PID 1's descriptors are not for it, and its exit is not PID 1's."""
        code = 1
        try:
            import signal

            signal.set_wakeup_fd(-1)
            os.setsid()
            own = listener.fileno()
            os.closerange(3, own)
            os.closerange(own + 1, 4096)
            from toolkit_ext.job_init.exec_server import serve

            serve(listener, self._run, self._environment)
            code = 0
        except BaseException as error:
            report(f"the program that runs commands failed: {error!r}")
        finally:
            os._exit(code)
