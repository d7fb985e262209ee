"""Why a run waits, when it starts, and what would start it now."""

from __future__ import annotations

from dataclasses import replace

from tests.support.queues import NOW, node, running, site, waiting
from toolkit_hub.queue.planning import (
    Change,
    Estimate,
    Limits,
    Proposal,
    QueueState,
    Quota,
    Rules,
    RunClass,
    check_submit,
    estimate,
    explain,
    plan,
    what_if,
)

HOUR = 3600.0
ONE = site(node("n0", "abcd"))


def test_why_names_what_is_short_who_holds_it_and_until_when() -> None:
    held = (running("late", "bc", latest_end=NOW + 2 * HOUR), running("soon", "a"), running("no-gpu"))
    queue = (waiting("first", 3, submitted=1.0), waiting("w", 2, submitted=2.0, user="eve", account="eve", bid=-1))
    state = QueueState(ONE, NOW, queue, held)
    decided = plan(state)
    told = explain(state, decided, "first")
    assert told is not None
    assert (told.position, told.length, told.node, told.ahead) == (1, 2, "n0", ())
    assert [(one.what, one.asked, one.free, one.total, one.missing) for one in told.short] == [("gpu", 3, 1, 4, 2)]
    assert [(one.run_id, one.job_id, one.user, one.until) for one in told.holders] == [
        ("soon", "job-soon", "bob", NOW + HOUR),
        ("late", "job-late", "bob", NOW + 2 * HOUR),
    ]
    assert told.reserved == decided.reservation
    assert told.estimate == Estimate(NOW, NOW + HOUR, NOW + 2 * HOUR)
    behind = explain(state, decided, "w")
    assert behind is not None
    assert (behind.position, [(one.run_id, one.because) for one in behind.ahead]) == (2, [("first", "bid")])
    assert behind.estimate.latest == NOW + 3 * HOUR
    assert explain(state, decided, "late") is None


def test_a_time_is_unknown_where_the_run_waits_for_one_without_limit() -> None:
    queue = (waiting("w", 4), waiting("early", not_before=NOW + 60))
    state = QueueState(ONE, NOW, queue, (running("r", "a", latest_end=None), running("s", "b")))
    assert estimate(state, plan(state), "w") == Estimate(NOW, None, None)
    early = explain(state, plan(state), "early")
    assert early is not None
    assert (early.position, early.estimate) == (None, Estimate(NOW + 60, NOW + 60, NOW + 60))


def test_a_time_is_unknown_behind_one_without_limit() -> None:
    queue = (waiting("first", 4, submitted=1.0, max_run_time=None), waiting("w", 4))
    state = QueueState(ONE, NOW, queue, (running("r", "a"),))
    assert estimate(state, plan(state), "first").latest == NOW + HOUR
    assert estimate(state, plan(state), "w").latest is None


def test_who_starts_in_the_same_pass_counts_in_the_time() -> None:
    queue = (waiting("now", 3, submitted=1.0), waiting("w", 4))
    state = QueueState(ONE, NOW, queue)
    decided = plan(state)
    assert [start.run_id for start in decided.starts] == ["now"]
    assert estimate(state, decided, "w") == Estimate(NOW, NOW + HOUR / 2, NOW + HOUR)


def proposals(state: QueueState, run_id: str = "w", highest_bid: int | None = None) -> dict[Change, Proposal]:
    return {found.change: found for found in what_if(state, run_id, highest_bid=highest_bid)}


def test_fewer_gpus_another_model_or_less_of_the_rest() -> None:
    there = site(node("n0", "abcd"), node("n1", "EF", model="SIMULATED H100"))
    held = (running("r", "ab", cpu=2.0),)
    found = proposals(QueueState(there, NOW, (waiting("w", 3, gpu_model="a100"),), held))
    assert list(found) == [Change(gpu=2)]
    found = proposals(QueueState(there, NOW, (waiting("w", 2, gpu_model="h100"),), (running("r", "EF", node="n1"),)))
    assert list(found) == [Change(any_model=True), Change(gpu_model="SIMULATED A100")]
    assert found[Change(any_model=True)].devices == ("a", "b")
    found = proposals(QueueState(ONE, NOW, (waiting("w", 1, cpu=7.0, mem=31.5),), held))
    assert list(found) == [Change(cpu=6.0, mem=31.0)]
    assert proposals(QueueState(ONE, NOW, (waiting("w", 1, cpu=8.0),), (running("r", cpu=7.0),))) == {}


