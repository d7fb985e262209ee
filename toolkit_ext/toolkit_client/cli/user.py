"""``toolkit user``."""

from __future__ import annotations

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State, read_secret

__all__ = ["ls", "new", "user"]

HERE = "toolkit_client.cli.user"
COLUMNS = ("id", "name", "account", "admin", "created")


@click.group(
    cls=LazyGroup,
    commands_by_name={"ls": (f"{HERE}:ls", "List users."), "new": (f"{HERE}:new", "Create a user.")},
    epilog=examples("toolkit user ls", "toolkit user new joe --password-stdin < password.txt"),
)
def user() -> None:
    """List and create users."""


@click.command(epilog=examples("toolkit user ls", "toolkit user ls --fields id,name --no-header"))
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, output: Output) -> None:
    """List the users that you may see."""
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
    """Create a user NAME; only administrators may.

    The password is asked for on the terminal, or read from stdin; it never stands in the command line, where the
    machine's other users could read it.
    """
    client = state.client()
    password = read_secret("password", from_stdin=password_stdin)
    output.show([client.raw(calls.create_user({"name": name, "password": password, "admin": admin}))])
