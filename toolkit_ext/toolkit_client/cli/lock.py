"""``toolkit lock`` and ``toolkit unlock``: the emergency brake."""

from __future__ import annotations

from typing import Any, Literal

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_jobs, complete_roles, complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["lock", "unlock"]

LockType = Literal["user", "role", "key", "job"]
COLUMNS = ("type", "name", "why", "created", "createdBy")
#: What each brake stops, and what it takes.
STOPS = {
    "user": ("all that the user may do; open sessions are cut", "user:lock"),
    "role": ("what the role gives, and its keys", "role:lock"),
    "key": ("the key, not the role", "role:lock on its role"),
    "job": ("every access to the job, also its own token's; it runs on", "job:lock"),
}
COMPLETERS = {"user": complete_users, "role": complete_roles, "key": None, "job": complete_jobs}
EXAMPLES = {
    "user": "acme.joe",
    "role": "acme.joe.reader",
    "key": "6bff8b31-70b8-4c23-8f0b-2b9c4bd4b3b9",
    "job": "acme.joe.train",
}


def _ref(state: State, kind: LockType, given: str) -> str:
    return state.full_ref(given) if kind in ("role", "job") else given


def _lock(kind: LockType) -> click.Command:
    stops, needs = STOPS[kind]

    @click.command(
        kind,
        help=f"Lock a {kind}. It stops {stops}.\n\nNeeds {needs}, or organization:lock.",
        epilog=examples(f"toolkit lock {kind} {EXAMPLES[kind]} --why 'its laptop was stolen'"),
    )
    @click.argument("ref", metavar=kind.upper(), shell_complete=COMPLETERS[kind])
    @click.option("--why", metavar="TEXT", default="", help="The reason, for whoever meets the lock.")
    @output_options(COLUMNS)
    @click.pass_obj
    def command(state: State, ref: str, why: str, output: Output) -> None:
        body: dict[str, Any] = {"type": kind, "ref": _ref(state, kind, ref), "why": why}
        output.show([state.client().raw(access_calls.lock(body))])

    return command


def _unlock(kind: LockType) -> click.Command:
    _, needs = STOPS[kind]

    @click.command(
        kind,
        help=f"Unlock a {kind}; its rights are as before.\n\nNeeds {needs}; what somebody with organization:lock has locked "
        "takes that.",
        epilog=examples(f"toolkit unlock {kind} {EXAMPLES[kind]}"),
    )
    @click.argument("ref", metavar=kind.upper(), shell_complete=COMPLETERS[kind])
    @output_options(COLUMNS)
    @click.pass_obj
    def command(state: State, ref: str, output: Output) -> None:
        output.show([state.client().raw(access_calls.unlock(kind, _ref(state, kind, ref)))])

    return command


@click.command(epilog=examples("toolkit lock ls", "toolkit lock ls --fields urn,why"))
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, output: Output) -> None:
    """List what is locked, as far as you may see it.

    Needs the `get` of what is locked; for a key, of its role.
    """
    output.show(state.client().raw(access_calls.list_locks())["items"])


KINDS: tuple[LockType, ...] = ("user", "role", "key", "job")
LOCK_COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    **{kind: (_lock(kind), f"Lock a {kind}.") for kind in KINDS},
    "ls": (ls, "List what is locked."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=LOCK_COMMANDS,
    epilog=examples("toolkit lock user acme.joe --why 'its laptop was stolen'", "toolkit lock ls"),
)
def lock() -> None:
    """Stop a user, role, key or job at once: while it is locked, every decision about it is no."""


@click.group(
    cls=LazyGroup,
    commands_by_name={kind: (_unlock(kind), f"Unlock a {kind}.") for kind in KINDS},
    epilog=examples("toolkit unlock user acme.joe"),
)
def unlock() -> None:
    """Take a lock away."""
