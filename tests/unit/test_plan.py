"""The planner: first come, first served, nobody gets more than there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from toolkit_hub.queue.plan import Amount, Waiting, impossible, plan

amounts = st.builds(
    Amount,
    st.floats(0.1, 8, allow_nan=False).map(lambda value: round(value, 1)),
    st.floats(0.1, 16, allow_nan=False).map(lambda value: round(value, 1)),
)
queues = st.lists(amounts, max_size=12).map(lambda asks: [Waiting(str(n), item) for n, item in enumerate(asks)])


def test_what_fits_is_admitted_in_order() -> None:
    queue = [Waiting("a", Amount(1, 1)), Waiting("b", Amount(1, 1)), Waiting("c", Amount(1, 1))]
    decided = plan(queue, Amount(), Amount(2, 4))
    assert decided.admitted == ("a", "b")
    assert decided.reasons == {"c": "waiting for 1 CPU: 2 of 2 in use"}


def test_a_small_job_does_not_overtake_a_large_one() -> None:
    queue = [Waiting("large", Amount(2, 1)), Waiting("small", Amount(1, 1))]
    decided = plan(queue, Amount(1, 1), Amount(2, 4))
    assert decided.admitted == ()
    assert decided.reasons == {
        "large": "waiting for 2 CPUs: 1 of 2 in use",
        "small": "waiting behind earlier jobs",
    }


def test_both_shortages_are_named() -> None:
    decided = plan([Waiting("a", Amount(2, 3))], Amount(1, 2), Amount(2, 4))
    assert decided.reasons["a"] == "waiting for 2 CPUs: 1 of 2 in use, and for 3 GiB of memory: 2 of 4 in use"


def test_what_can_never_fit_is_told_with_the_numbers() -> None:
    assert impossible(Amount(3, 1), Amount(2, 4)) == "it asks for 3 CPUs, and there are 2 in all"
    assert impossible(Amount(1, 8), Amount(2, 4)) == "it asks for 8 GiB of memory, and there are 4 GiB in all"
    assert impossible(Amount(2, 4), Amount(2, 4)) is None


def test_tenths_of_a_cpu_fill_the_machine_exactly() -> None:
    queue = [Waiting(str(n), Amount(0.1, 0.1)) for n in range(20)]
    assert len(plan(queue, Amount(), Amount(2, 4)).admitted) == 20


@given(queues, amounts, amounts)
def test_never_more_than_there_is_and_everyone_gets_an_answer(
    queue: list[Waiting], held: Amount, total: Amount
) -> None:
    decided = plan(queue, held, total)
    asks = {run.run_id: run.asks for run in queue}
    used = held
    for run_id in decided.admitted:
        used = used + asks[run_id]
    assert not decided.admitted or used.fits_in(total)
    assert set(decided.admitted) | set(decided.reasons) == set(asks)
    assert not set(decided.admitted) & set(decided.reasons)
    # Admitted are the first ones, without a gap.
    assert list(decided.admitted) == [run.run_id for run in queue][: len(decided.admitted)]
