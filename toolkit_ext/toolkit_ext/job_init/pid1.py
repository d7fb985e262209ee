"""The loop of PID 1: children, output and signals."""

# ruff: noqa: SIM105 (contextlib would cost 9 ms)
from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # `signal` builds enums, which costs 7 ms
import fcntl
import os
import select
import time

from toolkit_ext.job_init.log import Log
from toolkit_ext.job_init.processes import (
    NOT_FOUND,
    NOT_STARTED,
    initial_environment,
    report,
    send_signal,
    spawn,
    why_not_started,
)
from toolkit_ext.job_init.run_file import Run
from toolkit_ext.job_init.server import JobServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from toolkit_ext.job_init.control import Control
    from toolkit_ext.job_init.exec_service import ExecService

__all__ = ["JobInit"]

#: Seconds before the engine's own deadline at which everything but PID 1 is killed.
RESERVE_S = 2.0
#: Seconds that the job server gets to end after the command has.
SERVER_END_S = 1.0
#: Bytes that the kernel holds of the output while PID 1 is not at its turn.
PIPE_BYTES = 1 << 20

#: Signals that end the run, and those that are only passed on.
ENDING = (signal.SIGTERM, signal.SIGINT)
PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


#: The time by which a run that is stopped for another one must be gone, in seconds since 1970, and once more for people.
PREEMPT_FILE = "/run/toolkit/preempt"


def seconds_to_deadline() -> float:
    """How long a run that is being stopped for another one may still take; 0 for one that is not."""
    try:
        with open(PREEMPT_FILE) as file:
            return float(file.read(64).split()[0]) - time.time()
    except (OSError, ValueError, IndexError):
        return 0.0


