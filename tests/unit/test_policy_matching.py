"""Wildcards, containment and reach, each against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import worlds
from toolkit_hub.policy.actions import ACTIONS, RESOURCE_TYPES
from toolkit_hub.policy.matching import (
    SHAPES,
    action_matches,
    actions_for,
    contains,
    patterns_for,
    urn_matches,
)
from toolkit_hub.policy.reach import reach
from toolkit_hub.policy.world import Atom

VERBS = {action.verb for action in ACTIONS.values()}
ACTION_PATTERNS = ["*", *ACTIONS, *(f"{kind}:*" for kind in RESOURCE_TYPES), *(f"*:{verb}" for verb in VERBS)]


def _words(letters: str, longest: int) -> Iterator[str]:
    for length in range(1, longest + 1):
        for segments in itertools.product(letters, repeat=length):
            yield ":".join(segments)


@pytest.mark.parametrize(
    ("pattern", "matched", "unmatched"),
    [
        ("*", ["o", "o:user:u", "o:account:a:job:j"], []),
        ("o", ["o"], ["p", "o:user:u"]),
        ("o:*", ["o:user:u", "o:account:a:job:j"], ["o", "p:user:u"]),
        ("o:account:A:*", ["o:account:A:job:j", "o:account:A:x:y:z"], ["o:account:A", "o:account:B:job:j"]),
        ("o:account:*", ["o:account:A", "o:account:A:job:j"], ["o", "o:user:u"]),
        ("o:account:*:job:*", ["o:account:A:job:j"], ["o:account:A:data:d", "o:account:A", "o:account:A:B:job:j"]),
        ("o:account:*:job:j", ["o:account:A:job:j"], ["o:account:A:job:k"]),
        ("*:user:u", ["o:user:u", "p:user:u"], ["o:user:v"]),
        ("o:account:a.b", ["o:account:a.b"], ["o:account:axb"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, matched: list[str], unmatched: list[str]) -> None:
    assert all(urn_matches(pattern, urn) for urn in matched)
    assert not any(urn_matches(pattern, urn) for urn in unmatched)


def test_the_patterns_of_a_urn_are_those_that_match_it() -> None:
    patterns = list(_words("ab*", 4))
    for urn in _words("ab", 4):
        assert set(patterns_for(urn)) == {pattern for pattern in patterns if urn_matches(pattern, urn)}


def test_they_are_few_and_none_twice() -> None:
    for length, count in ((1, 2), (3, 11), (5, 47)):
        found = patterns_for(":".join("abcde"[:length]))
        assert len(found) == len(set(found)) == count


def test_the_patterns_of_an_action_are_those_that_match_it() -> None:
    for action in ACTIONS:
        resource, verb = action.split(":")
        meant = {
            pattern
            for pattern in ACTION_PATTERNS
            if pattern == "*"
            or all(part in ("*", own) for part, own in zip(pattern.split(":"), (resource, verb), strict=True))
        }
        assert set(actions_for(action)) == meant == {p for p in ACTION_PATTERNS if action_matches(p, action)}


def test_containment_of_urns_is_that_of_the_sets() -> None:
    """The letter c is in no pattern: it stands for every id that there may be some day. No longer URN says anything new."""
    patterns = list(_words("ab*", 4))
    urns = list(_words("abc", 6))
    meant = {pattern: {urn for urn in urns if urn_matches(pattern, urn)} for pattern in patterns}
    for outer, inner in itertools.product(patterns, repeat=2):
        assert contains(Atom("*", outer), Atom("*", inner)) == (meant[inner] <= meant[outer]), (outer, inner)


def test_containment_of_actions_is_that_of_the_sets() -> None:
    meant = {pattern: {action for action in ACTIONS if action_matches(pattern, action)} for pattern in ACTION_PATTERNS}
    assert all(meant.values())
    for outer, inner in itertools.product(ACTION_PATTERNS, repeat=2):
        expected = meant[inner] <= meant[outer] and (outer == "*" or inner != "*")
        assert contains(Atom(outer, "o"), Atom(inner, "o")) == expected, (outer, inner)


def test_an_action_that_is_no_more_lies_within_itself_and_everything_only() -> None:
    gone = Atom("job:fly", "o")
    assert contains(gone, gone)
    assert contains(Atom("*", "o"), gone)
    assert not contains(Atom("job:*", "o"), gone)


@given(worlds.action_patterns, worlds.urn_patterns(), worlds.action_patterns, worlds.urn_patterns())
def test_an_atom_is_contained_when_both_of_its_parts_are(
    action: str, pattern: str, other_action: str, other_pattern: str
) -> None:
    outer, inner = Atom(action, pattern), Atom(other_action, other_pattern)
    both = contains(Atom(action, "o"), Atom(other_action, "o")) and contains(
        Atom("*", pattern), Atom("*", other_pattern)
    )
    assert contains(outer, inner) == both
    if both:
        for wanted, urn in itertools.product(ACTIONS, worlds.ALL_URNS):
            if action_matches(inner.action, wanted) and urn_matches(inner.pattern, urn):
                assert action_matches(outer.action, wanted)
                assert urn_matches(outer.pattern, urn)


TEMPLATES = [(worlds.ORGANIZATION, *shape[1:]) for shapes in SHAPES.values() for shape in shapes] + list(SHAPES["job"])
_names = st.sampled_from(("a1", "a2", "new", "j1", "t1", "job", worlds.ORGANIZATION, worlds.FOREIGN))
_atoms = st.lists(
    st.builds(
        Atom, worlds.action_patterns, worlds.urn_patterns() | worlds.urn_patterns(st.sampled_from(worlds.FOREIGN_URNS))
    ),
    max_size=8,
)


@given(_atoms, worlds.actions, st.sampled_from(TEMPLATES), st.data())
def test_reach_is_what_the_patterns_match(
    atoms: list[Atom], action: str, template: tuple[str, ...], data: st.DataObject
) -> None:
    """For values that are in the statements and for others alike."""
    found = reach(atoms, action, template)
    free = [part[1:-1] for part in template if part.startswith("{")]
    known = sorted({segment for atom in atoms for segment in atom.pattern.split(":")} - {"*"}) or ["a1"]
    for _ in range(8):
        values = {name: data.draw(_names | st.sampled_from(known)) for name in free}
        urn = ":".join(values[part[1:-1]] if part.startswith("{") else part for part in template)
        assert found.covers(values) == any(
            action_matches(atom.action, action) and urn_matches(atom.pattern, urn) for atom in atoms
        )


@given(_atoms, worlds.actions, st.sampled_from(TEMPLATES))
def test_reach_says_nothing_twice(atoms: list[Atom], action: str, template: tuple[str, ...]) -> None:
    found = reach(atoms, action, template)
    assert not (found.everything and found.fixed)
    assert found.nothing == (not found.everything and not found.fixed)
    for one, other in itertools.permutations(found.fixed, 2):
        assert not one.items() <= other.items()


def test_reach_by_example() -> None:
    template = ("o", "account", "{account}", "job", "{id}")
    texts = (
        "o:account:a:*",
        "o:account:a:job:j",
        "o:account:b:job:j",
        "o:*:b:*:k",
        "p:*",
        "o:account:c",
        "o:account:*:*:k",
    )
    found = reach([Atom("job:*", text) for text in texts], "job:get", template)
    assert found.fixed == ({"account": "a"}, {"account": "b", "id": "j"}, {"id": "k"})
    assert reach([Atom("*:get", "o:account:*")], "job:get", template).everything
    assert reach([Atom("data:*", "*")], "job:get", template).nothing


def test_the_same_part_twice_in_a_template_has_one_value() -> None:
    template = ("{a}", "x", "{a}")
    assert reach([Atom("*", "1:x:2")], "job:get", template).nothing
    assert reach([Atom("*", "1:x:*")], "job:get", template).fixed == ({"a": "1"},)
