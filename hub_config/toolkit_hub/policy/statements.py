"""The language of policies: ``action[+action…]@urn[+urn…]``, and questions, which are one action on one URN.

What is refused, is refused when it is written, with the reason; so whatever is stored can be matched segment by segment.
Names in place of ids pass here: whoever stores a statement puts the ids first.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from toolkit_client.errors import InvalidRequest

from .actions import ACTIONS, RESOURCE_TYPES
from .matching import SHAPES, action_matches
from .world import Atom

__all__ = ["MAX_ATOMS", "MAX_LENGTH", "Statement", "parse_question", "parse_statement"]

MAX_LENGTH = 8192
MAX_ATOMS = 256

_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_VERBS = sorted({action.verb for action in ACTIONS.values()})
_FORM = "a statement is ACTION[+ACTION…]@URN[+URN…], as job:get+job:set@acme:account:acme.joe:*"


@dataclass(frozen=True)
class Statement:
    """What a policy says: each of the actions, on each of the URN patterns."""

    actions: tuple[str, ...]
    patterns: tuple[str, ...]

    @property
    def atoms(self) -> tuple[Atom, ...]:
        """For each action, each pattern."""
        return tuple(Atom(action, pattern) for action in self.actions for pattern in self.patterns)

    def __str__(self) -> str:
        return f"{'+'.join(self.actions)}@{'+'.join(self.patterns)}"


def parse_statement(text: str) -> Statement:
    """The statement that `text` is, repeated parts folded into one. Raises `InvalidRequest` with the reason."""
    actions, patterns = _halves(text)
    statement = Statement(tuple(dict.fromkeys(actions)), tuple(dict.fromkeys(patterns)))
    for action in statement.actions:
        _check_action(action)
    for pattern in statement.patterns:
        _check_pattern(pattern)
    atoms = len(statement.actions) * len(statement.patterns)
    if atoms > MAX_ATOMS:
        raise InvalidRequest(
            f"the statement combines {len(statement.actions)} actions with {len(statement.patterns)} URNs: {atoms} rules, "
            f"and at most {MAX_ATOMS} are allowed in one",
            "use a wildcard, or write several policies",
        )
    return statement


def parse_question(text: str) -> Atom:
    """The one action and the one URN, both without wildcards, that `text` asks about. Raises `InvalidRequest`."""
    actions, patterns = _halves(text)
    hint = "ask about one action on one URN, as job:get@acme:account:acme.joe:job:ID"
    if len(actions) > 1 or len(patterns) > 1:
        raise InvalidRequest(f"the question {_quoted(text)} names more than one action or URN", hint)
    action, urn = actions[0], patterns[0]
    _check_action(action)
    _check_pattern(urn)
    for part in (action, urn):
        if "*" in part.split(":"):
            raise InvalidRequest(f"the question has a wildcard in {_quoted(part)}", hint)
    return Atom(action, urn)


def _halves(text: str) -> tuple[list[str], list[str]]:
    if len(text) > MAX_LENGTH:
        raise InvalidRequest(
            f"the statement has {len(text)} characters, and at most {MAX_LENGTH} are allowed",
            "use a wildcard, or write several policies",
        )
    _check_characters(text)
    actions, at, patterns = text.partition("@")
    if not at or "@" in patterns:
        raise InvalidRequest(f"{_quoted(text)} does not have exactly one @ between actions and URNs", _FORM)
    return actions.split("+"), patterns.split("+")


def _check_characters(text: str) -> None:
    for character in text:
        if not character.isascii() or not character.isprintable() or character == " ":
            name = unicodedata.name(character, "a control character")
            raise InvalidRequest(
                f"the statement contains U+{ord(character):04X} ({name.lower()})",
                "use ASCII letters, digits and . _ - : + * @ only; a character that merely looks like one of them is another",
            )


def _check_action(action: str) -> None:
    if action == "*":
        return
    resource, colon, verb = action.partition(":")
    if action == "*:*":
        raise InvalidRequest("the action *:* is written otherwise", "write * for every action on everything")
    if not resource or not colon or not verb or ":" in verb:
        raise InvalidRequest(
            f"{_quoted(action)} is not an action", "an action is TYPE:VERB, TYPE:*, *:VERB or *, as job:get"
        )
    if action != action.lower():
        raise InvalidRequest(f"the action {_quoted(action)} has capital letters", f"write {action.lower()}")
    for part in (resource, verb):
        _refuse_partial_wildcard(part, action)
    if any(action_matches(action, known) for known in ACTIONS):
        return
    if resource != "*" and resource not in RESOURCE_TYPES:
        raise InvalidRequest(
            f"the action {_quoted(action)} is of an unknown type", _similar(resource, RESOURCE_TYPES, "the types are")
        )
    known = _VERBS if resource == "*" else [found.verb for found in ACTIONS.values() if found.resource == resource]
    raise InvalidRequest(f"there is no action {_quoted(action)}", _similar(verb, known, f"{resource} has"))


def _check_pattern(pattern: str) -> None:
    segments = pattern.split(":")
    if "" in segments:
        what = "an empty URN" if pattern == "" else f"an empty segment in {_quoted(pattern)}"
        raise InvalidRequest(f"the statement has {what}", "name it by its id or full name, or write * for any")
    for segment in segments:
        if segment == "*":
            continue
        _refuse_partial_wildcard(segment, pattern)
        if not _SEGMENT.fullmatch(segment):
            raise InvalidRequest(
                f"the segment {_quoted(segment)} of {_quoted(pattern)} has characters that no id and no name has",
                "a segment is of A-Z a-z 0-9 . _ - or is *",
            )
    if not any(_fits(segments, shape) for shapes in SHAPES.values() for shape in shapes):
        types = [segment for segment in segments[1::2] if segment != "*" and segment not in RESOURCE_TYPES]
        hint = _similar(types[0], RESOURCE_TYPES, "the types are") if types else _forms()
        raise InvalidRequest(f"nothing can have a URN like {_quoted(pattern)}", hint)


def _refuse_partial_wildcard(part: str, whole: str) -> None:
    if part != "*" and ("*" in part or "?" in part):
        raise InvalidRequest(
            f"{_quoted(part)} in {_quoted(whole)} is a partial wildcard",
            "a * stands for whole segments only, and ? for nothing: write the segment in full, or * alone",
        )


def _fits(segments: list[str], shape: tuple[str, ...]) -> bool:
    """Whether something of this shape can match."""
    if segments[-1] == "*":
        if len(segments) > len(shape):
            return False
    elif len(segments) != len(shape):
        return False
    return all(part == "*" or form[0] == "{" or part == form for part, form in zip(segments, shape, strict=False))


def _similar(word: str, known: Iterable[str], introduction: str) -> str:
    known = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"{introduction} {', '.join(known)}"


def _forms() -> str:
    shapes = (
        ":".join(part.strip("{}").upper() if part[0] == "{" else part for part in s) for t in SHAPES.values() for s in t
    )
    return f"URNs are {', '.join(shapes)}"


def _quoted(text: str) -> str:
    return f"“{text}”" if len(text) <= 120 else f"“{text[:117]}…”"
