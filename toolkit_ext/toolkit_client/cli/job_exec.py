"""``toolkit job exec``."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_logs import INTERRUPTED, WAITING, standing
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.problems import print_problem
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict

if TYPE_CHECKING:
    from toolkit_client.exec.session import CommandSession, Watcher

__all__ = ["exec_", "running_job"]

#: Exit code when nobody reads the output: as if by SIGPIPE.
PIPE_CLOSED = 141
#: A second Ctrl-C within so many seconds ends the client, and with it the command.
TWICE_S = 2.0


@click.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "toolkit job exec train nvidia-smi",
        "toolkit job exec --last -- bash",
        "toolkit job exec -w /data -e LEVEL=9 acme.joe.train -- sh -c 'tar c . | gzip -$LEVEL' > data.tar.gz",
        "toolkit job exec train python3 - < script.py",
    ),
)
@click.argument("words", metavar="ID CMD…", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_living_jobs)
@click.option("--last", is_flag=True, help="In the newest job that you created; then there is no ID.")
@click.option("-e", "--env", "variables", metavar="K=V", multiple=True, help="Set a variable; K alone takes yours.")
@click.option("-w", "--workdir", metavar="DIR", default="", help="Folder to run it in (default: the job's own).")
@click.option("-t", "terminal", flag_value="yes", help="Give it a terminal, also when stdin or stdout is none.")
@click.option("-T", "terminal", flag_value="no", help="Give it pipes, also when stdin and stdout are a terminal.")
@click.option(
    "-i/-n", "with_input", default=True, help="Pass stdin on (default), or give it none: for loops in scripts."
)
@click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")
@click.pass_obj
def exec_(
    state: State,
    words: tuple[str, ...],
    last: bool,
    variables: tuple[str, ...],
    workdir: str,
    terminal: str | None,
    with_input: bool,
    wait: bool,
) -> int:
    """Run a command in a job that runs, as the job's user, beside what the job does.

    It has the job's environment and folder. stdin, stdout and stderr stay apart, or are a terminal when both ends here are
    one. Signals that this command gets go to it, and its exit code is this command's: 127 when it is not in the image, 126 when
    it cannot be run, 128 + N when signal N ended it. Needs `job:exec`.

    A broken connection is taken up again, and nothing is lost or done twice. When this command is gone for good, the other one
    is ended after 5 minutes; a second Ctrl-C within 2 seconds ends both at once.
    """
    ref, command = _split(words, last)
    try:
        job = running_job(state, ref, last, wait=wait)
    except KeyboardInterrupt:
        return INTERRUPTED
    is_terminal = terminal == "yes" or (terminal is None and _is_terminal(0) and _is_terminal(1))
    added = [_variable(item) for item in variables]
    if is_terminal:
        added.insert(0, b"TERM=" + os.environb.get(b"TERM", b"xterm"))
    if not is_terminal:
        return _run(state, job, command, added, workdir, with_input, None)
    return _run_in_terminal(state, job, command, added, workdir, with_input)


def _split(words: tuple[str, ...], last: bool) -> tuple[str | None, list[bytes]]:
    """The job, and the command's words."""
    rest = list(words)
    ref = None if last else (rest.pop(0) if rest else None)
    if ref is None and not last:
        raise click.UsageError("which job? Give its ID or name, or --last for the newest one that you created")
    if rest[:1] == ["--"]:
        rest.pop(0)
    if not rest:
        raise click.UsageError(
            "which command? For a shell: `toolkit job exec ID bash`, or sh where the image has no bash"
        )
    return ref, [os.fsencode(word) for word in rest]


def _variable(item: str) -> bytes:
    name, equals, _ = item.partition("=")
    if not name or "\0" in item:
        raise click.UsageError(f"-e takes NAME=VALUE or NAME, not {item[:40]!r}")
    return os.fsencode(item if equals else f"{name}={os.environ.get(name, '')}")


def _is_terminal(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def running_job(state: State, ref: str | None, last: bool, *, wait: bool) -> dict[str, Any]:
    """The job, when it runs; with `wait` it is waited for, and each new reason for that is told.

    Raises:
        Conflict: it waits, and should not be waited for; or it has ended; or it is a whole array.
    """
    from toolkit_client.exchange import WaitPauses

    job = state.job(ref, last)
    if job["kind"] == "array":
        raise Conflict(f"{standing(job)}: that is an array", "name one of its jobs by its index, as sweep:3")
    pauses, told = WaitPauses(job["id"], None), ""
    while job["state"] in WAITING:
        words = standing(job)
        if not wait:
            raise Conflict(f"{words}: nothing can be run in it yet", "--wait waits until it runs")
        if words != told:
            print(words, file=sys.stderr)
            told = words
        time.sleep(pauses.next())
        job = state.client().raw(calls.get_job(job["id"]))
    if not job["alive"]:
        raise Conflict(
            f"{standing(job)}: it has ended", "its output: `toolkit job logs`; `toolkit job retry` runs it again"
        )
    return job


def _run_in_terminal(
    state: State, job: dict[str, Any], words: list[bytes], variables: list[bytes], folder: str, with_input: bool
) -> int:
    from toolkit_client.exec.terminal import Terminal

    terminal = Terminal()
    if not _is_terminal(0):
        return _run(state, job, words, variables, folder, with_input, terminal.size)
    with terminal:
        return _run(state, job, words, variables, folder, with_input, terminal.size, terminal)


def _run(
    state: State,
    job: dict[str, Any],
    words: list[bytes],
    variables: list[bytes],
    folder: str,
    with_input: bool,
    size: tuple[int, int] | None,
    watcher: Watcher | None = None,
) -> int:
    from toolkit_client.exec.commands import JobCommands
    from toolkit_client.exec.session import Command, CommandSession, OutputGone, Told
    from toolkit_client.exec.streams import Descriptors

    commands = JobCommands(job["labUrl"], state.signed_in().token)
    streams = Descriptors(with_input=with_input)
    session = CommandSession(commands.open, Command(words, variables, folder, size), streams, watcher or Told())
    handlers = _Signals(session)
    try:
        with handlers:
            code, reason = session.run()
    except OutputGone:
        return handlers.ended_by or PIPE_CLOSED
    except KeyboardInterrupt:
        return handlers.ended_by or INTERRUPTED
    if reason:
        if watcher is not None:
            watcher.lost()  # the terminal is for people again
        print_problem(reason, "")
    return code


class _Signals:
    """While a command runs: signals that come here go there."""

    PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self, session: CommandSession) -> None:
        self._session = session
        self._last: dict[int, float] = {}
        self._before: dict[int, Any] = {}
        #: Exit code when a signal has ended this side.
        self.ended_by = 0

    def __enter__(self) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._session.wakeup, self._pipe = reader, (reader, writer)
        self._wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*self.PASSED_ON, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                self._before[number] = signal.signal(number, self._came)
        self._before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resized)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        for fd in self._pipe:
            os.close(fd)

    def _came(self, number: int, frame: FrameType | None) -> None:
        twice = time.monotonic() - self._last.get(number, -TWICE_S) < TWICE_S
        self._last[number] = time.monotonic()
        if self._session.attached and number != signal.SIGHUP and not twice:
            self._session.signal(number)
            return
        self.ended_by = 128 + number
        self._session.leave()
        if not self._session.attached:
            raise KeyboardInterrupt

    def _resized(self, number: int, frame: FrameType | None) -> None:
        from toolkit_client.exec.terminal import Terminal

        self._session.resize(*Terminal().size)
