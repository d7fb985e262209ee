"""Where a job that lives is now: looked up again while it is used, for a job that is restarted gets another run."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from toolkit_client import calls
from toolkit_client.cli.job_logs import standing
from toolkit_client.cli.state import State
from toolkit_client.errors import Gone, ServiceUnavailable

__all__ = ["JobPlace"]

#: Seconds for which an address is taken for true.
_FRESH_S = 5.0


class JobPlace:
    """One job's addresses, for several threads. While the service is away the last ones are given."""

    def __init__(self, state: State, job: dict[str, Any]) -> None:
        self._state, self._job = state, job
        self._lock = threading.Lock()
        self._until = 0.0

    @property
    def job_id(self) -> str:
        return str(self._job["id"])

    def of(self, what: str) -> Callable[[], str]:
        """Gives what is below the address of the present run, as ``tcp/8080``. Raises `Gone` when the job has ended."""
        from toolkit_client.exec.commands import run_url

        return lambda: run_url(self.now()["labUrl"], what)

    def now(self) -> dict[str, Any]:
        """The job. Raises `Gone` when it has ended."""
        with self._lock:
            if time.monotonic() > self._until:
                with contextlib.suppress(ServiceUnavailable):  # not tried again: the address that is known may well do
                    self._job = self._state.client().raw(calls.get_job(self._job["id"]), retry_pauses=())
                self._until = time.monotonic() + _FRESH_S
            if not self._job["alive"]:
                raise Gone(f"{standing(self._job)}: it has ended", "`toolkit job retry` runs it again")
            return self._job

    def request(self, call: calls.Call[Any]) -> Any:
        """Ask the service something else, as plain JSON; the connection to it is used by one thread at a time."""
        with self._lock:
            return self._state.client().raw(call)
