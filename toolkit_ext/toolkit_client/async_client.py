"""`AsyncClient`: what `toolkit_client.client.Client` is, for asyncio programs.

>>> async with AsyncClient() as toolkit:                         # doctest: +SKIP
...     job = await toolkit.jobs.submit({"command": ["nvidia-smi"]})
...     async for chunk in toolkit.jobs.logs(job.id, follow=True):
...         sys.stdout.buffer.write(chunk)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from toolkit_client import calls
from toolkit_client.async_access_groups import (
    AsyncAccounts,
    AsyncAudit,
    AsyncDataSets,
    AsyncLocks,
    AsyncOrganizations,
    AsyncQuotas,
    AsyncRoles,
    AsyncRules,
    AsyncTeams,
    AsyncUsers,
)
from toolkit_client.errors import ServiceUnavailable
from toolkit_client.exchange import (
    RETRY_PAUSES,
    Attempts,
    WaitPauses,
    answer_of,
    arguments,
    error_of,
    find_site,
)
from toolkit_client.log_trail import LogTrail
from toolkit_client.trails import EventTrail, Notice, Trail

if TYPE_CHECKING:
    from toolkit_client.metrics_models import JobMetrics, TopJob
    from toolkit_client.models import App, Event, Job, JobPatch, JobSpec, KilledJob, Me, QueueStatus
    from toolkit_client.queue_models import JobWhy

__all__ = ["AsyncClient", "AsyncJobs", "AsyncServers"]

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


class AsyncClient:
    """The API for asyncio. Close it, or use it as an async context manager."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = 30.0,
        retry_pauses: tuple[float, ...] = RETRY_PAUSES,
    ) -> None:
        """The arguments, and what is raised, are those of `Client`."""
        self.site = find_site(url, token, profile)
        self._timeout = timeout
        self._pauses = retry_pauses
        self._http = httpx.AsyncClient(**self.site.options(timeout))
        self.jobs = AsyncJobs(self)
        self.servers = AsyncServers(self)
        self.organizations = AsyncOrganizations(self)
        self.accounts = AsyncAccounts(self)
        self.teams = AsyncTeams(self)
        self.roles = AsyncRoles(self)
        self.users = AsyncUsers(self)
        self.rules = AsyncRules(self)
        self.locks = AsyncLocks(self)
        self.audit = AsyncAudit(self)
        self.data = AsyncDataSets(self)
        self.quotas = AsyncQuotas(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def me(self) -> Me:
        """Who the token speaks for."""
        return await self.call(calls.get_me())

    async def queue(self) -> QueueStatus:
        """How much the site has, how much is held, and who waits."""
        return await self.call(calls.get_queue())

    async def why(self, ref: str) -> JobWhy:
        """Why a job waits, who holds what it needs, and what would start it now."""
        return await self.call(calls.get_why(ref))

    async def events(
        self, ref: str | None = None, *, after: int | None = None, notice: Notice | None = None
    ) -> AsyncIterator[Event]:
        """Events as they happen; see `Client.events`."""
        from toolkit_client.models import Event

        async for event in self.follow_trail(EventTrail(self.site, ref, after=after, notice=notice)):
            yield Event.model_validate(event, extra="ignore")

    async def call(self, call: calls.Call[ResultT]) -> ResultT:
        """Sends a call of `toolkit_client.calls` and reads its answer as a wire model."""
        return call.read(await self.raw(call))

    async def raw(self, call: calls.Call[Any], retry_pauses: tuple[float, ...] | None = None) -> Any:
        """Sends a call and gives the plain JSON of its answer; raises as `Client.raw` does."""
        attempts = Attempts(call, self.site, self._pauses if retry_pauses is None else retry_pauses)
        while True:
            try:
                response = await self._http.request(**arguments(call))
            except httpx.TransportError as problem:
                await asyncio.sleep(attempts.after_failure(problem))
                continue
            pause = attempts.after_answer(response)
            if pause is None:
                return answer_of(self.site, response)
            await asyncio.sleep(pause)

    async def follow_trail(self, trail: Trail[ItemT]) -> AsyncIterator[ItemT]:
        """What a stream brings, as it comes, across lost connections and restarts of the service."""
        pause: float | None
        while True:
            try:
                async for item in self._read_once(trail):
                    yield item
                if trail.complete:
                    return
                pause = trail.after_end(await self._may_go_on(trail))
            except (httpx.TransportError, ServiceUnavailable) as problem:
                pause = trail.after_failure(problem)
            if pause is None:
                return
            await asyncio.sleep(pause)

    async def _may_go_on(self, trail: Trail[Any]) -> bool:
        # Asked once: the trail has pauses, and notices, of its own.
        return trail.job_call is None or trail.may_go_on(await self.raw(trail.job_call, ()))

    async def _read_once(self, trail: Trail[ItemT]) -> AsyncIterator[ItemT]:
        timeout = httpx.Timeout(self._timeout, connect=5.0, read=trail.patience)
        async with self._http.stream(**arguments(trail.call), timeout=timeout) as response:
            if not response.is_success:
                await response.aread()
                raise error_of(self.site, response)
            if not trail.opened(response.headers):
                return
            async for chunk in response.aiter_raw():
                for item in trail.received(chunk):
                    yield item


class AsyncJobs:
    """``client.jobs``; the methods are those of `toolkit_client.client.Jobs`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def submit(self, spec: JobSpec | Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        return await self._client.call(calls.submit_job(spec, idempotency_key))

    async def list(self, *, limit: int | None = None, **filters: Any) -> list[Job]:
        jobs: list[Job] = []
        cursor: str | None = None
        while limit is None or len(jobs) < limit:
            page = await self._client.call(calls.list_jobs(limit=calls.PAGE_SIZE, cursor=cursor, **filters))
            jobs += page.items
            cursor = page.next
            if cursor is None:
                break
        return jobs[:limit]

    async def get(self, ref: str) -> Job:
        return await self._client.call(calls.get_job(ref))

    async def metrics(
        self, ref: str, *, begin: str | None = None, end: str | None = None, step: int | None = None
    ) -> JobMetrics:
        return await self._client.call(calls.get_job_metrics(ref, begin=begin, end=end, step=step))

    async def top(self, *, mine: bool | None = None, account: str | None = None) -> Sequence[TopJob]:
        return (await self._client.call(calls.list_top(mine=mine, account=account))).items

    async def kill(self, ref: str) -> KilledJob:
        return await self._client.call(calls.kill_job(ref))

    async def change(self, ref: str, changes: JobPatch | Mapping[str, Any]) -> Job:
        return await self._client.call(calls.change_job(ref, changes))

    async def retry(self, ref: str, idempotency_key: str | None = None) -> Job:
        return await self._client.call(calls.retry_job(ref, idempotency_key))

    async def apps(self, ref: str) -> Sequence[App]:
        return (await self._client.call(calls.list_apps(ref))).items

    async def visit(self, ref: str, app: str, path: str = "") -> str:
        return (await self._client.call(calls.new_visit(ref, app, path))).url

    def logs(
        self,
        ref: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: str | None = None,
        offset: int | None = None,
        run: int | None = None,
        notice: Notice | None = None,
    ) -> AsyncIterator[bytes]:
        trail = LogTrail(
            self._client.site, ref, follow=follow, tail=tail, since=since, offset=offset, run=run, notice=notice
        )
        return self._client.follow_trail(trail)

    async def wait(self, ref: str, timeout: float | None = None) -> Job:
        pauses = WaitPauses(ref, timeout)
        while True:
            job = await self.get(ref)
            if not job.alive:
                return job
            await asyncio.sleep(pauses.next())


class AsyncServers:
    """``client.servers``."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def start(self) -> Job:
        return await self._client.call(calls.start_server())
