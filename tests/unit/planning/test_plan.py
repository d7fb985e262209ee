"""What a pass decides, in small queues that one can follow by hand. Devices are letters: `a` has 40 GiB, `A` has 80."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.queues import NOW, Simulation, check, node, running, site, waiting
from toolkit_hub.queue.planning import (
    AccountShare,
    Capacity,
    Kind,
    Limits,
    Plan,
    QueueState,
    Quota,
    Room,
    Rules,
    RunClass,
    RunningRun,
    WaitingRun,
    decayed,
    plan,
    why_ahead,
    words,
)

ONE = site(node("n0", "abcd"))
TWO = site(node("n0", "abcd"), node("n1", "e"))


def state(*runs: WaitingRun | RunningRun, there: Capacity = ONE, **more: object) -> QueueState:
    queue = tuple(run for run in runs if isinstance(run, WaitingRun))
    held = tuple(run for run in runs if isinstance(run, RunningRun))
    return replace(QueueState(there, NOW, queue, held), **more)  # type: ignore[arg-type]


def begun(decided: Plan) -> dict[str, str]:
    return {start.run_id: "".join(start.devices) for start in decided.starts}


def test_classes_go_before_bids_and_bids_before_time() -> None:
    queue = [
        waiting("restartable", 1, run_class=RunClass.RESTARTABLE, bid=9, submitted=1.0),
        waiting("preemptable", 1, run_class=RunClass.PREEMPTABLE, submitted=2.0),
        waiting("early", 1, submitted=3.0),
        waiting("late", 1, submitted=4.0),
        waiting("rich", 1, submitted=5.0, bid=1),
        waiting("interactive", 1, run_class=RunClass.INTERACTIVE, submitted=6.0),
    ]
    held = running("r", "abcd")
    decided = plan(state(*queue, held))
    assert decided.order == ("interactive", "rich", "early", "late", "preemptable", "restartable")
    there = state(*queue, held)
    reasons = [why_ahead(a, b, there) for a, b in ((queue[5], queue[4]), (queue[4], queue[2]), (queue[2], queue[3]))]
    assert reasons == ["class", "bid", "earlier"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((0, 0, 0), 1), ((1, 0, 0), 0), ((1, 1, 1), 0), ((0, 1, 0), 2), ((0, 0, 1), 3), ((0, 1, 1), 3)],
)
def test_the_class_of_a_job_spec(flags: tuple[bool, bool, bool], expected: int) -> None:
    interactive, preemptable, restartable = flags
    assert RunClass.of(interactive=interactive, preemptable=preemptable, restartable=restartable) == expected


def test_accounts_take_turns_within_one_pass() -> None:
    queue = [waiting(f"lab-{n}", 1, submitted=float(n)) for n in range(4)]
    queue += [waiting(f"eve-{n}", 1, submitted=50.0 + n, user="eve", account="eve") for n in range(2)]
    assert list(begun(plan(state(*queue)))) == ["lab-0", "eve-0", "lab-1", "eve-1"]


def test_past_use_what_runs_now_and_weight_count_in_fair_share() -> None:
    queue = [waiting("lab", 1, submitted=1.0), waiting("eve", 1, submitted=2.0, user="eve", account="eve")]
    full = running("r", "abcd", account="other")

    def first(*more: RunningRun, **shares: AccountShare) -> str:
        return plan(state(*queue, full, *more, shares=shares)).order[0]

    assert first() == "lab"
    assert first(lab=AccountShare(10)) == "eve"
    assert first(lab=AccountShare(10), eve=AccountShare(30)) == "lab"
    assert first(lab=AccountShare(10, 4.0), eve=AccountShare(5, 1.0)) == "lab"
    assert first(running("busy")) == "eve"
    there = state(*queue, full, shares={"lab": AccountShare(10)})
    assert why_ahead(queue[1], queue[0], there) == "fair share"
    assert decayed(8.0, 7200, 3600) == 2.0


def test_the_first_in_line_stays_so_until_it_starts() -> None:
    """Its account has used more meanwhile, but what was kept for it is not given to others."""
    queue = [
        waiting("large", 4, submitted=1.0),
        waiting("eve", 1, submitted=2.0, user="eve", account="eve", max_run_time=None),
    ]
    held = running("r", "ab", account="other")
    before = plan(state(*queue, held))
    assert before.promised == ("large",)
    later = state(*queue, held, shares={"lab": AccountShare(1e6)}, promised=before.promised)
    assert plan(later).order[0] == "large"
    assert why_ahead(queue[0], queue[1], later) == "promise"
    assert plan(replace(later, promised=())).starts


def test_backfill_takes_what_ends_in_time_and_what_the_first_does_not_need() -> None:
    first = waiting("first", 3, submitted=1.0)
    held = running("r", "ab")  # ends in an hour; free are c and d
    short = waiting("short", 1, submitted=2.0, max_run_time=600.0)
    long, endless = (waiting(f"long-{limit}", 1, submitted=3.0, max_run_time=limit) for limit in (7200.0, None))
    decided = plan(state(first, held, short, long, endless))
    assert decided.reservation is not None
    assert (decided.reservation.at, len(decided.reservation.devices)) == (NOW + 3600, 3)
    assert begun(decided) == {"short": "c", "long-7200.0": "d"}
    assert all(start.backfilled for start in decided.starts)
    assert decided.reasons["long-None"].kind is Kind.BEHIND
    tight = plan(state(replace(first, request=replace(first.request, gpu=4)), held, short, long, endless))
    assert begun(tight) == {"short": "c"}
    assert tight.reasons["long-7200.0"].kind is tight.reasons["long-None"].kind is Kind.KEPT
    assert tight.reasons["long-None"].ahead == "first"


def test_while_nobody_knows_when_the_first_can_start_nothing_uses_what_is_kept() -> None:
    held, first = running("r", "ab", latest_end=None), waiting("first", 3, submitted=1.0)
    short = waiting("short", 2, submitted=2.0, max_run_time=60.0)
    decided = plan(state(first, held, short))
    assert decided.reservation is not None
    assert decided.reservation.at is None
    assert decided.reasons["short"].kind is Kind.KEPT
    apart = plan(state(waiting("first", 4), held, replace(short, request=replace(short.request, gpu=1)), there=TWO))
    assert begun(apart) == {"short": "e"}
    # c and d are needed whichever of a and b comes free.
    small = replace(short, request=replace(short.request, gpu=1))
    assert begun(plan(state(first, held, small))) == {}


def test_cpus_and_memory_of_the_first_are_kept_as_well() -> None:
    first, held = waiting("first", cpu=6.0, mem=20.0, submitted=1.0), running("r", cpu=6.0, mem=2.0)
    fits_beside, too_much = waiting("b", cpu=2.0, max_run_time=None), waiting("c", cpu=1.0, mem=13.0, max_run_time=None)
    assert list(begun(plan(state(first, held, fits_beside)))) == ["b"]
    assert begun(plan(state(first, held, too_much))) == {}
    short_of_memory = running("r", cpu=2.0, mem=20.0), first
    twins = [waiting(f"twin-{n}", cpu=2.0, max_run_time=None) for n in range(2)]
    assert list(begun(plan(state(*short_of_memory, *twins)))) == ["twin-0"]
    over = replace(too_much, max_run_time=3600.0 - Rules().slack)
    assert list(begun(plan(state(first, held, over)))) == ["c"]


def test_a_backfilled_run_does_not_use_up_the_quota_of_the_first() -> None:
    limits = Limits(users={"ann": Quota("ann", gpus=4)})
    first, held = waiting("first", 4, submitted=1.0), running("r", "ab")
    queue = [
        first,
        waiting("own", 1, max_run_time=None),
        waiting("bobs", 1, user="bob", submitted=NOW, max_run_time=None),
    ]
    decided = plan(state(*queue, held, limits=limits, there=TWO))
    assert begun(decided) == {"bobs": "e"}
    assert decided.reasons["own"].kind is Kind.KEPT


def test_what_is_kept_is_lent_where_the_site_wants_that() -> None:
    first, held = waiting("first", 4, submitted=1.0), running("r", "ab", latest_end=None)
    lent = waiting("lent", 2, run_class=RunClass.PREEMPTABLE, max_run_time=None)
    normal = waiting("normal", 2, max_run_time=None)
    lends = Rules(lend_from=900)
    assert begun(plan(state(first, held, lent, normal))) == {}
    assert begun(plan(state(first, held, lent, normal, rules=lends))) == {"lent": "cd"}
    soon = replace(held, latest_end=NOW + 600)
    assert begun(plan(state(first, soon, lent, rules=lends))) == {}
    back = running("lent", "cd", run_class=RunClass.PREEMPTABLE, latest_end=None)
    (taken,) = plan(state(first, back, rules=lends)).preemptions
    assert [victim.run_id for victim in taken.victims] == ["lent"]


def test_who_is_over_a_quota_waits_and_holds_back_nobody() -> None:
    limits = Limits(
        users={"ann": Quota("acme.ann", gpus=1)}, accounts={"top": Quota("acme.top", running=3)}, parents={"lab": "top"}
    )
    queue = [waiting("much", 2, submitted=1.0), waiting("bobs", 2, user="bob"), waiting("third", 0, user="bob")]
    decided = plan(state(*queue, running("r"), limits=limits))
    assert list(begun(decided)) == ["bobs", "third"]
    block = decided.reasons["much"].quota
    assert block is not None
    assert (block.what, block.limit, block.used, block.asked, block.never) == ("gpus", 1, 0, 2, True)
    assert words(decided.reasons["much"]) == (
        "beyond the quota of user acme.ann: 1 GPU (`toolkit quota ls --user acme.ann`)"
    )
    fourth = plan(state(waiting("x", user="bob"), *(running(f"r{n}") for n in range(3)), limits=limits))
    assert words(fourth.reasons["x"]) == (
        "waiting for the quota of account acme.top: 3 running jobs (`toolkit quota ls acme.top`)"
    )
    assert fourth.reasons["x"].quota.details() == (  # type: ignore[union-attr]
        "the quota of account acme.top: 3 of 3 running jobs in use, and it asks for 1"
    )


def test_one_interactive_job_a_user_unless_the_user_has_another_quota() -> None:
    queue = [waiting(f"i{n}", run_class=RunClass.INTERACTIVE, submitted=float(n)) for n in range(3)]
    one = Limits(interactive_per_user=1)
    assert list(begun(plan(state(*queue, waiting("batch"), limits=one)))) == ["i0", "batch"]
    two = replace(one, users={"ann": Quota("ann", interactive=2)})
    assert list(begun(plan(state(*queue, limits=two)))) == ["i0", "i1"]


def test_a_quota_may_spare_what_can_be_stopped_for_others() -> None:
    limits = Limits(users={"ann": Quota("ann", gpus=1, spares_preemptable=True)})
    queue = [
        waiting("n1", 1, submitted=1.0),
        waiting("n2", 1, submitted=2.0),
        waiting("p", 2, run_class=RunClass.PREEMPTABLE),
    ]
    assert list(begun(plan(state(*queue, limits=limits)))) == ["n1", "p"]


def test_times_that_have_not_come_and_what_is_out_of_service() -> None:
    drained = site(node("n0", "ab", drained="it reports errors"), node("n1", "c"))
    queue = [waiting("later", not_before=NOW + 60), waiting("two", 2), waiting("five", 5), waiting("one", 1)]
    decided = plan(state(*queue, there=drained))
    assert list(begun(decided)) == ["one"]
    assert {run_id: reason.kind for run_id, reason in decided.reasons.items()} == {
        "later": Kind.NOT_BEFORE,
        "two": Kind.OUT_OF_SERVICE,
        "five": Kind.IMPOSSIBLE,
    }
    assert words(decided.reasons["later"]) == "waiting for its time: not before 1970-01-01 00:17 UTC"
    assert "later" not in decided.order
    assert decided.reservation is None


def test_the_words_do_not_change_while_numbers_do() -> None:
    queue = [waiting(f"w{n}", 2, submitted=float(n), gpu_model="a100") for n in range(3)]
    told = set()
    for held in ("abc", "abcd"):
        decided = plan(state(*queue, running("r", held)))
        told.add(tuple(words(decided.reasons[f"w{n}"]) for n in range(3)))
    asked = "2 GPUs (model a100), 1 CPU and 1 GiB of memory"
    behind = f"waiting behind earlier jobs for {asked}"
    assert told == {(f"first in line: waiting for {asked}", behind, behind)}
    assert plan(state(*queue, running("r", "abc"))).reasons["w0"].short == ("gpu",)


# Preemption


def stoppable(run_id: str, devices: str, **more: object) -> RunningRun:
    return running(run_id, devices, **{"run_class": RunClass.PREEMPTABLE, **more})


@pytest.mark.parametrize(
    ("run_class", "victims"),
    [
        (RunClass.INTERACTIVE, ["restartable"]),
        (RunClass.NORMAL, ["restartable"]),
        (RunClass.PREEMPTABLE, ["restartable"]),
        (RunClass.RESTARTABLE, []),
    ],
)
def test_who_may_preempt_whom(run_class: RunClass, victims: list[str]) -> None:
    held = [
        running("normal", "a"),
        stoppable("preemptable", "bc"),
        stoppable("restartable", "d", run_class=RunClass.RESTARTABLE),
    ]
    decided = plan(state(waiting("w", 1, run_class=run_class, bid=99), *held))
    assert [victim.run_id for one in decided.preemptions for victim in one.victims] == victims
    assert not decided.starts


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"bid": 1}, {"bid": 0}, "b"),
        ({"run_class": RunClass.RESTARTABLE, "bid": 5}, {"bid": 0}, "a"),
        ({"started": NOW - 100}, {"started": NOW - 50}, "b"),
        ({"started": NOW - 100, "checkpoint": NOW - 10}, {"started": NOW - 50}, "a"),
        ({"started": None}, {"started": NOW - 50}, "a"),
        ({"bid": 1, "started": NOW - 5}, {"bid": 0, "started": NOW - 5000}, "b"),
        ({}, {}, "a"),
        ({"ending": True}, {}, "b"),
        ({"making_room_for": "somebody"}, {"bid": 9}, "b"),
    ],
)
def test_the_cheapest_victim_is_stopped(first: dict[str, object], second: dict[str, object], expected: str) -> None:
    held = [stoppable("a", "ab", **first), stoppable("b", "cd", **second)]
    (one,) = plan(state(waiting("w", 2), *held)).preemptions
    assert [victim.run_id for victim in one.victims] == [expected]
    assert one.victims[0].lost == held[expected == "b"].lost_if_stopped(NOW)


def test_one_large_victim_rather_than_two_that_lose_more() -> None:
    held = [stoppable(name, name, started=NOW - 300) for name in "ab"] + [stoppable("cd", "cd", started=NOW - 400)]
    (one,) = plan(state(waiting("w", 2), *held)).preemptions
    assert [victim.run_id for victim in one.victims] == ["cd"]


def test_no_more_victims_than_needed_and_those_that_lose_least() -> None:
    held = [stoppable(name, name, started=NOW - lost) for name, lost in zip("abcd", (40, 10, 30, 20), strict=True)]
    (one,) = plan(state(waiting("w", 3), *held)).preemptions
    assert [(victim.run_id, victim.lost) for victim in one.victims] == [("b", 10), ("d", 20), ("c", 30)]


def test_nobody_is_stopped_where_that_does_not_suffice() -> None:
    held = [running("normal", "abc"), stoppable("p", "d")]
    decided = plan(state(waiting("w", 2), *held))
    assert decided.preemptions == ()
    assert decided.reasons["w"].kind is Kind.FIRST


def test_room_is_for_the_starter_alone_until_the_last_victim_is_gone() -> None:
    held = [stoppable("p1", "ab", latest_end=None), stoppable("p2", "cd", latest_end=None)]
    simulation = Simulation(state(waiting("large", 4), *held), ends={})
    simulation.run(lambda now: True)
    assert simulation.last is not None
    (one,) = simulation.last.preemptions
    assert one.room.node == "n0"
    assert set(one.room.devices) == set("abcd")
    assert words(simulation.last.reasons["large"]) == "about to start: 2 jobs are being stopped to make room"
    # One victim is gone; an interactive job of a higher class comes, and does not get its devices.
    urgent = waiting("urgent", 1, run_class=RunClass.INTERACTIVE, user="eve", account="eve")
    now = replace(simulation.state, running=simulation.state.running[1:], waiting=(*simulation.state.waiting, urgent))
    decided = plan(now)
    check(now, decided)
    assert decided.starts == decided.preemptions == ()
    assert decided.reasons["large"].kind is Kind.MAKING_ROOM
    assert begun(plan(replace(now, running=()))) == {"large": "abcd"}


def test_a_room_that_has_lost_a_device_binds_nobody() -> None:
    there = site(node("n0", "ab", drained="gone"), node("n1", "cd"))
    starter = waiting("w", 2, room=Room("n0", ("a", "b")))
    assert begun(plan(state(starter, there=there))) == {"w": "cd"}


def test_what_the_victims_have_too_much_is_not_given_away_before_it_is_free() -> None:
    held = [stoppable("p", "abcd")]
    decided = plan(state(waiting("w", 1), waiting("v", 1, submitted=NOW), *held))
    assert [one.starter for one in decided.preemptions] == ["w"]
    assert decided.reasons["v"].kind is Kind.FIRST
