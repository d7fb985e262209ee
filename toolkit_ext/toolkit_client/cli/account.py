"""``toolkit account``."""

from __future__ import annotations

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_accounts
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.owner_roles import roles_of
from toolkit_client.cli.state import State

__all__ = ["account"]

COLUMNS = ("id", "name", "organization", "parent")
ACCOUNT = Noun("account", COLUMNS, complete_accounts, own=State.own_account)


@click.command(epilog=examples("toolkit account new acme.awesome_project", "toolkit account new acme.joe.submarine"))
@click.argument("name")
@output_options(COLUMNS)
@click.pass_obj
def new(state: State, name: str, output: Output) -> None:
    """Create the account NAME: its full name, as acme.joe.submarine. What stands before the last dot has to be there.

    It comes with two roles: who is a member of `admin` may do everything in it, of `user` may work in it. The
    administrators of the account above are its administrators, too.

    Needs account:new on the account above; for one directly below the organization, on the organization.
    """
    output.show([state.client().raw(access_calls.create_account({"name": name}))])


@click.command(epilog=examples("toolkit account ls acme.awesome_project", "toolkit account ls --fields id,fullName"))
@click.argument("parent", metavar="ACCOUNT", required=False, shell_complete=complete_accounts)
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, parent: str | None, output: Output) -> None:
    """List the child accounts of ACCOUNT; without it all accounts that you may see.

    Needs account:get on what is listed.
    """
    output.show(state.client().raw(access_calls.list_accounts(parent))["items"])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "archive": (
        ACCOUNT.each(
            "archive",
            access_calls.archive_account,
            "Archive accounts: they are hidden, their names are free again, and their roles, keys and rights end. It is "
            "refused while an account has living jobs or child accounts, or is a user's home or a team's account.\n\n"
            "Needs account:archive.",
            "toolkit account archive acme.joe.submarine",
        ),
        "Archive accounts.",
    ),
    "get": (
        ACCOUNT.get(
            access_calls.get_account,
            "Show accounts, one a line; without ACCOUNT your home account, or the one that `toolkit --account` gives."
            "\n\nNeeds account:get.",
            "toolkit account get acme.joe.submarine",
            "toolkit account get --field urn",
        ),
        "Show accounts.",
    ),
    "ls": (ls, "List accounts."),
    "new": (new, "Create an account."),
    "role": (roles_of("account", State.own_account), "List the roles of an account, and who has them."),
    "set": (
        ACCOUNT.rename(
            access_calls.change_account,
            "Rename an account. The full names of all that is in it follow; ids, URNs and rights stay.\n\nNeeds account:set.",
            "toolkit account set acme.joe.submarine --name boat",
            'toolkit account set "$(toolkit team get acme.cocos --field account)" --name cocos',
        ),
        "Rename an account.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit account new acme.joe.submarine",
        "toolkit account role member add acme.joe.submarine.user --user acme.alice",
        "toolkit account ls acme.joe",
    ),
)
def account() -> None:
    """Create, list, rename and archive accounts, and say who may use them.

    Accounts own jobs, data, roles and child accounts. One is named by its ID or its full name (acme.joe.submarine).
    """
