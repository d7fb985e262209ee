"""``toolkit role``."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_accounts, complete_roles
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.members import members_of
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.owner_roles import ROLE_COLUMNS
from toolkit_client.cli.policies import policies_of
from toolkit_client.cli.role_owner import owner_option
from toolkit_client.cli.state import State

__all__ = ["role"]

ROLE = Noun("role", ROLE_COLUMNS, complete_roles, in_account=True, has_owner=True)


@click.command(
    epilog=examples(
        "toolkit role new acme.joe.reader",
        "toolkit role new acme.joe.reader --policy 'data:get@acme:account:acme.joe:data:*'",
    )
)
@click.argument("name")
@click.option(
    "--policy",
    "policies",
    metavar="STATEMENT",
    multiple=True,
    help="Attach this policy at once; repeatable, all or none.",
)
@owner_option
@output_options(ROLE_COLUMNS)
@click.pass_obj
def new(
    state: State,
    name: str,
    policies: tuple[str, ...],
    output: Output,
) -> None:
    """Create the role NAME: its full name, as acme.joe.reader, of the account acme.joe.

    A role holds nothing until `toolkit role policy new`, and nobody has it until `toolkit role member add`.

    Needs role:new on the account, team or organization; for --policy also what `toolkit role policy new` needs.
    """
    body: dict[str, Any] = {"name": state.full_ref(name), "policies": list(policies), "ownerType": state.role_owner}
    body = {key: value for key, value in body.items() if value}
    output.show([state.client().raw(access_calls.create_role(body))])


@click.command(epilog=examples("toolkit role ls", "toolkit role ls acme.joe.submarine --fields fullName,predefined"))
@click.argument("account", required=False, shell_complete=complete_accounts)
@output_options(ROLE_COLUMNS)
@click.pass_obj
def ls(state: State, account: str | None, output: Output) -> None:
    """List the roles of ACCOUNT; without it all roles that you may see, of whatever they belong to.

    Needs role:get on a role, or the `get` of what it belongs to.
    """
    wanted = state.account if account is None else account
    output.show(state.client().raw(access_calls.list_roles(account=wanted))["items"])


HERE = "toolkit_client.cli"
COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "archive": (
        ROLE.each(
            "archive",
            access_calls.archive_role,
            "Archive roles: their members lose what they gave, and their keys are revoked. `admin` and `user` stay.\n\n"
            "Needs role:archive.",
            "toolkit role archive acme.joe.reader",
        ),
        "Archive roles.",
    ),
    "get": (
        ROLE.get(
            access_calls.get_role,
            "Show roles, one a line.\n\nNeeds role:get on the role, or the `get` of what it belongs to.",
            "toolkit role get acme.joe.reader",
            "toolkit role get acme.joe.reader --field urn",
        ),
        "Show roles.",
    ),
    "key": (f"{HERE}.role_key:key", "Make, list and revoke keys that act as a role."),
    "ls": (ls, "List roles."),
    "member": (members_of("role", "role", "acme.joe.reader"), "List and change who has a role."),
    "new": (new, "Create a role."),
    "policy": (policies_of("role", "acme.joe.reader"), "List and change the policies of a role."),
    "set": (
        ROLE.rename(
            access_calls.change_role,
            "Rename a role. Its id, URN, members, policies and keys stay. `admin` and `user` keep their names.\n\n"
            "Needs role:set.",
            "toolkit role set acme.joe.reader --name viewer",
        ),
        "Rename a role.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit role new acme.joe.reader",
        "toolkit role policy new acme.joe.reader 'data:get@acme:account:acme.joe:data:*'",
        "toolkit role member add acme.joe.reader --user acme.alice",
        "toolkit role key new acme.joe.reader > key",
    ),
)
def role() -> None:
    """Create, list, rename and archive roles; say what they may do, and who has them.

    A role is named by its ID or its full name: that of the account, team or organization, then its own
    (acme.joe.submarine.user). A bare name means one of the organization, or of the account that `toolkit --account` gives.
    """
