"""The language of policies: what is read, how it is printed again, and what is refused with which words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import worlds
from toolkit_client.errors import InvalidRequest
from toolkit_hub.policy.actions import ACTIONS, RESOURCE_TYPES
from toolkit_hub.policy.matching import SHAPES
from toolkit_hub.policy.statements import MAX_LENGTH, Statement, parse_question, parse_statement
from toolkit_hub.policy.world import Atom


@given(worlds.statements())
def test_what_is_printed_is_read_as_the_same(statement: Statement) -> None:
    assert parse_statement(str(statement)) == statement


@given(st.text(max_size=40) | st.text("abjo:*@+.get", max_size=20))
def test_any_text_is_a_statement_or_refused_with_words(text: str) -> None:
    try:
        statement = parse_statement(text)
    except InvalidRequest as refusal:
        words = refusal.message, refusal.hint
    else:
        words = (str(statement), "allowed")
        assert parse_statement(str(statement)) == statement
    assert all(words)


def test_atoms_are_each_action_with_each_pattern() -> None:
    statement = parse_statement("job:get+data:*@acme:account:A+acme:account:A:*")
    assert [str(atom) for atom in statement.atoms] == [
        "job:get@acme:account:A",
        "job:get@acme:account:A:*",
        "data:*@acme:account:A",
        "data:*@acme:account:A:*",
    ]


def test_repeated_parts_are_folded() -> None:
    assert str(parse_statement("job:get+job:set+job:get@acme+acme")) == "job:get+job:set@acme"


def test_names_pass_where_ids_go() -> None:
    text = "job:get+role:*@acme:account:acme.joe.x:*+acme:user:alice+acme:account:acme.joe:data:.ssh"
    assert str(parse_statement(text)) == text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "exactly one @", "ACTION[+ACTION…]@URN"),
        ("job:get", "exactly one @", "ACTION[+ACTION…]@URN"),
        ("job:get@acme@acme", "exactly one @", "ACTION[+ACTION…]@URN"),
        ("@acme", "“” is not an action", "TYPE:VERB"),
        ("job:get+@acme", "“” is not an action", "TYPE:VERB"),
        ("get@acme", "“get” is not an action", "TYPE:VERB"),
        ("job:get:now@acme", "is not an action", "TYPE:VERB"),
        ("*:*@acme", "written otherwise", "write *"),
        ("job:gte@acme", "no action “job:gte”", "did you mean get?"),
        ("*:fly@acme", "no action “*:fly”", "has"),
        ("jobs:get@acme", "unknown type", "did you mean job?"),
        ("user:exec@acme", "no action “user:exec”", "user has"),
        ("Job:get@acme", "capital letters", "write job:get"),
        ("job:g*@acme", "partial wildcard", "whole segments"),
        ("job:get@acme:account:a*", "partial wildcard", "whole segments"),
        ("job:get@acme:account:a?", "partial wildcard", "whole segments"),
        ("job:get@?", "partial wildcard", "whole segments"),
        ("job:get@acme:**", "partial wildcard", "whole segments"),
        ("job:get@", "an empty URN", "write *"),
        ("job:get@acme+", "an empty URN", "write *"),
        ("job:get@acme::job", "an empty segment", "write *"),
        ("job:get@:acme", "an empty segment", "write *"),
        ("job:get@acme:account:a:", "an empty segment", "write *"),
        ("job:get@acme:account:a/b", "no id and no name", "A-Z a-z"),
        ("job:get@acme:acount:x", "nothing can have a URN like", "did you mean account?"),
        ("job:get@acme:account", "nothing can have a URN like", "URNs are ORG"),
        ("job:get@acme:account:a:job:j:*", "nothing can have a URN like", "URNs are ORG"),
        ("job:get@acme:user:u:job:j", "nothing can have a URN like", "URNs are ORG"),
        ("job:get@acme ", "U+0020 (space)", "ASCII"),
        ("job:get@acme\n", "U+000A (a control character)", "ASCII"),
        ("job:get@acme\0", "U+0000 (a control character)", "ASCII"),
        ("j\u043eb:get@acme", "U+043E (cyrillic small letter o)", "merely looks like"),
        ("job:get@\u0430cme", "U+0430 (cyrillic small letter a)", "merely looks like"),
        ("job:get\uff20acme", "U+FF20 (fullwidth commercial at)", "merely looks like"),
        ("job:get@ac\u200bme", "U+200B (zero width space)", "merely looks like"),
        ("job:get@" + "a" * 100_000, "100008 characters", "write several policies"),
        ("job:get@" + "+".join(f"o:user:{n}" for n in range(257)), "257 rules", "write several policies"),
    ],
)
def test_what_is_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_statement(text)
    assert message in refusal.value.message
    assert hint in refusal.value.hint
    assert len(refusal.value.message) < 500


def test_the_limits_are_within() -> None:
    assert len(parse_statement("job:get@" + "+".join(f"o:user:{n}" for n in range(256))).atoms) == 256
    parse_statement("job:get@" + "a" * (MAX_LENGTH - len("job:get@")))


@given(worlds.questions)
def test_a_question_is_one_action_on_one_urn(question: tuple[str, str]) -> None:
    assert parse_question("@".join(question)) == Atom(*question)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("job:*@acme", "has a wildcard in “job:*”"),
        ("*@acme", "has a wildcard in “*”"),
        ("job:get@acme:account:*", "has a wildcard"),
        ("job:get@*", "has a wildcard"),
        ("job:get+job:set@acme", "more than one action or URN"),
        ("job:get@acme+acme:user:u", "more than one action or URN"),
        ("job:fly@acme", "no action"),
        ("job:get@acme:user", "nothing can have a URN like"),
    ],
)
def test_a_question_without_an_answer_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        parse_question(text)
    assert message in refusal.value.message
    assert refusal.value.hint


def test_every_type_has_a_form_and_every_action_a_type() -> None:
    assert set(SHAPES) == set(RESOURCE_TYPES)
    for action in ACTIONS.values():
        assert action.resource in RESOURCE_TYPES
        assert set(action.asked_of) <= set(RESOURCE_TYPES)
