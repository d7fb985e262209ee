"""The requests of the REST API about jobs, the queue and the site; `toolkit_client.access_calls` has those about access.

Each is described once for every transport, see `toolkit_client.call`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from toolkit_client.call import API_PATH, Call, body_of, make_call, new_key, page_reader, path_of, reader

if TYPE_CHECKING:
    from toolkit_client.admin_models import Checkup, CleanUp
    from toolkit_client.metrics_models import JobMetrics, TopJob
    from toolkit_client.models import (
        App,
        Job,
        JobPatch,
        JobSpec,
        KilledJob,
        Me,
        NewUser,
        Page,
        QueueStatus,
        User,
        Visit,
    )
    from toolkit_client.queue_models import Gpu, JobWhy, QueuedJob, UsageRow

__all__ = [
    "API_PATH",
    "LOG_END_HEADER",
    "LOG_START_HEADER",
    "PAGE_SIZE",
    "RUN_HEADER",
    "RUN_INDEX_HEADER",
    "Call",
    "change_job",
    "clean_up",
    "create_user",
    "gap_notice",
    "get_checkup",
    "get_job",
    "get_job_metrics",
    "get_me",
    "get_queue",
    "get_why",
    "kill_job",
    "list_apps",
    "list_gpus",
    "list_jobs",
    "list_queue",
    "list_top",
    "list_usage",
    "list_users",
    "new_visit",
    "read_events",
    "read_logs",
    "retry_job",
    "start_server",
    "submit_job",
]

#: Response header of the logs: the position, in bytes, of the first byte sent (with `tail` the client cannot know it).
LOG_START_HEADER = "X-Toolkit-Log-Start"
#: Response header of the logs: how far the output went, in bytes, when the answer began.
LOG_END_HEADER = "X-Toolkit-Log-End"
#: Response headers of the logs: id and index of the run whose log it is.
RUN_HEADER, RUN_INDEX_HEADER = "X-Toolkit-Run", "X-Toolkit-Run-Index"
#: Jobs asked for at a time.
PAGE_SIZE = 100


def _job_path(ref: str) -> str:
    return path_of("jobs", ref)


def submit_job(spec: JobSpec | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Job]:
    """`spec` may be a mapping with the JSON keys. Without a key one is made, so that a retry never submits twice."""
    return make_call("POST", "/jobs", reader("Job"), json=body_of(spec), idempotency_key=idempotency_key or new_key())


def list_jobs(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    state: str | None = None,
    account: str | None = None,
    mine: bool | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    since: str | None = None,
    array: str | None = None,
    family: str | None = None,
) -> Call[Page[Job]]:
    """One page, newest first.

    `state` is ``alive``, ``all``, or states separated by commas; `tags` are ``key`` or ``key=value``, and a job has all
    of them; `since` is an RFC 3339 time. `array` is one whose jobs are wanted, `family` a job that is wanted with all that
    descends from it.
    """
    filters = {"state": state, "account": account, "mine": mine, "name": name, "tag": list(tags), "since": since}
    params = {"limit": limit, "cursor": cursor, **filters, "array": array, "family": family}
    return make_call("GET", "/jobs", page_reader("Job"), params=params)


def get_job(ref: str) -> Call[Job]:
    """`ref` is an id, a full name (``acme.joe.x``), or a bare name in the caller's home account, of a job or of an array;
    ``sweep:3`` is the job of index 3 of the array ``sweep``."""
    return make_call("GET", _job_path(ref), reader("Job"))


def get_job_metrics(
    ref: str, *, begin: str | None = None, end: str | None = None, step: int | None = None
) -> Call[JobMetrics]:
    """What a job used from `begin` to `end` (RFC 3339 times), in steps of `step` seconds; without them, the last half hour."""
    params = {"from": begin, "to": end, "step": step}
    return make_call("GET", f"{_job_path(ref)}/metrics", reader("JobMetrics", "metrics_models"), params=params)


def list_top(*, mine: bool | None = None, account: str | None = None) -> Call[Page[TopJob]]:
    """What the running jobs use now that the caller may see."""
    return make_call("GET", "/top", page_reader("TopJob", "metrics_models"), params={"mine": mine, "account": account})


def kill_job(ref: str) -> Call[KilledJob]:
    """Of an array all jobs."""
    return make_call("DELETE", _job_path(ref), reader("KilledJob"))


def change_job(ref: str, changes: JobPatch | Mapping[str, Any]) -> Call[Job]:
    """`changes` has the JSON keys of what is to be set: ``name``, ``tags`` (all of them), ``bid``, ``maxRunTime``."""
    return make_call("PATCH", _job_path(ref), reader("Job"), json=body_of(changes))


def get_why(ref: str) -> Call[JobWhy]:
    """Why a job waits, and what would start it now."""
    return make_call("GET", f"{_job_path(ref)}/why", reader("JobWhy", "queue_models"))


def retry_job(ref: str, idempotency_key: str | None = None) -> Call[Job]:
    """A new job with the spec of one that is there. Without a key one is made, so that it never starts two."""
    return make_call("POST", f"{_job_path(ref)}/retry", reader("Job"), idempotency_key=idempotency_key or new_key())


def read_events(ref: str | None = None, after: int | None = None) -> Call[bytes]:
    """Server-sent events as raw bytes: of one job until it has ended, or of all that the caller may see, without end.

    `after` is the number of the last event that is known already.
    """
    path = "/events" if ref is None else f"{_job_path(ref)}/events"
    return make_call("GET", path, bytes)._replace(headers={} if after is None else {"Last-Event-ID": str(after)})


def read_logs(
    ref: str,
    *,
    follow: bool = False,
    tail: int | None = None,
    since: str | None = None,
    offset: int | None = None,
    run: int | None = None,
) -> Call[bytes]:
    """A run's log as raw bytes that follow each other; where output is not kept the answer ends.

    From byte `offset` of the whole output on, its last `tail` lines, or what was written `since` an RFC 3339 time. `run` is
    an index; without one it is the newest.
    """
    start = {"tail": tail, "since": since, "offset": offset}
    params = {"follow": follow or None, **start, "run": run, "gap": "end"}
    return make_call("GET", f"{_job_path(ref)}/logs", bytes, params=params)


def gap_notice(count: int) -> bytes:
    """What stands for `count` bytes of output that are not kept, on a line of its own."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    about = f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit} ({count} bytes)"
    return f"\n[… {about} of output are not kept here …]\n".encode()


