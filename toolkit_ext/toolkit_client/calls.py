"""Each request of the REST API, described once for every transport.

A `Call` says what goes over the wire and how the answer is read. It imports neither httpx nor pydantic, so that a command
which prints a table from plain JSON does not pay for them; the wire models are loaded when an answer is turned into one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

if TYPE_CHECKING:
    from toolkit_client.models import Job, JobSpec, Me, NewUser, Page, QueueStatus, User

__all__ = [
    "API_PATH",
    "LOG_START_HEADER",
    "PAGE_SIZE",
    "RUN_HEADER",
    "Call",
    "create_user",
    "get_job",
    "get_me",
    "get_queue",
    "kill_job",
    "list_jobs",
    "list_users",
    "read_logs",
    "start_server",
    "submit_job",
]

API_PATH = "/services/toolkit/api/v1"
#: Response header of the logs: the position, in bytes, of the first byte sent (with `tail` the client cannot know it).
LOG_START_HEADER = "X-Toolkit-Log-Start"
#: Response header of the logs: the id of the run whose log it is.
RUN_HEADER = "X-Toolkit-Run"
#: Jobs asked for at a time.
PAGE_SIZE = 100

ResultT = TypeVar("ResultT")


class Call(NamedTuple, Generic[ResultT]):
    """One request; `path` is below `API_PATH`, `read` makes the result from the decoded JSON of a 2xx answer."""

    method: str
    path: str
    read: Callable[[Any], ResultT]
    params: Mapping[str, str]
    json: Any
    idempotency_key: str | None

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice is the same as sending it once."""
        return self.method in ("GET", "DELETE") or self.idempotency_key is not None


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


def _query(params: Mapping[str, object]) -> dict[str, str]:
    """Query parameters as text; absent and empty ones are left out, truth values are ``true`` and ``false``."""
    given = {name: value for name, value in params.items() if value is not None and value != ""}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _reader(model: str) -> Callable[[Any], Any]:
    """Reads a wire model by name; keys that this version does not know are ignored, so that the service may be newer."""

    def read(payload: Any) -> Any:
        from toolkit_client import models

        model_class: Any = getattr(models, model)
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
    since: str | None = None,
) -> Call[Page[Job]]:
    """One page, newest first. `state` is ``alive``, ``all``, or states separated by commas; `since` an RFC 3339 time."""
    filters = {"state": state, "account": account, "mine": mine, "name": name, "since": since}
    params = {"limit": limit, "cursor": cursor, **filters}
    return _call("GET", "/jobs", _page_reader("Job"), params=params)


def get_job(ref: str) -> Call[Job]:
    """`ref` is an id, a full name (``acme.joe.x``), or a bare name in the caller's home account."""
    return _call("GET", _job_path(ref), _reader("Job"))


def kill_job(ref: str) -> Call[Job]:
    return _call("DELETE", _job_path(ref), _reader("Job"))


def read_logs(ref: str, *, follow: bool = False, tail: int | None = None, offset: int | None = None) -> Call[bytes]:
    """The newest run's log as raw bytes, from byte `offset` on or its last `tail` lines."""
    params = {"follow": follow or None, "tail": tail, "offset": offset}
    return _call("GET", f"{_job_path(ref)}/logs", bytes, params=params)


def start_server() -> Call[Job]:
    """The caller's own server; the living one if there is one."""
    return _call("POST", "/servers", _reader("Job"), idempotency_key=_new_key())


def get_me() -> Call[Me]:
    return _call("GET", "/me", _reader("Me"))


def get_queue() -> Call[QueueStatus]:
    return _call("GET", "/queue", _reader("QueueStatus"))


def list_users() -> Call[Page[User]]:
    return _call("GET", "/users", _page_reader("User"))


def create_user(user: NewUser | Mapping[str, Any]) -> Call[User]:
    return _call("POST", "/users", _reader("User"), json=_body(user))


def _new_key() -> str:
    from uuid import uuid4

    return str(uuid4())
