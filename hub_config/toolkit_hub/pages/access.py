"""The page of access: where I belong and what I hold; of any thing, who may do what; of any question, the answer and why.

All of it is rendered here and asked by plain links and one form, so it works by keyboard, without scripts, and an answer can be
sent on as a link.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from toolkit_client.access_models import Proof, ProofStep
from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_hub.domain import overview
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.things import Thing, find_things
from toolkit_hub.pages.handlers import PageHandler
from toolkit_hub.policy.actions import ACTIONS, RESOURCE_TYPES

__all__ = ["AccessPage", "Branch", "as_tree"]

#: Names that a table's cell shows before it counts.
SHOWN = 4


@dataclass
class Branch:
    """A subject or group on the way to statements: what it holds itself, and the groups that it is in."""

    step: ProofStep
    statements: list[Proof] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)


def as_tree(proofs: Sequence[Proof]) -> list[Branch]:
    """The ways as a tree: what they have in common is said once."""
    roots: list[Branch] = []
    for proof in proofs:
        level, branch = roots, None
        for step in proof.path:
            branch = next((known for known in level if known.step.id == step.id), None)
            if branch is None:
                branch = Branch(step)
                level.append(branch)
            level = branch.branches
        # A policy counts once, however many of its rules come into question.
        if branch is not None and proof.policy_id not in {known.policy_id for known in branch.statements}:
            branch.statements.append(proof)
    return roots


class AccessPage(PageHandler):
    """`?thing=` an id, full name or URN; `&action=`, if a question is asked; `&user=`, if about somebody else."""

    action = "user:get"

    async def get(self) -> None:
        asked = {name: self.get_query_argument(name, "").strip() for name in ("thing", "action", "user")}
        known = await self.context.store.read(overview.known_names, self.actor)
        try:
            values = await self.context.store.read(read_page, self.actor, **asked)
        except ToolkitError as error:
            # What was typed stays in the form, and the reason stands beside it.
            self.remember_refusal(error)
            self.set_status(error.status)
            values = {"problem": error}
        fixed = {"types": RESOURCE_TYPES, "actions": ACTIONS, "shown": SHOWN, "tree": as_tree}
        self.show("access.html", asked=asked, known=known, **fixed, **values)


def read_page(session: Session, actor: Actor, thing: str, action: str, user: str) -> dict[str, Any]:
    """What the page shows, read at one moment."""
    if not thing:
        if action or user:
            raise InvalidRequest("the question names no resource", "type an id, a full name or a URN first")
        return {"mine": overview.overview(session, actor)}
    found = find_things(session, actor, thing)
    found = _fitting(found, action) if action else found
    if len(found) > 1:
        return {"meanings": found}
    answer = overview.answer(session, actor, found[0], action, user or None) if action else None
    return {"view": overview.thing_view(session, actor, found[0]), "answer": answer}


def _fitting(found: list[Thing], action: str) -> list[Thing]:
    """Those things of which the action can be asked. Raises `InvalidRequest` when it can be of none."""
    declared = ACTIONS.get(action)
    if declared is None:
        raise InvalidRequest(f"there is no action {action[:40]!r}", "choose one of the list")
    fitting = [thing for thing in found if thing.type in declared.asked_of]
    if not fitting:
        types = " or ".join(declared.asked_of)
        raise InvalidRequest(
            f"{action} is asked of {types}, and {found[0].name} is of the type {found[0].type}",
            "choose an action that fits, or another resource",
        )
    return fitting
