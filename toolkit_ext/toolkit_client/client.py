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
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

from toolkit_client import calls
from toolkit_client.access_groups import (
    Accounts,
    Audit,
    DataSets,
    Locks,
    Organizations,
    Quotas,
    Roles,
    Rules,
    Teams,
    Users,
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
    from toolkit_client.exec.commands import JobCommands
    from toolkit_client.metrics_models import JobMetrics, TopJob
    from toolkit_client.models import App, Event, Job, JobPatch, JobSpec, KilledJob, Me, QueueStatus
    from toolkit_client.queue_models import JobWhy

__all__ = ["Client", "Jobs", "Servers"]

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")


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
        self.organizations = Organizations(self)
        self.accounts = Accounts(self)
        self.teams = Teams(self)
        self.roles = Roles(self)
        self.users = Users(self)
        self.rules = Rules(self)
        self.locks = Locks(self)
        self.audit = Audit(self)
        self.data = DataSets(self)
        self.quotas = Quotas(self)

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
        """How much the site has, how much is held, and who waits."""
        return self.call(calls.get_queue())

    def why(self, ref: str) -> JobWhy:
        """Why a job waits, who holds what it needs, and what would start it now."""
        return self.call(calls.get_why(ref))

    def events(
        self, ref: str | None = None, *, after: int | None = None, notice: Notice | None = None
    ) -> Iterator[Event]:
        """Events as they happen: of a job until it has ended, or of all that the caller may see, without end.

        `after` is the number (`seq`) of the last event that is known already; `notice` is told of outages.
        """
        from toolkit_client.models import Event

        for event in self.follow_trail(EventTrail(self.site, ref, after=after, notice=notice)):
            yield Event.model_validate(event, extra="ignore")

    def call(self, call: calls.Call[ResultT]) -> ResultT:
        """Sends a call of `toolkit_client.calls` and reads its answer as a wire model."""
        return call.read(self.raw(call))

    def raw(self, call: calls.Call[Any], retry_pauses: tuple[float, ...] | None = None) -> Any:
        """Sends a call and gives the plain JSON of its answer.

        Raises:
            ToolkitError: the service refused or failed, or did not answer after the last attempt.
        """
        attempts = Attempts(call, self.site, self._pauses if retry_pauses is None else retry_pauses)
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

    def follow_trail(self, trail: Trail[ItemT]) -> Iterator[ItemT]:
        """What a stream brings, as it comes, across lost connections and restarts of the service."""
        pause: float | None
        while True:
            try:
                yield from self._read_once(trail)
                if trail.complete:
                    return
                pause = trail.after_end(self._may_go_on(trail))
            except (httpx.TransportError, ServiceUnavailable) as problem:
                pause = trail.after_failure(problem)
            if pause is None:
                return
            time.sleep(pause)

    def _may_go_on(self, trail: Trail[Any]) -> bool:
        # Asked once: the trail has pauses, and notices, of its own.
        return trail.job_call is None or trail.may_go_on(self.raw(trail.job_call, ()))

    def _read_once(self, trail: Trail[ItemT]) -> Iterator[ItemT]:
        timeout = httpx.Timeout(self._timeout, connect=5.0, read=trail.patience)
        with self._http.stream(**arguments(trail.call), timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise error_of(self.site, response)
            if not trail.opened(response.headers):
                return
            for chunk in response.iter_raw():
                yield from trail.received(chunk)


class Jobs:
    """``client.jobs``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, spec: JobSpec | Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Submits a job; two calls with the same key give the same job. With ``array`` in the spec it makes one job for each
        index; what is returned stands for all of them, and `list(array=…)` gives each."""
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

    def metrics(
        self, ref: str, *, begin: str | None = None, end: str | None = None, step: int | None = None
    ) -> JobMetrics:
        """What the job used, see `calls.get_job_metrics`."""
        return self._client.call(calls.get_job_metrics(ref, begin=begin, end=end, step=step))

    def top(self, *, mine: bool | None = None, account: str | None = None) -> Sequence[TopJob]:
        """What running jobs use now: of one account, or all that the caller may see; with `mine` only the caller's own."""
        return self._client.call(calls.list_top(mine=mine, account=account)).items

    def kill(self, ref: str) -> KilledJob:
        """Asks for the end of the job, or of all jobs of an array, and of what they have submitted; raises `Conflict` if it
        has ended already."""
        return self._client.call(calls.kill_job(ref))

    def change(self, ref: str, changes: JobPatch | Mapping[str, Any]) -> Job:
        """Changes a job: see `calls.change_job`; raises `Conflict` for what its present state does not allow."""
        return self._client.call(calls.change_job(ref, changes))

    def retry(self, ref: str, idempotency_key: str | None = None) -> Job:
        """A new job with the spec of this one; two calls with the same key give the same job."""
        return self._client.call(calls.retry_job(ref, idempotency_key))

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
    ) -> Iterator[bytes]:
        """The newest run's log: raw bytes, in pieces as they come. With `follow` it ends after the job's end.

        It begins at byte `offset` of the output, with its last `tail` lines, or with what was written `since` an RFC 3339
        time. `run` is the index of the run that is wanted; without it, a follow goes on with the runs that come later.
        `notice` is told when another run begins, when the service has been out of reach for some seconds, and when it is
        back.
        """
        trail = LogTrail(
            self._client.site, ref, follow=follow, tail=tail, since=since, offset=offset, run=run, notice=notice
        )
        return self._client.follow_trail(trail)

    def apps(self, ref: str) -> Sequence[App]:
        """What the job serves, and where: its apps and declared ports. They are there while it runs."""
        return self._client.call(calls.list_apps(ref)).items

    def visit(self, ref: str, app: str, path: str = "") -> str:
        """An address that lets one browser in to an app as the caller, once, within 30 seconds."""
        return self._client.call(calls.new_visit(ref, app, path)).url

    def commands(self, ref: str) -> JobCommands:
        """Runs commands in the job, which has to run; good for as many as wanted, also at once.

        >>> train = client.jobs.commands("train")                 # doctest: +SKIP
        >>> train.run(["nvidia-smi"]).stdout                      # doctest: +SKIP
        """
        from toolkit_client.exec.commands import JobCommands

        return JobCommands(self.get(ref).lab_url, self._client.site.token)

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
