"""Has what serves in a run started at the first request that needs it: the job server, or the program that runs commands.

Its start costs a second of CPU, which a job that nobody looks into never pays. job-init, the container's first process, listens
on a control port; who knows the run's secret may ask it to start the job server. What it answers comes out of the container
and is taken for no more than words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass

from toolkit_hub import clock
from toolkit_hub.gate.places import LAB_PORT, RunPlace

__all__ = ["CONTROL_PORT", "EXEC_PORT", "JobServers"]

log = logging.getLogger("toolkit.gate")

CONTROL_PORT = 8887
#: Where the program that runs commands listens.
EXEC_PORT = 8886
#: A job server that does not listen by then is reported as broken.
START_LIMIT_S = 60.0
_ASK_AGAIN_S = 0.15
_CONNECT_LIMIT_S = 3.0
_ANSWER_LIMIT_S = 5.0
_LONGEST_ANSWER = 8192
_REMEMBERED = 5000


@dataclass(frozen=True)
class _Answer:
    """What job-init said, or what kept it from saying anything."""

    state: str
    reason: str = ""

    @property
    def final(self) -> bool:
        return self.state in ("unavailable", "refused")


class JobServers:
    """One start at a time for each run, however many requests wait for it."""

    def __init__(self, request: str = "start-job-server", port: int = LAB_PORT) -> None:
        """`request` is what job-init is asked for, `port` where it serves then."""
        self._request, self._port = request, port
        self._up: set[str] = set()
        self._starts: dict[str, asyncio.Task[str]] = {}

    async def wait(self, run: RunPlace, seconds: float) -> str | None:
        """Start the run's job server if need be.

        Returns ``""`` when it is up, None when it needs longer than `seconds`, and else why it does not come up; then
        the next call tries again.
        """
        if run.id in self._up:
            return ""
        task = self._starts.get(run.id)
        if task is None:
            task = self._starts[run.id] = asyncio.create_task(self._start(run))
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            return None
        if self._starts.get(run.id) is task:
            del self._starts[run.id]
        reason = task.result()
        if not reason:
            if len(self._up) >= _REMEMBERED:
                self._up.clear()  # costs one question a run
            self._up.add(run.id)
        return reason

    def forget(self, run: RunPlace) -> None:
        """The run's job server was up and does not answer any more."""
        self._up.discard(run.id)

    async def _start(self, run: RunPlace) -> str:
        deadline = clock.monotonic() + START_LIMIT_S
        while True:
            answer = await _ask(run, self._request)
            if answer.final:
                log.info("run %s: job-init answers %s: %.200r", run.id, answer.state, answer.reason)
                return answer.reason or f"the container answers “{answer.state}”"
            if answer.state == "running" and await _listens(run, self._port):
                return ""
            if clock.monotonic() > deadline:
                why = answer.reason or "it is still starting"
                return f"it did not come up within {START_LIMIT_S:.0f} s ({why})"
            await asyncio.sleep(_ASK_AGAIN_S)

    async def close(self) -> None:
        """End the starts that are under way, as far as this side is concerned."""
        for task in self._starts.values():
            task.cancel()
        await asyncio.gather(*self._starts.values(), return_exceptions=True)


async def _ask(run: RunPlace, request: str) -> _Answer:
    try:
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            reader, writer = await asyncio.open_connection(run.ip, CONTROL_PORT, limit=_LONGEST_ANSWER)
        try:
            writer.write(json.dumps({"secret": run.secret, "do": request}).encode() + b"\n")
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                await writer.drain()
                answer = json.loads(await reader.readline())
        finally:
            writer.close()
    except OSError as error:  # time-outs among them
        return _Answer("starting", f"the container's first process does not answer: {type(error).__name__}")
    except ValueError:
        return _Answer("starting", "the container's first process answers something else")
    if not isinstance(answer, dict):
        return _Answer("starting", "the container's first process answers something else")
    return _Answer(str(answer.get("state", ""))[:32], str(answer.get("reason") or "")[:500])


async def _listens(run: RunPlace, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_LIMIT_S):
            _, writer = await asyncio.open_connection(run.ip, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