def test_a_higher_bid_is_the_least_that_does_and_tells_whom_it_overtakes() -> None:
    queue = [waiting(f"q{n}", 4, bid=bid, submitted=float(n)) for n, bid in enumerate((30, 20, 10))]
    mine = waiting("w", 1, bid=5, max_run_time=None)
    state = QueueState(ONE, NOW, (*queue, mine), (running("r", "abc", latest_end=None),))
    found = proposals(state)
    assert found[Change(bid=31)].overtakes == ("q0", "q1", "q2")
    assert found[Change(bid=31)].delays == ()
    assert proposals(state, highest_bid=30) == {}
    full = replace(state, waiting=(replace(queue[0], request=mine.request), mine), running=(running("r", "abc"),))
    assert proposals(full)[Change(bid=31)].delays == ("q0",)


def test_a_shorter_time_limit_where_the_run_could_go_before_the_first() -> None:
    queue = (waiting("first", 4, submitted=1.0), waiting("w", 1, max_run_time=None))
    state = QueueState(ONE, NOW, queue, (running("r", "ab"),))
    assert proposals(state)[Change(max_run_time=HOUR - Rules().slack)].devices == ("c",)


def test_a_higher_bid_says_whom_it_would_stop() -> None:
    first, mine = waiting("first", 2, bid=1), waiting("w", 2, run_class=RunClass.NORMAL)
    victim = running("p", "abc", run_class=RunClass.PREEMPTABLE)
    found = proposals(QueueState(ONE, NOW, (first, mine), (victim, running("n", "d"))))
    assert [victim.run_id for victim in found[Change(bid=2)].preempts] == ["p"]
    assert found[Change(bid=2)].delays == ("first",)


def test_a_lower_class_where_quotas_spare_it_or_what_is_kept_is_lent() -> None:
    limits = Limits(users={"ann": Quota("ann", gpus=1, spares_preemptable=True)})
    found = proposals(QueueState(ONE, NOW, (waiting("w", 2),), (), limits))
    assert list(found) == [Change(gpu=1), Change(run_class=RunClass.PREEMPTABLE)]
    queue = (waiting("first", 4, submitted=1.0), waiting("w", 1))
    state = QueueState(ONE, NOW, queue, (running("r", "a", latest_end=None),))
    assert Change(run_class=RunClass.PREEMPTABLE) not in proposals(state)
    assert Change(run_class=RunClass.PREEMPTABLE) in proposals(replace(state, rules=Rules(lend_from=0)))


def test_there_is_nothing_to_propose_for_who_starts_anyhow() -> None:
    assert what_if(QueueState(ONE, NOW, (waiting("w", 1),)), "w") == []


def test_submits_beyond_a_quota() -> None:
    limits = Limits(
        {"ann": Quota("acme.ann", gpus=2, bid=10, queued=2)}, {"top": Quota(queued=3)}, parents={"lab": "top"}
    )
    assert check_submit(limits, waiting("w", 2, bid=10), ()) is None
    too_many = check_submit(limits, waiting("w", 3), ())
    assert too_many is not None
    assert too_many.never
    bid = check_submit(limits, waiting("w", bid=11), ())
    assert bid is not None
    assert (bid.what, bid.limit, bid.asked) == ("bid", 10, 11)
    queued = check_submit(limits, waiting("w"), (waiting("q1"), waiting("q2")))
    assert queued is not None
    assert (queued.kind, queued.used, queued.never) == ("user", 2, False)
    others = tuple(waiting(f"q{n}", user="bob") for n in range(3))
    assert check_submit(limits, waiting("w"), others) is not None
    assert check_submit(limits, waiting("w", account="eve"), others) is None
