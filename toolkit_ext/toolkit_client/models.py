"""The wire models: what the REST API takes and gives, for the service, the client, the CLI and OpenAPI alike.

JSON keys are camelCase (``stateInfo``), Python attributes snake_case (``state_info``); both are accepted on input.
Times are RFC 3339 in UTC. Memory is in GiB.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic.alias_generators import to_camel

__all__ = [
    "ALIVE_STATES",
    "ErrorBody",
    "ErrorDetail",
    "Event",
    "Job",
    "JobSpec",
    "JobState",
    "Me",
    "NewUser",
    "Page",
    "Port",
    "QueueStatus",
    "Resources",
    "Run",
    "User",
]

ItemT = TypeVar("ItemT")

JOB_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
ENVIRONMENT_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
#: Variables that describe the run to itself; a user's value would make programs see another job.
RESERVED_ENVIRONMENT = ("TOOLKIT_", "EAI_", "NVIDIA_")


class WireModel(BaseModel):
    """Base of all wire models: camelCase in JSON, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", from_attributes=True)


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


class Resources(WireModel):
    """What a run holds while it lives."""

    cpu: float = Field(default=1.0, gt=0, le=4096, description="CPUs, in cores; fractions are allowed")
    mem: float = Field(default=1.0, gt=0, le=65536, description="memory in GiB; a run that uses more is killed")


class Port(WireModel):
    """A port of the job's own that its job host serves."""

    port: int = Field(ge=1, le=65535)
    public: bool = False


class JobSpec(WireModel):
    """What a user submits."""

    name: Annotated[str, StringConstraints(pattern=JOB_NAME)] | None = Field(
        default=None, description="unique among the account's jobs that are alive; free again when the job has ended"
    )
    account: str | None = Field(default=None, description="id or full name of the account; default: your home account")
    image: str = Field(default="", max_length=512, description="image reference; empty: the site's default image")
    command: list[str] | None = Field(
        default=None, description="replaces the image's ENTRYPOINT and CMD; without it the image's own run"
    )
    workdir: str = Field(default="", max_length=4096, description="folder to start in; empty: the image's own")
    environment_vars: list[str] = Field(default_factory=list, description="items `NAME=value`")
    resources: Resources = Field(default_factory=Resources)
    interactive: bool = Field(default=False, description="goes before other jobs; limited in number per user")

    @field_validator("command")
    @classmethod
    def _command_not_empty(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and (not value or not value[0]):
            raise ValueError("the command is empty: leave it out to run the image's own")
        for word in value or ():
            if "\0" in word:
                raise ValueError("a command cannot contain NUL bytes")
        return value

    @field_validator("workdir")
    @classmethod
    def _workdir_absolute(cls, value: str) -> str:
        if value and (not value.startswith("/") or "\0" in value):
            raise ValueError("workdir must be an absolute path")
        return value

    @field_validator("environment_vars")
    @classmethod
    def _environment_well_formed(cls, value: list[str]) -> list[str]:
        import re

        for item in value:
            name, equals, text = item.partition("=")
            if not equals or not re.match(ENVIRONMENT_NAME, name) or "\0" in text:
                raise ValueError(f"an environment variable is written NAME=value; this is not: {item[:80]!r}")
            if name.startswith(RESERVED_ENVIRONMENT):
                raise ValueError(f"{name} is set by the toolkit and cannot be overridden")
        return value


class Run(WireModel):
    """One start of a job."""

    id: str
    job_id: str
    index: int
    server_name: str = Field(description="name of the JupyterHub named server; never used twice")
    state: JobState
    state_info: str = ""
    exit_code: int | None = None
    node_name: str | None = None
    image_digest: str | None = None
    ip: str | None = None
    run_time: float | None = Field(default=None, description="seconds from start to end, or to now")
    created: datetime
    queued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    cancelled: datetime | None = None


class Job(WireModel):
    """A job as its readers see it."""

    id: str
    urn: str
    name: str | None = None
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
    resources: Resources
    interactive: bool = False
    access_url: str = Field(description="address of the job's own web server (port 8080)")
    lab_url: str = Field(description="address of the job's JupyterLab")
    runs: list[Run]


class User(WireModel):
    """A person of the organization."""

    id: str
    urn: str
    name: str
    full_name: str
    account: str = Field(description="full name of the home account")
    admin: bool = False
    created: datetime


class NewUser(WireModel):
    """A user to create; the password goes to the argon2id hash and nowhere else."""

    name: Annotated[str, StringConstraints(pattern=JOB_NAME)]
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
