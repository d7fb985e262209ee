"""Only what one holds can be given on, for no longer than one holds it."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import worlds
from tests.support.worlds import LATER, ORGANIZATION, SOON
from toolkit_hub.policy.grants import earlier, not_held
from toolkit_hub.policy.matching import contains
from toolkit_hub.policy.statements import parse_statement
from toolkit_hub.policy.world import Atom, Held

ACCOUNT = f"{ORGANIZATION}:account:a1"
JOB = f"{ACCOUNT}:job:j1"
ends = st.sampled_from((None, SOON, LATER))
atoms = st.builds(Atom, worlds.action_patterns, worlds.urn_patterns())
held_ones = st.lists(st.builds(Held, atoms, st.just("u1"), st.just("p1"), ends), max_size=6)
many = settings(max_examples=300, deadline=None)


def held(text: str, expires: datetime | None = None) -> Held:
    (atom,) = parse_statement(text).atoms
    return Held(atom, "u1", "p1", expires)


@many
@given(held_ones, st.lists(atoms, max_size=4), ends)
def test_what_is_not_held_is_what_no_single_atom_contains(
    mine: list[Held], wanted: list[Atom], until: datetime | None
) -> None:
    infinite = LATER.replace(year=9999)
    expected = [
        atom
        for atom in wanted
        if not any(contains(one.atom, atom) and (one.expires or infinite) >= (until or infinite) for one in mine)
    ]
    assert not_held(mine, wanted, until) == expected


@many
@given(held_ones, ends)
def test_what_one_holds_can_be_given_on_for_as_long(mine: list[Held], until: datetime | None) -> None:
    for one in mine:
        assert not_held(mine, [one.atom], one.expires) == []
        assert not_held(mine, [one.atom], earlier(one.expires, until)) == []


def test_by_example() -> None:
    mine = [held(f"job:*@{ACCOUNT}:*"), held(f"data:get@{ACCOUNT}:*", SOON)]
    for text, until, given_ in [
        (f"job:get@{JOB}", None, True),
        (f"job:*@{ACCOUNT}:*", None, True),
        (f"*:exec@{JOB}", None, True),
        (f"job:get@{ACCOUNT}", None, False),
        (f"job:get@{ORGANIZATION}:account:*:job:j1", None, False),
        (f"*:get@{JOB}", None, False),
        (f"*@{JOB}", None, False),
        (f"data:get@{ACCOUNT}:data:d", None, False),
        (f"data:get@{ACCOUNT}:data:d", SOON, True),
        (f"data:get@{ACCOUNT}:data:d", LATER, False),
    ]:
        wanted = parse_statement(text).atoms
        assert (not_held(mine, wanted, until) == []) == given_, text


def test_two_statements_together_do_not_hold_a_third() -> None:
    mine = [held(f"job:*@{ORGANIZATION}:account:a1:job:*"), held(f"data:*@{ORGANIZATION}:account:a1:data:*")]
    wanted = parse_statement(f"job:get@{ORGANIZATION}:account:a1:*").atoms
    assert not_held(mine, wanted, None) == list(wanted)
