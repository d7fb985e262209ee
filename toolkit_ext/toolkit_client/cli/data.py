"""``toolkit data``: named volumes of accounts."""

from __future__ import annotations

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_accounts, complete_data
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["data"]

COLUMNS = ("id", "name", "account", "creator", "created")
DATA = Noun("data", COLUMNS, complete_data, in_account=True)


@click.command(epilog=examples("toolkit data new images", "toolkit data new acme.cocos.images --field urn"))
@click.argument("name")
@click.option("--account", metavar="A", shell_complete=complete_accounts, help="Account that owns it, for a bare NAME.")
@output_options(COLUMNS)
@click.pass_obj
def new(state: State, name: str, account: str | None, output: Output) -> None:
    """Create data with the full name NAME (acme.cocos.images), or with a bare one in your home account.

    Needs data:new on the account.
    """
    body = {"name": name}
    bare = "." not in name.removeprefix(".")
    if bare and (account or state.account):
        body["account"] = str(account or state.account)
    elif account:
        raise click.UsageError("--account goes with a bare name; this one says its account itself")
    output.show([state.client().raw(access_calls.create_data(body))])


@click.command(epilog=examples("toolkit data ls", "toolkit data ls acme.cocos --fields fullName,created"))
@click.argument("account", required=False, shell_complete=complete_accounts)
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, account: str | None, output: Output) -> None:
    """List the data of ACCOUNT; without it, or `toolkit --account`, all data that you may see.

    Needs data:get on what is listed.
    """
    wanted = state.account if account is None else account
    output.show(state.client().raw(access_calls.list_data(wanted))["items"])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "archive": (
        DATA.each(
            "archive",
            access_calls.archive_data,
            "Archive data: it is hidden, and its name is free again.\n\nNeeds data:archive.",
            "toolkit data archive acme.joe.images",
        ),
        "Archive data.",
    ),
    "commit": ("toolkit_client.cli.data_versions:commit", "Keep what data holds now as a version."),
    "get": (
        DATA.get(
            access_calls.get_data,
            "Show data, one a line.\n\nNeeds data:get.",
            "toolkit data get images",
            "toolkit data get --field urn acme.joe.images",
        ),
        "Show data.",
    ),
    "log": ("toolkit_client.cli.data_versions:log", "List the versions of data."),
    "ls": (ls, "List data."),
    "new": (new, "Create data."),
    "set": (
        DATA.rename(
            access_calls.change_data,
            "Rename data. Its id, URN and rights stay.\n\nNeeds data:set.",
            "toolkit data set acme.joe.images --name pictures",
        ),
        "Rename data.",
    ),
    "size": ("toolkit_client.cli.data_versions:size", "Show how much data takes."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples("toolkit data new acme.joe.images", "toolkit data ls", "toolkit data get images --field urn"),
)
def data() -> None:
    """Create, list, show, rename and archive data.

    Data is named by its ID, its full name (acme.joe.images; acme.joe..ssh is the data `.ssh`), or its bare name in your home
    account or in the one that `toolkit --account` gives.
    """