class JobInit:
    """One run from start to end."""

    def __init__(self, run: Run, log: Log) -> None:
        self._run = run
        self._log = log
        self._environment = {**initial_environment(), **run.environment}
        self._server = JobServer(run, self._environment)
        self._exec: ExecService | None = None
        self._command: int | None = None
        self._exit_code: int | None = None
        self._signals: list[int] = []
        self._kill_at: float | None = None
        self._output: int | None = None
        self._poll = select.poll()
        self._wakeup = self._watch_signals()

    def run(self) -> int:
        """Returns the run's exit code."""
        if self._run.command is not None:
            self._start_command(self._run.command)
        if self._exit_code is None:
            from toolkit_ext.job_init.control import Control  # the command did not have to wait for this one

            asked = {"start-job-server": self._ensure_server, "start-exec": self._ensure_exec}
            control = Control(self._run, asked, self._poll)
            if self._run.prewarm:
                self._ensure_server()
            while self._exit_code is None:
                self._turn(control)
        self._drain()
        self._end_server()
        self._log.close()
        return self._exit_code

    # --- children ---------------------------------------------------------------------------------------------------

    def _start_command(self, words: list[str]) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        try:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass  # the user's share of pipe memory is used up; the smaller pipe works as well
        try:
            self._command = spawn(words, self._environment, self._run.workdir, writer)
        except (OSError, ValueError, IndexError) as error:
            self._exit_code, text = self._why_not(words, error)
            self._log.note(text)
        finally:
            os.close(writer)
        self._output = reader
        self._poll.register(reader, select.POLLIN)

    def _why_not(self, words: list[str], error: OSError | ValueError | IndexError) -> tuple[int, str]:
        folder = self._run.workdir
        if not words or not words[0] or isinstance(error, IndexError):
            return NOT_FOUND, "cannot run an empty command; name a program after `--`"
        if not os.path.isdir(folder):
            return NOT_STARTED, f"cannot run {words[0][:200]!r}: its working directory {folder!r} is not in the image"
        if not os.access(folder, os.X_OK):
            return (
                NOT_STARTED,
                f"cannot run {words[0][:200]!r}: its working directory {folder!r} is closed to the job's user",
            )
        return why_not_started(words, error, folder, os.fsdecode(self._environment.get(b"PATH", b"")))

    def _ensure_server(self) -> tuple[str, str]:
        if self._kill_at is not None or self._exit_code is not None:
            return "unavailable", "the job is being stopped"
        return self._server.ensure()

    def _ensure_exec(self) -> tuple[str, str]:
        if self._exit_code is not None:
            return "unavailable", "the job is being stopped"
        if self._exec is None:
            from toolkit_ext.job_init.exec_service import ExecService

            self._exec = ExecService(self._run, self._environment)
        return self._exec.ensure()

    def _reap(self) -> None:
        """Take every ended process, orphans of others included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code
            if pid == self._command:
                self._command, self._exit_code = None, code
            elif pid == self._server.pid:
                self._server.gone(code)
                if self._run.command is None and self._kill_at is not None:
                    self._exit_code = 0
            elif self._exec is not None and pid == self._exec.pid:
                self._exec.gone(code)

    def _end_server(self) -> None:
        if self._exec is not None and self._exec.pid is not None:
            send_signal(self._exec.pid, signal.SIGTERM)
        if self._server.pid is None:
            return
        send_signal(self._server.pid, signal.SIGTERM)
        end = time.monotonic() + SERVER_END_S
        while self._server.pid is not None and time.monotonic() < end:
            self._wait(end, [self._wakeup])
            self._reap()
        if self._server.pid is not None:
            send_signal(self._server.pid, signal.SIGKILL)

    # --- events -----------------------------------------------------------------------------------------------------

    def _turn(self, control: Control) -> None:
        deadlines = [deadline for deadline in (self._kill_at, control.next_deadline()) if deadline is not None]
        for fd in self._wait(min(deadlines, default=None)):
            if fd == self._output:
                self._pump()
            elif fd == self._wakeup:
                self._reap()
            else:
                control.handle(fd)
        self._take_signals()
        control.drop_late()
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill_everything()

    def _wait(self, deadline: float | None, only: list[int] | None = None) -> list[int]:
        """Descriptors with something to do, at the latest at `deadline`."""
        poll = self._poll
        if only is not None:
            poll = select.poll()
            for fd in only:
                poll.register(fd, select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000 + 1
        ready = [fd for fd, _ in poll.poll(left)]
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
        return ready

    def _pump(self) -> None:
        assert self._output is not None
        try:
            data = os.read(self._output, PIPE_BYTES)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
            return
        self._poll.unregister(self._output)  # the command closed its output, and may well go on
        os.close(self._output)
        self._output = None

    def _drain(self) -> None:
        """Keep what the command had written when it ended, and do not wait for others that hold its pipe open."""
        if self._output is None:
            return
        left = fcntl.fcntl(self._output, fcntl.F_GETPIPE_SZ)
        while left > 0:
            try:
                data = os.read(self._output, left)
            except BlockingIOError:
                return
            if not data:
                return
            self._log.write(data)
            left -= len(data)

    # --- signals ----------------------------------------------------------------------------------------------------

    def _watch_signals(self) -> int:
        """Signals only wake the loop up; what they mean is done there."""
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in (*ENDING, *PASSED_ON, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._poll.register(reader, select.POLLIN)
        return reader

    def _take_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGCHLD:
                continue
            if self._command is not None:
                send_signal(self._command, number)
            if number in ENDING and self._kill_at is None:
                self._begin_stop()

    def _begin_stop(self) -> None:
        grace = max(self._run.stop_grace, seconds_to_deadline())
        self._kill_at = time.monotonic() + max(grace - RESERVE_S, grace / 2)
        if self._run.command is not None:
            return
        if self._server.pid is None:
            self._exit_code = 0
        else:
            send_signal(self._server.pid, signal.SIGTERM)

    def _kill_everything(self) -> None:
        report("still running at the end of its grace: killed")
        self._kill_at = time.monotonic() + 1  # whatever was started in between
        if os.getpid() == 1:
            try:
                os.kill(-1, signal.SIGKILL)
            except OSError:
                pass
            return
        for group in (self._command, self._server.pid, self._exec.pid if self._exec else None):
            if group is not None:
                send_signal(group, signal.SIGKILL)
