"""``toolkit user``."""

from __future__ import annotations

import click

from toolkit_client import access_calls, calls
from toolkit_client.cli.complete import complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.policies import policies_of
from toolkit_client.cli.state import State, read_secret

__all__ = ["user"]

COLUMNS = ("id", "name", "account", "admin", "created")
USER = Noun("user", COLUMNS, complete_users, own=lambda state: str(state.me()["id"]))


@click.command(epilog=examples("toolkit user ls", "toolkit user ls --fields id,name --no-header"))
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, output: Output) -> None:
    """List the users that you may see.

    Needs user:get on what is listed.
    """
    output.show(state.client().raw(calls.list_users())["items"])


@click.command(
    epilog=examples("toolkit user new joe --password-stdin < password.txt", "toolkit user new alice --admin")
)
@click.argument("name")
@click.option("--admin", is_flag=True, help="An administrator of the organization.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@output_options(COLUMNS)
@click.pass_obj
def new(state: State, name: str, admin: bool, password_stdin: bool, output: Output) -> None:
    """Create a user NAME, with a home account.

    The password is asked for on the terminal, or read from stdin; it never stands in the command line, where the
    machine's other users could read it.

    Needs user:new on the organization; for --admin also what adding a member to the organization's `admin` role needs.
    """
    client = state.client()
    password = read_secret("password", from_stdin=password_stdin)
    output.show([client.raw(calls.create_user({"name": name, "password": password, "admin": admin}))])


@click.command(epilog=examples("toolkit user offboard acme.joe --to acme.alice"))
@click.argument("ref", metavar="USER", shell_complete=complete_users)
@click.option(
    "--to",
    metavar="USER",
    required=True,
    shell_complete=complete_users,
    help="Who gets the home account and all in it.",
)
@output_options(COLUMNS)
@click.pass_obj
def offboard(state: State, ref: str, to: str, output: Output) -> None:
    """Archive a user who leaves, and make another one administrator of the home account with its jobs and data.

    Jobs that run go on.

    Needs user:archive on the user.
    """
    output.show([state.client().raw(access_calls.offboard_user(ref, {"to": to}))])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "archive": (
        USER.each(
            "archive",
            access_calls.archive_user,
            "Archive users, for good: they cannot sign in, have no rights any more, and their names are free again. What they "
            "did stays known, and their accounts stay. `user disable` can be undone.\n\nNeeds user:archive.",
            "toolkit user archive acme.joe",
        ),
        "Archive users.",
    ),
    "disable": (
        USER.each(
            "disable",
            access_calls.disable_user,
            "Disable users: they cannot sign in, and their tokens and open sessions end. `user enable` undoes it.\n\n"
            "Needs user:archive.",
            "toolkit user disable acme.joe",
        ),
        "Keep users from signing in.",
    ),
    "enable": (
        USER.each(
            "enable",
            access_calls.enable_user,
            "Let disabled users sign in again, with the rights that they had.\n\nNeeds user:archive.",
            "toolkit user enable acme.joe",
        ),
        "Let disabled users sign in again.",
    ),
    "get": (
        USER.get(
            access_calls.get_user,
            "Show users, one a line; without USER yourself.\n\nNeeds user:get.",
            "toolkit user get --field urn",
            "toolkit user get acme.alice --fields id,fullName,account",
        ),
        "Show users.",
    ),
    "ls": (ls, "List users."),
    "new": (new, "Create a user."),
    "offboard": (offboard, "Archive a user and hand over the home account."),
    "policy": (policies_of("user", "acme.joe"), "List and change the policies of a user."),
    "set": (
        USER.rename(
            access_calls.change_user,
            "Rename a user; without USER yourself. The new name is for signing in, too. Ids, URNs and rights stay; it is "
            "refused while the user has living jobs.\n\nNeeds user:set.",
            "toolkit user set --name joe",
            "toolkit user set acme.joe --name joseph",
        ),
        "Rename a user.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit user get --field urn", "toolkit user new joe --password-stdin < password.txt", "toolkit user ls"
    ),
)
def user() -> None:
    """List, show, create and change users.

    A user is named by ID or by name, with the organization before it (acme.alice) or without.
    """
