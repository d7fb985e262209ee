"""A job's output, followed across lost connections, restarts of the service, gaps and new runs, without a byte twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from toolkit_client.calls import (
    LOG_END_HEADER,
    LOG_START_HEADER,
    RUN_INDEX_HEADER,
    gap_notice,
    get_job,
    read_logs,
)
from toolkit_client.errors import ServiceUnavailable
from toolkit_client.exchange import Site
from toolkit_client.trails import SILENCE, Notice, Trail

__all__ = ["LogTrail"]

#: Answers in a row without a byte, though there should be some, after which a log is taken to be at its end.
MOST_EMPTY = 3


class LogTrail(Trail[bytes]):
    """The output of one run after the other.

    The end of a connection does not mean the end of the log: a service that restarts, or a proxy before it, may end it
    as cleanly as the run's own end would. So the job's state decides, and after the run has ended its log is asked for
    once more from where it stopped, until nothing is left. Then comes the next run, if the job was started anew.

    Each answer is asked for without gaps (see `read_logs`), so the position in the output is always known; where output is
    not kept, the next answer begins later than it was asked to, and a line takes the place of what is missing.
    """

    def __init__(
        self,
        site: Site,
        ref: str,
        *,
        follow: bool,
        tail: int | None = None,
        since: str | None = None,
        offset: int | None = None,
        run: int | None = None,
        notice: Notice | None = None,
    ) -> None:
        """`run`: this one alone; without it the newest, and with `follow` those that come after it."""
        super().__init__(site, notice)
        self.call = read_logs(ref, follow=follow, tail=tail, since=since, offset=offset, run=run)
        self.job_call = get_job(ref)
        self.follow = follow
        self._ref = ref
        self._moves_on = follow and run is None
        self._run = run
        self._position = (offset or 0) if tail is None and since is None else None
        self._end: int | None = None
        self._gap = b""
        self._received = 0
        self._empty = 0
        self._newer_run = False

    @property
    def patience(self) -> float | None:
        return SILENCE if self._position is not None else None

    @property
    def complete(self) -> bool:
        if self.follow:
            return False
        return self._position is None or self._position >= (self._end or 0) or self._empty >= MOST_EMPTY

    def opened(self, headers: Mapping[str, str]) -> bool:
        """The bytes to come start where the answer says, or where it was asked to start."""
        super().opened(headers)
        start, end, run = (headers.get(name, "") for name in (LOG_START_HEADER, LOG_END_HEADER, RUN_INDEX_HEADER))
        if start.isdecimal():
            missing = 0 if self._position is None else int(start) - self._position
            self._gap = gap_notice(missing) if missing > 0 else b""
            self._position = int(start)
        self._end = int(end) if end.isdecimal() else None
        self._run = int(run) if run.isdecimal() else self._run
        self._received, self._empty = 0, self._empty + 1
        return True

    def received(self, chunk: bytes) -> Iterable[bytes]:
        self._received += len(chunk)
        if self._position is not None:
            self._position += len(chunk)
        self._empty = 0
        self._in_reach()
        if not self._gap:
            return (chunk,)
        gap, self._gap = self._gap, b""
        return (gap, chunk)

    def may_go_on(self, job: Mapping[str, Any]) -> bool:
        """Whether the present run lives. A newer one means that it has ended, whatever the job's state."""
        newest = max((int(run["index"]) for run in job["runs"]), default=0)
        self._newer_run = self._run is not None and newest > self._run
        return bool(job["alive"]) and not self._newer_run

    def after_end(self, alive: bool) -> float | None:
        """Raises ServiceUnavailable when the run goes on, but where its log was cut is not known."""
        if not self._resumable:
            if alive:
                raise ServiceUnavailable("the service ended the log before the job's end", "ask again without a tail")
            return None
        if not self._received and not alive and self.follow:
            if not (self._newer_run and self._moves_on):
                return None
            self._next_run()
        self._resume()
        return 0.5 if alive and not self._received else 0.0

    def _next_run(self) -> None:
        assert self._run is not None
        if self._notice is not None:
            self._notice(f"run {self._run} has ended; what follows is the output of run {self._run + 1}")
        self._run, self._position = self._run + 1, 0

    @property
    def _lasting(self) -> bool:
        return self.follow

    @property
    def _resumable(self) -> bool:
        return self._position is not None or not self._received

    def _resume(self) -> None:
        super()._resume()
        if self._position is not None:
            self.call = read_logs(self._ref, follow=self.follow, offset=self._position, run=self._run)
