"""The wire models: what the REST API takes and gives, for the service, the client, the CLI and OpenAPI alike.

JSON keys are camelCase (``stateInfo``), Python attributes snake_case (``state_info``); both are accepted on input.
Times are RFC 3339 in UTC. Memory is in GiB.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, field_validator

from toolkit_client.job_spec import JobName, JobPatch, JobSpec, Port, Resources, Tag
from toolkit_client.metrics_models import JobUsage
from toolkit_client.wire import WireModel

__all__ = [
    "ALIVE_STATES",
    "App",
    "ErrorBody",
    "ErrorDetail",
    "Event",
    "Job",
    "JobMount",
    "JobPatch",
    "JobSpec",
    "JobState",
    "KilledJob",
    "Me",
    "NewUser",
    "Page",
    "Port",
    "QueueStatus",
    "Resources",
    "Run",
    "Tag",
    "User",
    "Visit",
    "VisitWish",
]

ItemT = TypeVar("ItemT")


class JobState(StrEnum):
    """Where a job or a run stands.

    QUEUING waits for room; QUEUED has been given its room and is being started.
    """

    QUEUING = "QUEUING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    INTERRUPTED = "INTERRUPTED"

    @property
    def alive(self) -> bool:
        return self in ALIVE_STATES


#: Everything else is final.
ALIVE_STATES = frozenset({JobState.QUEUING, JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING})


class Run(WireModel):
    """One start of a job."""

    id: str
    job_id: str
    index: int
    server_name: str = Field(description="name of the JupyterHub named server; never used twice")
    state: JobState
    state_info: str = ""
    exit_code: int | None = None
    peak_memory: float | None = Field(default=None, description="the most memory it has used, in GiB")
    node_name: str | None = None
    image_digest: str | None = Field(default=None, description="what it runs, whatever the reference means later")
    ip: str | None = None
    run_time: float | None = Field(default=None, description="seconds from start to end, or to now")
    created: datetime
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    cancelled: datetime | None = None
    deadline: datetime | None = Field(default=None, description="when the time limit ends it")
    log_removed: datetime | None = Field(default=None, description="when the site's retention removed its log")


class JobMount(WireModel):
    """Data in a job's container, as it was found when the job was submitted."""

    data: str = Field(description="full name")
    data_id: str
    version: str | None = Field(default=None, description="number, or `empty`; null: the live content")
    subpath: str = ""
    target: str = Field(description="folder in the container; /home/work is /home/toolkit")
    mode: Literal["ro", "rw"]


class Job(WireModel):
    """A job as its readers see it."""

    id: str
    urn: str
    name: str | None = None
    kind: Literal["job", "server", "array"] = Field(
        default="job",
        description="`server`: a user's own server; `array`: stands for the jobs of an array, and has no runs",
    )
    state: JobState
    state_info: str = Field(default="", description="in words: why it waits, or how it ended")
    alive: bool
    account: str = Field(description="full name of the account")
    account_id: str
    creator: str = Field(description="full name of the user who submitted it")
    creator_id: str
    created: datetime
    image: str
    command: list[str] | None = None
    workdir: str = ""
    environment_vars: list[str] = Field(default_factory=list)
    data: list[str] = Field(default_factory=list, description="mounts, as they were submitted")
    mounts: list[JobMount] | None = Field(
        default=None, description="the same, as they were found then; null in a list, which does not look for them"
    )
    role: str | None = None
    carries_rights: bool = Field(
        default=False, description="code in it has its creator's rights, so only the creator can have job:exec"
    )
    shareable: bool = Field(default=False, description="as it was submitted")
    resources: Resources
    ports: list[Port] = Field(default_factory=list)
    interactive: bool = False
    preemptable: bool = False
    restartable: bool = False
    max_run_time: int = Field(default=0, description="seconds that a run may take; 0: no limit")
    bid: int = 0
    tags: list[Tag] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    retry_of: str | None = Field(default=None, description="id of the job that this one repeats")
    after: list[str] = Field(default_factory=list, description="jobs that it waits for, as `ID:ok` or `ID:any`")
    parent_id: str | None = Field(default=None, description="id of the job that submitted it")
    detach: bool = Field(default=False, description="goes on when its parent has ended")
    array: str | None = Field(default=None, description="of an array: its indices, and how many may run at once")
    array_id: str | None = Field(default=None, description="id of the array that the job is an element of")
    array_index: int | None = Field(default=None, description="its index there")
    array_states: dict[str, int] | None = Field(
        default=None, description="of an array: how many of its jobs are in which state"
    )
    access_url: str = Field(description="address of the job's own web server (port 8080)")
    port_urls: dict[str, str] = Field(default_factory=dict, description="addresses of its other declared ports")
    lab_url: str = Field(description="address of the job's JupyterLab")
    usage: JobUsage | None = Field(default=None, description="what it uses; null in a list, and in answers to changes")
    runs: list[Run]


