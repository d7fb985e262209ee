"""`Client`: the REST API as typed methods, blocking. `toolkit_client.async_client` has the same for asyncio.

>>> with Client() as toolkit:                                    # doctest: +SKIP
...     job = toolkit.jobs.submit({"command": ["nvidia-smi"]})
...     for chunk in toolkit.jobs.logs(job.id, follow=True):
...         sys.stdout.buffer.write(chunk)

Address and token come from the environment or the profile (`toolkit_client.profiles`) unless they are given. Every failure
is a `ToolkitError`. Lost connections and the statuses 502, 503 and 504 are tried again with growing pauses; a call that
creates something carries one Idempotency-Key through all its attempts, or is not repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from toolkit_client import calls
from toolkit_client.errors import ServiceUnavailable
from toolkit_client.exchange import (
    RETRY_PAUSES,
    Attempts,
    LogTrail,
    WaitPauses,
    answer_of,
    arguments,
    error_of,
    find_site,
)

if TYPE_CHECKING:
    from toolkit_client.models import Job, JobSpec, Me, NewUser, QueueStatus, User

__all__ = ["Client", "Jobs", "Servers", "Users"]

ResultT = TypeVar("ResultT")


class Client:
    """The API, blocking. Close it, or use it as a context manager."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = 30.0,
        retry_pauses: tuple[float, ...] = RETRY_PAUSES,
    ) -> None:
        """`timeout` is in seconds, for one answer; `retry_pauses`, in seconds, are the waits between attempts.

        Raises:
            InvalidRequest: the address is none, or the profile file cannot be read.
        """
        self.site = find_site(url, token, profile)
        self._timeout = timeout
        self._pauses = retry_pauses
        self._http = httpx.Client(**self.site.options(timeout))
        self.jobs = Jobs(self)
        self.servers = Servers(self)
        self.users = Users(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def me(self) -> Me:
        """Who the token speaks for."""
        return self.call(calls.get_me())

    def queue(self) -> QueueStatus:
        return self.call(calls.get_queue())

    def call(self, call: calls.Call[ResultT]) -> ResultT:
        """Sends a call of `toolkit_client.calls` and reads its answer as a wire model."""
        return call.read(self.raw(call))

    def raw(self, call: calls.Call[Any]) -> Any:
        """Sends a call and gives the plain JSON of its answer.

        Raises:
            ToolkitError: the service refused or failed, or did not answer after the last attempt.
        """
        attempts = Attempts(call, self.site, self._pauses)
        while True:
            try:
                response = self._http.request(**arguments(call))
            except httpx.TransportError as problem:
                time.sleep(attempts.after_failure(problem))
                continue
            pause = attempts.after_answer(response)
            if pause is None:
                return answer_of(self.site, response)
            time.sleep(pause)

    def follow_trail(self, trail: LogTrail) -> Iterator[bytes]:
        """The bytes of a log as they come, across lost connections and restarts of the service."""
        pause: float | None
        while True:
            try:
                yield from self._read_once(trail)
                if trail.complete:
                    return
                pause = trail.after_end(bool(self.raw(trail.job_call)["alive"]))
            except (httpx.TransportError, ServiceUnavailable) as problem:
                pause = trail.after_failure(problem)
            if pause is None:
                return
            time.sleep(pause)

    def _read_once(self, trail: LogTrail) -> Iterator[bytes]:
        timeout = httpx.Timeout(self._timeout, connect=5.0, read=trail.patience)
        with self._http.stream(**arguments(trail.call), timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise error_of(self.site, response)
            if not trail.opened(response.headers):
                return
            for chunk in response.iter_raw():
                trail.received(len(chunk))
                yield chunk


class Jobs:
    """``client.jobs``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, spec: JobSpec | Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Submits a job; two calls with the same key give the same job."""
        return self._client.call(calls.submit_job(spec, idempotency_key))

    def list(self, *, limit: int | None = None, **filters: Any) -> list[Job]:
        """Jobs, newest first, at most `limit`; `filters` are those of `calls.list_jobs`."""
        jobs: list[Job] = []
        cursor: str | None = None
        while limit is None or len(jobs) < limit:
            page = self._client.call(calls.list_jobs(limit=calls.PAGE_SIZE, cursor=cursor, **filters))
            jobs += page.items
            cursor = page.next
            if cursor is None:
                break
        return jobs[:limit]

    def get(self, ref: str) -> Job:
        """`ref` is an id, a full name, or a bare name in the caller's home account."""
        return self._client.call(calls.get_job(ref))

    def kill(self, ref: str) -> Job:
        """Asks for the job's end; raises `Conflict` if it has ended already."""
        return self._client.call(calls.kill_job(ref))

    def logs(
        self, ref: str, *, follow: bool = False, tail: int | None = None, offset: int | None = None
    ) -> Iterator[bytes]:
        """The newest run's log: raw bytes, in pieces as they come. With `follow` it ends after the job's end."""
        client = self._client
        return client.follow_trail(LogTrail(client.site, ref, follow=follow, tail=tail, offset=offset))

    def wait(self, ref: str, timeout: float | None = None) -> Job:
        """Waits until the job has ended, at most `timeout` seconds.

        Raises:
            TimeoutError: the job lives on.
        """
        pauses = WaitPauses(ref, timeout)
        while (job := self.get(ref)).alive:
            time.sleep(pauses.next())
        return job


class Servers:
    """``client.servers``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def start(self) -> Job:
        """The caller's own server: the living one, or a new one."""
        return self._client.call(calls.start_server())


class Users:
    """``client.users``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[User]:
        return self._client.call(calls.list_users()).items

    def new(self, user: NewUser | Mapping[str, Any]) -> User:
        """Creates a user; only an administrator may."""
        return self._client.call(calls.create_user(user))
