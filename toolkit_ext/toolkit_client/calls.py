"""Each request of the REST API, described once for every transport.

A `Call` says what goes over the wire and how the answer is read. It imports neither httpx nor pydantic, so that a command
which prints a table from plain JSON does not pay for them; the wire models are loaded when an answer is turned into one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

if TYPE_CHECKING:
    from toolkit_client.admin_models import Checkup, CleanUp
    from toolkit_client.models import Job, JobPatch, JobSpec, Me, NewUser, Page, QueueStatus, User

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
    "get_me",
    "get_queue",
    "kill_job",
    "list_jobs",
    "list_users",
    "read_events",
    "read_logs",
    "retry_job",
    "start_server",
    "submit_job",
]

API_PATH = "/services/toolkit/api/v1"
#: Response header of the logs: the position, in bytes, of the first byte sent (with `tail` the client cannot know it).
LOG_START_HEADER = "X-Toolkit-Log-Start"
#: Response header of the logs: how far the output went, in bytes, when the answer began.
LOG_END_HEADER = "X-Toolkit-Log-End"
#: Response headers of the logs: id and index of the run whose log it is.
RUN_HEADER, RUN_INDEX_HEADER = "X-Toolkit-Run", "X-Toolkit-Run-Index"
#: Jobs asked for at a time.
PAGE_SIZE = 100

ResultT = TypeVar("ResultT")
#: Query parameters as text; a list stands for one that is given several times.
Query: TypeAlias = dict[str, str | list[str]]


class Call(NamedTuple, Generic[ResultT]):
    """One request; `path` is below `API_PATH`, `read` makes the result from the decoded JSON of a 2xx answer."""

    method: str
    path: str
    read: Callable[[Any], ResultT]
    params: Mapping[str, str | list[str]]
    json: Any
    idempotency_key: str | None
    headers: Mapping[str, str] = {}

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as sending it once."""
        return self.method in ("GET", "PATCH", "DELETE") or self.idempotency_key is not None


def _call(
    method: str,
    path: str,
    read: Callable[[Any], Any],
    *,
    params: Mapping[str, object] | None = None,
    json: Any = None,
    idempotency_key: str | None = None,
) -> Call[Any]:
    return Call(method, path, read, _query(params or {}), json, idempotency_key)


def _query(params: Mapping[str, object]) -> Query:
    """Query parameters as text; absent and empty ones are left out, truth values are ``true`` and ``false``."""
    given = {name: value for name, value in params.items() if value is not None and value not in ("", [], ())}
    return {name: _query_text(value) for name, value in given.items()}


def _query_text(value: object) -> str | list[str]:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _reader(model: str, module: str = "models") -> Callable[[Any], Any]:
    """Reads a wire model by name; keys that this version does not know are ignored, so that the service may be newer."""

    def read(payload: Any) -> Any:
        from importlib import import_module

        model_class: Any = getattr(import_module(f"toolkit_client.{module}"), model)
        return model_class.model_validate(payload, extra="ignore")

    return read


def _page_reader(model: str) -> Callable[[Any], Any]:
    def read(payload: Any) -> Any:
        from toolkit_client import models

        page_class: Any = models.Page[getattr(models, model)]  # type: ignore[misc]
        return page_class.model_validate(payload, extra="ignore")

    return read


def _body(value: Any) -> Any:
    """A wire model, or a mapping written like one, as JSON. Fields that were not set are left to the service."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json", by_alias=True, exclude_unset=True) if dump is not None else dict(value)


def _job_path(ref: str) -> str:
    return f"/jobs/{quote(ref, safe='')}"


def submit_job(spec: JobSpec | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Job]:
    """`spec` may be a mapping with the JSON keys. Without a key one is made, so that a retry never submits twice."""
    return _call("POST", "/jobs", _reader("Job"), json=_body(spec), idempotency_key=idempotency_key or _new_key())


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
) -> Call[Page[Job]]:
    """One page, newest first.

    `state` is ``alive``, ``all``, or states separated by commas; `tags` are ``key`` or ``key=value``, and a job has all
    of them; `since` is an RFC 3339 time.
    """
    filters = {"state": state, "account": account, "mine": mine, "name": name, "tag": list(tags), "since": since}
    params = {"limit": limit, "cursor": cursor, **filters}
    return _call("GET", "/jobs", _page_reader("Job"), params=params)


def get_job(ref: str) -> Call[Job]:
    """`ref` is an id, a full name (``acme.joe.x``), or a bare name in the caller's home account."""
    return _call("GET", _job_path(ref), _reader("Job"))


def kill_job(ref: str) -> Call[Job]:
    return _call("DELETE", _job_path(ref), _reader("Job"))


def change_job(ref: str, changes: JobPatch | Mapping[str, Any]) -> Call[Job]:
    """`changes` has the JSON keys of what is to be set: ``name``, ``tags`` (all of them), ``bid``, ``maxRunTime``."""
    return _call("PATCH", _job_path(ref), _reader("Job"), json=_body(changes))


def retry_job(ref: str, idempotency_key: str | None = None) -> Call[Job]:
    """A new job with the spec of one that is there. Without a key one is made, so that it never starts two."""
    return _call("POST", f"{_job_path(ref)}/retry", _reader("Job"), idempotency_key=idempotency_key or _new_key())


def read_events(ref: str | None = None, after: int | None = None) -> Call[bytes]:
    """Server-sent events as raw bytes: of one job until it has ended, or of all that the caller may see, without end.

    `after` is the number of the last event that is known already.
    """
    path = "/events" if ref is None else f"{_job_path(ref)}/events"
    return _call("GET", path, bytes)._replace(headers={} if after is None else {"Last-Event-ID": str(after)})


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
    return _call("GET", f"{_job_path(ref)}/logs", bytes, params=params)


def gap_notice(count: int) -> bytes:
    """What stands for `count` bytes of output that are not kept, on a line of its own."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    about = f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit} ({count} bytes)"
    return f"\n[… {about} of output are not kept here …]\n".encode()


def start_server() -> Call[Job]:
    """The caller's own server; the living one if there is one."""
    return _call("POST", "/servers", _reader("Job"), idempotency_key=_new_key())


def get_me() -> Call[Me]:
    return _call("GET", "/me", _reader("Me"))


def get_queue() -> Call[QueueStatus]:
    return _call("GET", "/queue", _reader("QueueStatus"))


def get_checkup() -> Call[Checkup]:
    """What the site's doctor finds; for administrators."""
    return _call("GET", "/admin/doctor", _reader("Checkup", "admin_models"))


def clean_up(*, dry_run: bool = False) -> Call[CleanUp]:
    """One clean-up now; for administrators. Twice does no more than once, so it may be sent again."""
    read = _reader("CleanUp", "admin_models")
    return _call("POST", "/admin/gc", read, json={"dryRun": dry_run}, idempotency_key=_new_key())


def list_users() -> Call[Page[User]]:
    return _call("GET", "/users", _page_reader("User"))


def create_user(user: NewUser | Mapping[str, Any], idempotency_key: str | None = None) -> Call[User]:
    return _call("POST", "/users", _reader("User"), json=_body(user), idempotency_key=idempotency_key or _new_key())


def _new_key() -> str:
    from uuid import uuid4

    return str(uuid4())
