"""What the REST API says about waiting: why, for how long, and what would end it. Times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from toolkit_client.models import JobState
from toolkit_client.wire import WireModel

__all__ = ["Gpu", "JobWhy", "QueuedJob", "UsageRow", "WaitAhead", "WaitHolder", "WaitProposal", "WaitShort"]


class Gpu(WireModel):
    """A device that is given out whole. null is unknown."""

    uuid: str
    model: str
    node: str
    mem: float | None = Field(default=None, description="GiB")
    capability: float | None = Field(default=None, description="CUDA compute capability")
    cuda_version: str | None = Field(default=None, description="the newest CUDA that the driver knows")
    driver: str | None = None
    tensor_cores: bool | None = None
    state: Literal["free", "held", "drained"] = Field(description="drained: nobody gets it, see `reason`")
    reason: str | None = None
    job: str | None = None
    job_name: str | None = None
    account: str | None = None
    user: str | None = None
    since: datetime | None = Field(default=None, description="when it was given to the job that has it")
    use: float | None = Field(default=None, description="how busy it is, in percent of the last moment")
    mem_used: float | None = Field(default=None, description="GiB")
    temperature: float | None = Field(default=None, description="°C")


class QueuedJob(WireModel):
    """A job in the queue; of one that you may not see only what it asks for."""

    position: int | None = Field(default=None, description="from 1; null: it may not start yet, whatever is free")
    job: str | None = None
    name: str | None = None
    account: str | None = None
    user: str | None = None
    class_: str = Field(alias="class", description="interactive, normal, preemptable or restartable")
    bid: int
    gpu: int
    cpu: float
    mem: float = Field(description="GiB")
    reason: str


class UsageRow(WireModel):
    """Hours that were given out, whether or not they were made use of."""

    key: str = Field(description="the account, the user, or the day (of UTC)")
    gpu_hours: float
    cpu_hours: float
    mem_hours: float = Field(description="GiB times hours")
    runs: int


class WaitShort(WireModel):
    """Something of which not enough is free."""

    what: Literal["gpu", "cpu", "mem"] = Field(description="GPUs of the kind that is asked for, CPUs, or GiB of memory")
    asked: float
    free: float
    total: float


class WaitHolder(WireModel):
    """A job that has some of what is short. Of one that you may not see only what it holds is told."""

    job: str | None = None
    account: str | None = None
    gpus: int = 0
    cpu: float = 0.0
    mem: float = 0.0
    until: datetime | None = Field(default=None, description="when its time limit ends it; null: it has none")


class WaitAhead(WireModel):
    """A job before this one in the queue."""

    job: str | None = None
    because: str = Field(description="class, bid, promise (it was first in line already), fair share, or earlier")


class WaitProposal(WireModel):
    """A change with which the job would start now: the planner was run on it."""

    words: str
    patch: dict[str, Any] = Field(description="what `PATCH /jobs/{job}` takes to do it")
    stops: int = Field(default=0, description="jobs that would be stopped for it")
    lost: float = Field(default=0.0, description="seconds of work that those would lose")
    overtakes: int = Field(default=0, description="waiting jobs that it would go before")


class JobWhy(WireModel):
    """Why a job waits, with the numbers of now."""

    job: str
    state: JobState
    reason: str = Field(description="in words")
    position: int | None = Field(default=None, description="in the queue, from 1; null: its time has not come")
    length: int = Field(default=0, description="jobs that wait")
    ahead: list[WaitAhead] = Field(default_factory=list, description="the ten before it")
    short: list[WaitShort] = Field(default_factory=list)
    holders: list[WaitHolder] = Field(default_factory=list, description="the first to give it back first")
    quota: str | None = Field(default=None, description="the quota that holds it back, with its numbers")
    earliest: datetime | None = Field(default=None, description="start if all others ended now")
    likely: datetime | None = Field(default=None, description="start if others end half-way to their limits")
    latest: datetime | None = Field(
        default=None, description="start if others use up their time; null: some of them have no limit"
    )
    proposals: list[WaitProposal] = Field(default_factory=list, description="what would start it now")
