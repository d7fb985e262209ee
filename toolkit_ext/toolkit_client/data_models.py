"""The wire models of what data holds: its versions, how much it takes, and what accounts may take."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from toolkit_client.wire import WireModel

__all__ = ["Commit", "DataSize", "DataVersion", "NewVersion", "Quota", "QuotaPatch", "RoomLimits", "RoomQuotaPatch"]

#: More than any volume has: what stands in a quota can be calculated with in every database.
MOST = 2**60


class NewVersion(WireModel):
    """What is said of a commit."""

    message: Annotated[str, StringConstraints(max_length=4000)] = ""
    allow_empty: bool = Field(
        default=False, description="make a version even if nothing has changed since the last one"
    )


class DataVersion(WireModel):
    """What data held at one moment. `data` is its full name."""

    id: str
    data: str
    version: int = Field(description="1, 2, 3 … of each data")
    created: datetime
    author: str = Field(description="full name of who made it")
    message: str = ""
    files: int
    bytes: int = Field(description="lengths of the files")


class Commit(WireModel):
    """A commit as far as it is. `running`: ask again with the same Idempotency-Key, and this answer comes when it is done.

    `unchanged`: there was nothing to commit; `version` is then the newest one, or absent where there is none.
    """

    state: Literal["running", "made", "unchanged"]
    version: DataVersion | None = None
    files: int = Field(default=0, description="files that are in the version so far")
    bytes: int = Field(default=0, description="and their lengths")
    linked: int = Field(default=0, description="files that take no room, for the version before has them already")
    warnings: list[str] = Field(default_factory=list, description="what changed meanwhile, or could not be committed")
    warning_count: int = Field(default=0, description="of all warnings, for only the first hundred are told")


class DataSize(WireModel):
    """What data takes, as of the last look at it."""

    data: str = Field(description="its full name")
    bytes: int = Field(description="lengths of the live files")
    disk: int = Field(description="bytes on the disk: live files and all versions, and what was pushed since `asOf`")
    files: int = Field(description="live files")
    inodes: int = Field(description="files and folders, live and of all versions, and what was pushed since")
    as_of: datetime | None = Field(default=None, description="when it was looked at; absent: not yet")


class RoomLimits(WireModel):
    """What the jobs of a user, of an account and those below it, or of the organization may hold at once; absent: no limit."""

    gpus: Annotated[int, Field(ge=0, le=10**6)] | None = None
    cpus: Annotated[float, Field(ge=0, le=10**6)] | None = None
    mem: Annotated[float, Field(ge=0, le=10**9)] | None = Field(default=None, description="GiB")
    running: Annotated[int, Field(ge=0, le=10**6)] | None = Field(default=None, description="jobs that run")
    queued: Annotated[int, Field(ge=0, le=10**6)] | None = Field(default=None, description="jobs that wait")
    bid: Annotated[int, Field(ge=-(10**6), le=10**6)] | None = Field(
        default=None, description="the highest bid of a job"
    )


class Quota(WireModel):
    """What the jobs of an account with its child accounts, of a user, or of the organization may hold; and what the data of an
    account takes and may take, without what is in child accounts."""

    type: Literal["account", "user", "organization"] = Field(description="whose it is")
    name: str = Field(description="full name")
    id: str
    data_used: int | None = Field(
        default=None,
        description="bytes on the disk, versions included; this and what follows of data: of accounts only",
    )
    data_limit: int | None = Field(default=None, description="bytes; absent: no limit")
    files_used: int | None = Field(default=None, description="files and folders, versions included")
    files_limit: int | None = None
    room: RoomLimits = Field(default_factory=RoomLimits)
    own: bool = Field(
        default=False, description="whether the limits were set for this account; else they are the site's"
    )
    as_of: datetime | None = Field(
        default=None,
        description="when that of its data which was looked at the longest ago was; absent: some was not yet",
    )


class RoomQuotaPatch(WireModel):
    """Limits of a user or of the organization to set; null takes one away, what is absent stays."""

    room: RoomLimits


class QuotaPatch(WireModel):
    """Limits of an account to set; null takes one away, what is absent stays."""

    data_limit: Annotated[int, Field(ge=0, le=MOST)] | None = None
    files_limit: Annotated[int, Field(ge=0, le=MOST)] | None = None
    room: RoomLimits = Field(default_factory=RoomLimits)
