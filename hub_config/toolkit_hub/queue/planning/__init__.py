"""The planner of the queue: pure, so that a plan can be repeated, tested and asked "what if".

What a caller does in each pass, in one transaction:

1. Map the rows to a `QueueState`: every machine and device (`Capacity`, drained ones with their reason), each run that holds
   something, from its admission until its container is gone, as a `RunningRun`, and each run in the queue whose
   dependencies are met as a `WaitingRun`; the quotas (`Limits`), the decayed use of each account (`AccountShare`; add
   `Costs.of(request) * seconds` for what ran since, after `decayed`), and `promised` of the plan before.
2. `decided = plan(state)`.
3. Carry it out: for each of `decided.starts` take node and devices in the ledger and admit the run. For each of
   `decided.preemptions` store its `room` with the starter's row (it comes back as `WaitingRun.room`), and mark each victim
   as being stopped for it (`RunningRun.making_room_for`); begin to stop them. When they are gone, a later pass starts the
   starter in its room. Nobody else gets that room meanwhile.
4. Write `words(reason)` of each of `decided.reasons` where the stored words differ, and keep `decided.promised`.

A run that is being cancelled, or that ends for whatever other reason, is `ending`: it still holds what it has, and is no victim.

At submit: `check_submit` for quotas, then `impossible`. On demand, with the same state and plan: `explain` (why a run waits,
behind whom, who holds what until when, an estimate) and `what_if` (what would start it now).
"""

from toolkit_hub.queue.planning.backfill import Reservation
from toolkit_hub.queue.planning.capacity import Capacity, Device, Node
from toolkit_hub.queue.planning.estimate import Estimate, estimate
from toolkit_hub.queue.planning.fair_share import AccountShare, Costs, decayed
from toolkit_hub.queue.planning.impossible import Impossible, impossible
from toolkit_hub.queue.planning.limits import Limits, Quota, QuotaBlock, check_submit, nearest_allowed
from toolkit_hub.queue.planning.order import why_ahead
from toolkit_hub.queue.planning.plan import Plan, Preemption, Start, plan
from toolkit_hub.queue.planning.preempt import Victim
from toolkit_hub.queue.planning.reasons import Kind, Reason, asked, words
from toolkit_hub.queue.planning.runs import Request, Room, RunClass, RunningRun, WaitingRun
from toolkit_hub.queue.planning.state import QueueState, Rules
from toolkit_hub.queue.planning.what_if import Change, Proposal, verify, what_if
from toolkit_hub.queue.planning.why import Ahead, Explanation, Holder, Short, explain

__all__ = [
    "AccountShare",
    "Ahead",
    "Capacity",
    "Change",
    "Costs",
    "Device",
    "Estimate",
    "Explanation",
    "Holder",
    "Impossible",
    "Kind",
    "Limits",
    "Node",
    "Plan",
    "Preemption",
    "Proposal",
    "QueueState",
    "Quota",
    "QuotaBlock",
    "Reason",
    "Request",
    "Reservation",
    "Room",
    "Rules",
    "RunClass",
    "RunningRun",
    "Short",
    "Start",
    "Victim",
    "WaitingRun",
    "asked",
    "check_submit",
    "decayed",
    "estimate",
    "explain",
    "impossible",
    "nearest_allowed",
    "plan",
    "verify",
    "what_if",
    "why_ahead",
    "words",
]