class App(WireModel):
    """Something that a job serves."""

    name: str = Field(description="`jupyter`, `ttyd`, `code-server`, `sshd`, or the number of a port of the job's own")
    address: str = Field(description="of its page, or of the websocket that is one connection to it")
    page: bool = Field(description="whether a browser can open it")
    needs: Literal["job:exec", "job:get", "public"] = Field(description="the right that opens it; `public`: none")
    about: str


class VisitWish(WireModel):
    """Which app of a job a browser is to be let in to, and where."""

    app: str = Field(min_length=1, max_length=64)
    path: str = Field(
        default="",
        max_length=4000,
        description="path and query below the app's address, with the slash that it begins with",
    )

    @field_validator("path")
    @classmethod
    def _plain_path(cls, value: str) -> str:
        if value and not re.fullmatch(r"/[\x21\x24-\x5b\x5d-\x7e]*", value):
            raise ValueError("a path begins with a slash and is percent-encoded; it has no fragment")
        return value


class Visit(WireModel):
    """A way into one app for one browser."""

    url: str = Field(
        description="works once, within 30 seconds; whoever opens it is signed in as you, at this job alone"
    )


class KilledJob(Job):
    """A job or an array whose end was asked for."""

    killed: int = Field(description="how many jobs end by it: itself, or an array's jobs, and their living families")


class User(WireModel):
    """A person of the organization."""

    id: str
    urn: str
    name: str
    full_name: str
    account: str = Field(description="full name of the home account")
    admin: bool = Field(default=False, description="is an administrator of the organization")
    created: datetime
    disabled: datetime | None = Field(default=None, description="since when the user may do nothing")
    archived: datetime | None = Field(default=None, description="when the user left")
    locked: bool = False


class NewUser(WireModel):
    """A user to create; the password goes to the argon2id hash and nowhere else."""

    name: JobName
    password: str = Field(min_length=8, max_length=1024, repr=False)
    admin: bool = False


class Me(WireModel):
    """Who the caller is."""

    id: str
    urn: str
    name: str
    full_name: str
    organization: str
    organization_id: str
    account: str
    account_id: str
    admin: bool


class QueueStatus(WireModel):
    """How much the site has, how much is held, and who waits."""

    cpu_total: float
    cpu_held: float
    mem_total: float
    mem_held: float
    gpu_total: int = Field(default=0, description="GPUs, drained ones included")
    gpu_held: int = 0
    waiting: int
    running: int


class Event(WireModel):
    """Something that happened, in the order in which it was stored."""

    seq: int
    time: datetime
    type: str
    urn: str
    data: dict[str, Any] = Field(default_factory=dict)


class Page(WireModel, Generic[ItemT]):
    """One page of a list; `next` is the cursor of the following page, absent on the last one."""

    items: list[ItemT]
    next: str | None = None


class ErrorDetail(WireModel):
    code: str
    status: int
    message: str
    hint: str = ""


class ErrorBody(WireModel):
    """Every answer with status 400 and above."""

    error: ErrorDetail
