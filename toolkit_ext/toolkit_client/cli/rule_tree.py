"""An answer of ``rule why`` as a tree: from the subject, by the groups it is in, to the statements.

::

    allowed: acme.alice may do data:set on acme:account:acme.joe:data:images
    user acme.alice
    ├─ role acme.joe.user
    │  └─ data:get+data:set@acme:account:acme.joe:*
    └─ team acme.cocos
       └─ role acme.joe.reader, until 2027-01-31T00:00:00Z
          └─ data:*@acme:account:acme.joe:data:images
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from toolkit_client.cli.safe_text import escape

__all__ = ["tree_lines"]

#: What stands on each branch, by its text; statements have nothing below them.
Tree: TypeAlias = dict[str, "Tree"]


def tree_lines(answer: dict[str, Any]) -> list[str]:
    """The lines, all of one line of text each, whatever names and statements say."""
    verdict = "allowed: {} may do {} on {}" if answer["allowed"] else "denied: {} may not do {} on {}"
    lines = [escape(verdict.format(answer["subject"], answer["action"], answer["named"] or answer["urn"]))]
    if answer["allowed"]:
        return lines + list(_drawn(_merged(answer["proofs"])))
    if answer["reason"]:
        lines.append(escape(f"because: {answer['reason']}"))
    if answer["nearest"]:
        lines += ["nearest:", *(f"  {line}" for line in _drawn(_merged(answer["nearest"])))]
    if answer["smallest"]:
        lines.append(escape(f"it takes: {answer['smallest']}"))
    if answer["grantors"]:
        lines.append(escape(f"who could grant it: {', '.join(answer['grantors'])}"))
    return lines


def _merged(proofs: Iterable[dict[str, Any]]) -> Tree:
    """Ways that begin alike share their beginning."""
    tree: Tree = {}
    for proof in proofs:
        place = tree
        for step in proof["path"]:
            place = place.setdefault(escape(f"{step['type']} {step['name']}{_until(step)}"), {})
        place.setdefault(escape(f"{proof['named'] or proof['statement']}{_until(proof)}"), {})
    return tree


def _until(item: dict[str, Any]) -> str:
    return f", until {item['expires'][:19]}Z" if item.get("expires") else ""


def _drawn(tree: Tree) -> Iterator[str]:
    for text, below in tree.items():
        yield text
        yield from _branches(below, "")


def _branches(tree: Tree, indent: str) -> Iterator[str]:
    for number, (text, below) in enumerate(tree.items(), 1):
        last = number == len(tree)
        yield f"{indent}{'└─' if last else '├─'} {text}"
        yield from _branches(below, f"{indent}{'   ' if last else '│  '}")
