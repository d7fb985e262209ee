"""A run's log over HTTP, as it is written. The file is the user's to write: it is never followed through a link."""

from __future__ import annotations

import asyncio
import os
import stat
from contextlib import suppress
from pathlib import Path

from sqlalchemy.orm import Session
from tornado.iostream import StreamClosedError

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.api.routing import Call
from toolkit_hub.domain import jobs
from toolkit_hub.domain.access import Actor, authorise

__all__ = ["stream_job_log"]

CHUNK = 64 * 1024
#: Seconds between two looks at a growing file: short after output or a change of state, longer in a silence.
SHORTEST_WAIT_S, LONGEST_WAIT_S = 0.02, 0.25
#: Seconds after which a silence is one.
LIVELY_S = 3.0
#: How far back `tail` looks for line ends.
TAIL_WINDOW = 4 * 1024 * 1024


async def stream_job_log(call: Call) -> None:
    """Send what is there, and with `follow` what comes, until the job has ended."""
    context, reference = call.context, call.path_arguments["job"]
    follow, tail = call.flag("follow"), call.number("tail", None, 0, 10**9)
    position = call.number("offset", 0, 0, 2**60) or 0
    run_id, alive = await context.store.read(_newest_run, call.actor, reference)
    path = context.places.runs_dir / run_id / "log"
    call.handler.set_header("Content-Type", "application/octet-stream")
    call.handler.set_header("X-Toolkit-Run", run_id)
    reader = _LogReader(path, position)
    try:
        if tail is not None:
            reader.seek_tail(tail)
        call.handler.set_header("X-Toolkit-Log-Start", str(reader.position))
        await call.handler.flush()
        with context.store.watch() as changed, suppress(StreamClosedError):
            active = clock.monotonic()
            while not call.handler.disconnected:
                if changed.is_set():
                    changed.clear()
                    active = clock.monotonic()
                    run_id, alive = await context.store.read(_newest_run, call.actor, reference)
                if await _send_available(call, reader):
                    active = clock.monotonic()
                    continue
                if not (follow and alive):
                    break
                lively = clock.monotonic() - active < LIVELY_S
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), SHORTEST_WAIT_S if lively else LONGEST_WAIT_S)
    finally:
        reader.close()


async def _send_available(call: Call, reader: _LogReader) -> bool:
    sent = False
    while (data := reader.read()) and not call.handler.disconnected:
        call.handler.write(data)
        await call.handler.flush()  # waits while the reader is slow
        sent = True
    return sent


def _newest_run(session: Session, actor: Actor, reference: str) -> tuple[str, bool]:
    """Checked each time something changes, so that a revocation ends a follow."""
    job = jobs.find_job(session, actor, reference)
    authorise(session, actor, "job:get", job.urn)
    return job.runs[-1].id, JobState(job.state).alive


class _LogReader:
    """A file that may not be there yet."""

    def __init__(self, path: Path, position: int) -> None:
        self._path, self.position = path, position
        self._handle: int | None = None

    def read(self) -> bytes:
        handle = self._open()
        if handle is None:
            return b""
        data = os.pread(handle, CHUNK, self.position)
        self.position += len(data)
        return data

    def seek_tail(self, lines: int) -> None:
        """Go to the start of the last `lines` lines; within the last 4 MiB."""
        handle = self._open()
        if handle is None:
            return
        size = os.fstat(handle).st_size
        start = max(0, size - TAIL_WINDOW)
        window = os.pread(handle, size - start, start)
        end = len(window) - 1 if window.endswith(b"\n") else len(window)
        cut = len(window) if lines == 0 else end
        for _ in range(lines):
            cut = window.rfind(b"\n", 0, cut)
            if cut < 0:
                break
        if lines:
            cut += 1
        self.position = start + cut

    def _open(self) -> int | None:
        if self._handle is None:
            try:
                handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                return None
            self._handle = handle
        return self._handle

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
