"""The wire models of a site's upkeep: what `toolkit admin doctor` and `toolkit admin gc` give."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from toolkit_client.wire import WireModel

__all__ = ["Checkup", "CleanUp", "CleanUpRequest", "Finding", "FindingState", "Removal"]


class FindingState(StrEnum):
    """How a check ended: in order; something that will become a problem or that was not to be known; a problem."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(WireModel):
    """What one check has found."""

    check: str = Field(description="the check's name, as `engine` or `disk: runs`")
    state: FindingState
    message: str = Field(description="what was found, and what it means")
    hint: str = Field(default="", description="what to do; empty when all is well")


class Checkup(WireModel):
    """All checks of one visit of the doctor. `state` is that of the worst finding."""

    state: FindingState
    version: str = Field(description="of the toolkit")
    time: datetime
    items: list[Finding]


class Removal(WireModel):
    """Something that was removed, or that would be."""

    kind: str = Field(description="`log`, `image`, `container`, `runtime`, …")
    name: str = Field(description="id, reference or number of what it is")
    reason: str = Field(description="why it is no longer needed")
    size: int = Field(default=0, description="bytes that become free, as far as is known")


class CleanUp(WireModel):
    """One clean-up. `more`: there was too much for one round; the next one goes on."""

    dry_run: bool
    items: list[Removal]
    size: int = Field(description="bytes of all items together")
    more: bool = False
    skipped: list[str] = Field(
        default_factory=list, description="what was left alone because it could not be judged, and why"
    )


class CleanUpRequest(WireModel):
    """How to clean up."""

    dry_run: bool = Field(default=False, description="only say what would be removed")
