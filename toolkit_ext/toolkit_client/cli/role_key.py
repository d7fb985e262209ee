"""``toolkit role key``: long-lived tokens that act as a role."""

from __future__ import annotations

import sys
from typing import Any

import click

from toolkit_client import access_calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_roles
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.role_owner import owner_option
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["key", "ls", "new", "rm"]

HERE = "toolkit_client.cli.role_key"
COLUMNS = ("id", "name", "role", "expires", "lastUsed", "created")


@click.group(
    cls=LazyGroup,
    commands_by_name={
        "ls": (f"{HERE}:ls", "List the keys of a role."),
        "new": (f"{HERE}:new", "Make a key and print it, this once."),
        "rm": (f"{HERE}:rm", "Revoke keys."),
    },
    epilog=examples("toolkit role key new acme.joe.reader --expires 90d > key", "toolkit role key ls acme.joe.reader"),
)
def key() -> None:
    """Make, list and revoke keys: long-lived tokens that act as a role, for programs.

    A program sends one as `Authorization: Bearer KEY`, or has it in TOOLKIT_TOKEN.
    """


@click.command(
    epilog=examples(
        "toolkit role key new acme.joe.reader > key",
        "TOOLKIT_TOKEN=$(toolkit role key new acme.joe.reader --name ci --expires 90d) toolkit data ls",
    )
)
@click.argument("role", shell_complete=complete_roles)
@owner_option
@click.option("--name", metavar="NAME", default="", help="What it is for; `role key ls` shows it.")
@values.expires_option(" Default: never.")
@click.pass_obj
def new(state: State, role: str, name: str, expires: dict[str, Any]) -> None:
    """Make a key for ROLE and print it, and nothing else, on stdout. It is not kept, and cannot be shown again.

    Needs role:key on the role, and every right that the role gives, or role:bind on the organization.
    """
    made = state.client().raw(
        access_calls.create_key(state.full_ref(role), {"name": name, **expires}, state.role_owner)
    )
    click.echo(made["token"])
    until = f", until {made['expires']}" if made.get("expires") else ""
    print(f"key {made['id']} of {escape(made['role'])}{until}; it is shown this once", file=sys.stderr)


@click.command(
    epilog=examples("toolkit role key ls acme.joe.reader", "toolkit role key ls acme.joe.reader --fields id,locked")
)
@click.argument("role", shell_complete=complete_roles)
@owner_option
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, role: str, output: Output) -> None:
    """List the keys of ROLE: when each was made and last used (to the minute), never the keys themselves.

    Needs role:key on the role.
    """
    output.show(state.client().raw(access_calls.list_keys(state.full_ref(role), state.role_owner))["items"])


@click.command(epilog=examples("toolkit role key rm acme.joe.reader 6bff8b31-70b8-4c23-8f0b-2b9c4bd4b3b9"))
@click.argument("role", shell_complete=complete_roles)
@owner_option
@click.argument("ids", metavar="KEY…", nargs=-1, required=True)
@output_options(COLUMNS)
@click.pass_obj
def rm(state: State, role: str, ids: tuple[str, ...], output: Output) -> int:
    """Revoke keys of ROLE, by the ids that `role key ls` shows, and print those that are left.

    A revoked key is refused from the next request on.

    Needs role:key on the role.
    """
    client, wanted = state.client(), state.full_ref(role)
    revoked, code = for_each(
        dict.fromkeys(ids), lambda one: client.raw(access_calls.revoke_key(wanted, one, state.role_owner))
    )
    if revoked:
        output.show(client.raw(access_calls.list_keys(wanted, state.role_owner))["items"])
    return code
