"""``organization role``, ``team role`` and ``account role``: the roles of one owner, and their members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_accounts, complete_teams
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.members import members_of
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["ROLE_COLUMNS", "roles_of"]

ROLE_COLUMNS = ("id", "name", "organization", "parent")
OwnerType = Literal["organization", "team", "account"]
COMPLETERS = {"team": complete_teams, "account": complete_accounts}
WITHOUT_OWNER = {
    "organization": "Without ORGANIZATION: of your own.",
    "team": "Without TEAM: of all teams that you may see.",
    "account": "Without ACCOUNT: of your home account, or of the one that `toolkit --account` gives.",
}
EXAMPLES = {
    "organization": ("acme", "acme.user"),
    "team": ("acme.cocos", "acme.cocos.user"),
    "account": ("acme.joe.submarine", "acme.joe.submarine.user"),
}


def roles_of(owner_type: OwnerType, own: Callable[[State], str] | None) -> LazyGroup:
    """The group ``role`` below a noun; `own` finds the owner that is meant when none is given, None means all."""
    owner, role = EXAMPLES[owner_type]
    return LazyGroup(
        "role",
        commands_by_name={
            "ls": (_ls(owner_type, own), f"List the roles of {_a(owner_type)}."),
            "member": (members_of("role", f"{owner_type} role", role, owner_type), "List and change who has a role."),
        },
        help=f"List the roles of {_a(owner_type)}, and who has them. `toolkit role` makes and changes roles.",
        epilog=examples(f"toolkit {owner_type} role ls {owner}", f"toolkit {owner_type} role member ls {role}"),
    )


def _ls(owner_type: OwnerType, own: Callable[[State], str] | None) -> click.Command:
    owner, _ = EXAMPLES[owner_type]

    @click.command(
        "ls",
        help=f"List the roles of {_a(owner_type)}. {WITHOUT_OWNER[owner_type]}\n\nNeeds {owner_type}:get, or role:get on a role.",
        epilog=examples(f"toolkit {owner_type} role ls {owner}", f"toolkit {owner_type} role ls --fields id,name"),
    )
    @click.argument("ref", metavar=owner_type.upper(), required=False, shell_complete=COMPLETERS.get(owner_type))
    @output_options(ROLE_COLUMNS)
    @click.pass_obj
    def ls(state: State, ref: str | None, output: Output) -> None:
        client = state.client()
        if ref is None and own is not None:
            ref = own(state)
        found = client.raw(access_calls.list_roles(owner_type, ref))["items"]
        output.show(role for role in found if role["parentType"] == owner_type)

    return ls


def _a(owner_type: OwnerType) -> str:
    return f"{'a' if owner_type == 'team' else 'an'} {owner_type}"
