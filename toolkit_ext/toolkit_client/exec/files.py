"""The files of a job: the other end of a transfer is a program that runs in the job (`toolkit_client.transfer.job_end`).

Each request is a command of its own, as `toolkit job exec` runs one: so it outlives broken connections, and takes no port and no
server in the job. What comes back is as little to be trusted as everything that a job says.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from toolkit_client.errors import Conflict, ServiceUnavailable, ToolkitError, error_from_body
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.session import Command, CommandSession, OutputGone
from toolkit_client.transfer.link import Interrupted, Query
from toolkit_client.transfer.paths import text_of_path
from toolkit_client.transfer.records import CONTENT_TYPE
from toolkit_ext.job_init.exec_frames import CHUNK, STDOUT

__all__ = ["JobLink"]

PROGRAM = (b"/opt/toolkit/base/bin/python3", b"-I", b"-m", b"toolkit_client.transfer.job_end")
#: Seconds that the program lives on without a connection: a transfer that is begun again waits for it, see `job_end`.
_KEEP_S = 5.0
_PIPE_SIZE = 1 << 20
_LONGEST_LINE = 64 * 1024
#: Bytes of an answer that is no stream of files.
_LONGEST_ANSWER = 64 * 2**20
_KEPT_OF_STDERR = 4096


class JobLink:
    """Requests about the files of one job; several may be under way at once, each over a connection of its own."""

    def __init__(self, open_channel: Callable[[], Channel]) -> None:
        """`open_channel` gives a connection for one command in the job's present run."""
        self._open_channel = open_channel

    def open(
        self,
        method: str,
        ref: str,
        what: str,
        *,
        query: Query | None = None,
        body: bytes | Iterable[bytes] | None = None,
        content_type: str = CONTENT_TYPE,
    ) -> io.BufferedIOBase:
        """See `toolkit_client.transfer.link.Link`; `method` and `ref` say nothing here."""
        asked = {
            name: text_of_path(value) if isinstance(value, bytes) else value for name, value in (query or {}).items()
        }
        run = _Run(self._open_channel, [*PROGRAM, what.encode(), json.dumps(asked).encode()])
        try:
            run.send(body)
            run.read_first_line()
        except BaseException:
            run.close()
            raise
        return _Answer(run)

    def json(self, what: str, **query: str | bytes | bool | None) -> Any:
        """The same for what answers with JSON. Raises `ToolkitError`."""
        with self.open("POST", "", what, query=query) as answer:
            try:
                return json.loads(answer.read())
            except ValueError as problem:
                raise Interrupted("the job's end of the transfer gave no answer", "try again") from problem


class _Pipes:
    """Input and output of a command as pipes of this process."""

    def __init__(self) -> None:
        self.source, self.to_command = os.pipe()
        self.from_command, self.sink = os.pipe()
        self.stderr = bytearray()
        for fd in (self.source, self.sink):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError, AttributeError):  # only Linux has it
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)

    def input_fd(self) -> int:
        return self.source

    def read(self) -> bytes:
        return os.read(self.source, CHUNK)

    def output_fd(self, kind: int) -> int | None:
        return self.sink if kind == STDOUT else None

    def write(self, kind: int, data: memoryview) -> int:
        if kind != STDOUT:
            self.stderr += data[: _KEPT_OF_STDERR - len(self.stderr)]
            return len(data)
        try:
            return os.write(self.sink, data)
        except BlockingIOError:
            return 0


class _Run:
    """One command; a thread carries its bytes."""

    def __init__(self, open_channel: Callable[[], Channel], words: list[bytes]) -> None:
        self._pipes = _Pipes()
        self._session = CommandSession(open_channel, Command(words, keep=_KEEP_S), self._pipes)
        self._wakeup, self._waker = os.pipe()
        self._session.wakeup = self._wakeup
        self._closed = False
        self._input: int | None = self._pipes.to_command
        self.output = io.BufferedReader(io.FileIO(self._pipes.from_command), _PIPE_SIZE)
        self._failure: BaseException | None = None
        self._code = 0
        self._reason = ""
        self._thread = threading.Thread(target=self._carry, name="toolkit-job-files", daemon=True)
        self._thread.start()

    def _carry(self) -> None:
        try:
            self._code, self._reason = self._session.run()
        except BaseException as problem:  # whoever reads the answer wants to know
            self._failure = problem
        finally:
            for fd in (self._pipes.source, self._pipes.sink, self._wakeup):
                os.close(fd)

    def send(self, body: bytes | Iterable[bytes] | None) -> None:
        """All of the input, and its end. Returns early when nobody reads it: the answer says why."""
        assert self._input is not None
        try:
            for block in [body] if isinstance(body, bytes) else body or ():
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(self._input, rest) :]
        except BrokenPipeError:
            pass
        self._end_input()

    def _end_input(self) -> None:
        if self._input is not None:
            os.close(self._input)
            self._input = None

    def read_first_line(self) -> None:
        """Raises `ToolkitError` when it is an error, or there is none."""
        line = self.output.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._why_none()
        try:
            body = json.loads(line)
        except ValueError:
            raise self._why_none() from None
        if body:
            status = body.get("error", {}).get("status") if isinstance(body, dict) else None
            raise error_from_body(status if isinstance(status, int) else 500, body)

    def _why_none(self) -> Exception:
        self.close()
        self._thread.join(5)
        if isinstance(self._failure, Conflict | ServiceUnavailable):  # another one may well do
            return Interrupted(self._failure.message, self._failure.hint)
        if isinstance(self._failure, ToolkitError):
            return self._failure
        said = self._pipes.stderr.decode("utf-8", "replace").strip()
        if self._code in (126, 127) or "No module named" in said:
            return Conflict(
                f"files cannot be moved in this job: {self._reason or 'it was started by an older version of the site'}",
                "start it again; meanwhile `toolkit job exec JOB tar …` moves files",
            )
        if isinstance(self._failure, OutputGone) or not said:
            return Interrupted("the job's end of the transfer is gone", "trying again goes on from there")
        return Interrupted(f"the job's end of the transfer failed: {said.splitlines()[-1][:200]}", "try again")

    def close(self) -> None:
        """End it, whether it is through or not; waits for nothing. Once is enough."""
        if self._closed:
            return
        self._closed = True
        self._end_input()
        self._session.leave()
        with contextlib.suppress(OSError):  # it has ended by itself
            os.write(self._waker, b"1")
        os.close(self._waker)
        self.output.close()


class _Answer(io.BufferedIOBase):
    """What the command writes behind its first line."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return self._run.output.read(size)
        whole = self._run.output.read(_LONGEST_ANSWER + 1)
        if len(whole) > _LONGEST_ANSWER:
            raise Conflict(
                "the job's end of the transfer says more than it has to", "something else answers in its place"
            )
        return whole

    def read1(self, size: int = -1, /) -> bytes:
        return self._run.output.read1(size)

    def close(self) -> None:
        if not self.closed:
            self._run.close()
        super().close()