def list_apps(ref: str) -> Call[Page[App]]:
    """What the job serves, and where."""
    return make_call("GET", f"{_job_path(ref)}/apps", page_reader("App"))


def new_visit(ref: str, app: str, path: str = "") -> Call[Visit]:
    """An address that lets one browser in to an app of the job, once; `path` is below the app's own."""
    return make_call("POST", f"{_job_path(ref)}/visits", reader("Visit"), json={"app": app, "path": path})


def start_server() -> Call[Job]:
    """The caller's own server; the living one if there is one."""
    return make_call("POST", "/servers", reader("Job"), idempotency_key=new_key())


def get_me() -> Call[Me]:
    return make_call("GET", "/me", reader("Me"))


def get_queue() -> Call[QueueStatus]:
    return make_call("GET", "/queue", reader("QueueStatus"))


def list_gpus() -> Call[Page[Gpu]]:
    """Who has each, since when, and how busy it is."""
    return make_call("GET", "/gpus", page_reader("Gpu", "queue_models"))


def list_queue() -> Call[Page[QueuedJob]]:
    """The jobs that wait, the next one to start first."""
    return make_call("GET", "/queue/jobs", page_reader("QueuedJob", "queue_models"))


def list_usage(by: str, seconds: int) -> Call[Page[UsageRow]]:
    """What was given out in the last `seconds`, by ``account``, ``user`` or ``day``."""
    since = datetime.now(UTC) - timedelta(seconds=seconds)
    read = page_reader("UsageRow", "queue_models")
    return make_call("GET", "/usage", read, params={"by": by, "since": since.isoformat()})


def get_checkup() -> Call[Checkup]:
    """What the site's doctor finds; for administrators."""
    return make_call("GET", "/admin/doctor", reader("Checkup", "admin_models"))


def clean_up(*, dry_run: bool = False) -> Call[CleanUp]:
    """One clean-up now; for administrators. Twice does no more than once, so it may be sent again."""
    read = reader("CleanUp", "admin_models")
    return make_call("POST", "/admin/gc", read, json={"dryRun": dry_run}, idempotency_key=new_key())


def list_users() -> Call[Page[User]]:
    return make_call("GET", "/users", page_reader("User"))


def create_user(user: NewUser | Mapping[str, Any], idempotency_key: str | None = None) -> Call[User]:
    return make_call("POST", "/users", reader("User"), json=body_of(user), idempotency_key=idempotency_key or new_key())
