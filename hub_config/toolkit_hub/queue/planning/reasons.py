"""Why a run waits: structured, and in words that stay the same as long as the kind of reason does.

The words have no number of the moment: they are stored with the run, and a change of them is an event. `why` has the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from toolkit_hub.queue.planning.limits import QuotaBlock
from toolkit_hub.queue.planning.runs import Request

__all__ = ["Kind", "Reason", "asked", "words"]


class Kind(Enum):
    FIRST = "first"  #: it is the next to start, as soon as enough comes free
    BEHIND = "behind"  #: it does not fit now, and others come before it
    KEPT = "kept"  #: it would fit, but would delay the first in line
    QUOTA = "quota"
    MAKING_ROOM = "making-room"  #: others are being stopped for it
    NOT_BEFORE = "not-before"
    OUT_OF_SERVICE = "out-of-service"  #: what there is would do, but not what is in service now
    IMPOSSIBLE = "impossible"  #: nothing that this site has would do


@dataclass(frozen=True, slots=True)
class Reason:
    """The same object may be the reason of many runs. `short` names what is short: `gpu`, `cpu`, `mem`, or `together` when no
    machine has free all of it at once; `ahead` is the first in line for `KEPT`."""

    kind: Kind
    request: Request
    short: tuple[str, ...] = ()
    quota: QuotaBlock | None = None
    victims: tuple[str, ...] = ()
    not_before: float | None = None
    ahead: str | None = None


def words(reason: Reason) -> str:
    """For `stateInfo`."""
    match reason.kind:
        case Kind.FIRST:
            return f"first in line: waiting for {asked(reason.request)}"
        case Kind.BEHIND:
            return f"waiting behind earlier jobs for {asked(reason.request)}"
        case Kind.KEPT:
            return "waiting: what is free is kept for the job that is first in line"
        case Kind.QUOTA:
            return _quota(reason.quota) if reason.quota else "waiting for a quota"
        case Kind.MAKING_ROOM:
            count = len(reason.victims)
            return f"about to start: {count} job{'s are' if count > 1 else ' is'} being stopped to make room"
        case Kind.NOT_BEFORE:
            time = datetime.fromtimestamp(reason.not_before or 0, UTC)
            return f"waiting for its time: not before {time:%Y-%m-%d %H:%M} UTC"
        case Kind.OUT_OF_SERVICE:
            return f"waiting for repair: no machine in service has {asked(reason.request)}"
        case Kind.IMPOSSIBLE:
            return f"cannot start here: no machine has {asked(reason.request)}"


def asked(request: Request) -> str:
    """The request in words: `2 GPUs of 40 GiB or more, 4 CPUs and 16 GiB of memory`."""
    parts = [f"{request.cpu:g} CPU{'s' * (request.cpu != 1)}", f"{request.mem:g} GiB of memory"]
    if request.gpu:
        parts.insert(0, f"{request.gpu} GPU{'s' * (request.gpu > 1)}{_filters(request)}")
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _filters(request: Request) -> str:
    found = []
    if request.gpu_model:
        no = request.gpu_model.startswith("!")
        found.append(f"not {request.gpu_model[1:]}" if no else f"model {request.gpu_model}")
    if request.gpu_mem:
        found.append(f"{request.gpu_mem:g} GiB or more")
    if request.gpu_cuda_version:
        found.append(f"compute capability {request.gpu_cuda_version:g} or more")
    if request.gpu_tensor_cores:
        found.append("with tensor cores")
    return f" ({', '.join(found)})" if found else ""


def _quota(block: QuotaBlock) -> str:
    beginning = "beyond" if block.never else "waiting for"
    return f"{beginning} the quota of {block.holder()}: {block.limit_in_words()} ({block.shown_by()})"
