"""Why runs wait, as their `stateInfo` says it."""

from __future__ import annotations

from toolkit_hub.queue.planning.plan import Plan
from toolkit_hub.queue.planning.reasons import Kind, Reason, words
from toolkit_hub.queue.planning.runs import Request
from toolkit_hub.queue.planning.state import QueueState

__all__ = ["reasons_in_words"]


def reasons_in_words(state: QueueState, decided: Plan) -> dict[str, str]:
    """By run id. Only for the first in line there are numbers, which change with each run that starts or ends."""
    told: dict[int, str] = {}
    found = {}
    for run_id, reason in decided.reasons.items():
        text = told.get(id(reason))
        if text is None:
            text = told[id(reason)] = _in_words(state, decided, reason)
        found[run_id] = text
    return found


def _in_words(state: QueueState, decided: Plan, reason: Reason) -> str:
    if reason.kind is not Kind.FIRST:
        return words(reason)
    lacks = [_short(state, decided, what, reason.request) for what in reason.short]
    return f"waiting for {', and for '.join(lacks)}"


def _short(state: QueueState, decided: Plan, what: str, request: Request) -> str:
    _gpus, cpus, mem = state.capacity.totals()
    started = [run.request for run in state.waiting if run.run_id in {start.run_id for start in decided.starts}]
    if what == "cpu":
        held = sum(run.cpu for run in state.running) + sum(one.cpu for one in started)
        return f"{request.cpu:g} CPU{'s' if request.cpu != 1 else ''}: {held:g} of {cpus:g} in use"
    if what == "mem":
        held = sum(run.mem for run in state.running) + sum(one.mem for one in started)
        return f"{request.mem:g} GiB of memory: {held:g} of {mem:g} in use"
    if what == "gpu":
        return f"{request.gpu} GPU{'s' if request.gpu != 1 else ''}: {_gpus_in_use(state, decided, request)}"
    return "enough on one machine at once"


def _gpus_in_use(state: QueueState, decided: Plan, request: Request) -> str:
    """Of those that would do."""
    fitting = [device for node in state.capacity.nodes for device in node.devices if request.takes(device)]
    held = {uuid for run in state.running for uuid in run.devices}
    held |= {uuid for start in decided.starts for uuid in start.devices}
    drained = sum(device.drained is not None for device in fitting)
    in_use = sum(device.uuid in held for device in fitting)
    words_ = f"{in_use} of {len(fitting)} in use"
    return f"{words_}, {drained} out of service" if drained else words_
