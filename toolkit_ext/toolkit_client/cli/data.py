"""``toolkit data``: named volumes of accounts."""

from __future__ import annotations

import shlex
import sys

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


@click.command(
    epilog=examples(
        "toolkit data new images",
        "toolkit data new acme.cocos.images --field urn",
        "toolkit data new images ./photos",
        "toolkit data new acme.joe. --field id",
    )
)
@click.argument("name")
@click.argument("local", required=False, type=click.Path())
@click.option("--account", metavar="A", shell_complete=complete_accounts, help="Account that owns it, for a bare NAME.")
@output_options(COLUMNS)
@click.pass_obj
def new(state: State, name: str, local: str | None, account: str | None, output: Output) -> int:
    """Create data with the full name NAME (acme.cocos.images), or with a bare one in your home account.

    An account with a dot behind it (acme.joe.) makes data without a name of its own: it is called `data-` and the first eight
    characters of its id, and `data set --name` gives it another one. With the file or folder LOCAL, that is sent to the new data,
    as `data push` does.

    Needs data:new on the account.
    """
    if local is not None:
        from toolkit_client.cli.data_places import push_place

        push_place(local)  # what cannot be sent is said before anything is made
    body = {"name": name}
    bare = "." not in name.removeprefix(".")
    if bare and (account or state.account):
        body["account"] = str(account or state.account)
    elif account:
        raise click.UsageError("--account goes with a bare name; this one says its account itself")
    made = state.client().raw(access_calls.create_data(body))
    output.show([made])
    if local is None:
        return 0
    from toolkit_client.cli.data_transfer import Wishes, push_all

    # `output.show` may have written to a pipe whose reader waits for it.
    sys.stdout.flush()
    goes_on = f"the data is there: `toolkit data push {made['fullName']} {shlex.quote(local)}` goes on"
    return push_all(state, made["id"], (local,), Wishes(interrupted=goes_on))


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
    "content": ("toolkit_client.cli.data_content:content", "List, read and change what data holds."),
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
    "pull": ("toolkit_client.cli.data_transfer:pull", "Fetch files and folders of data."),
    "push": ("toolkit_client.cli.data_transfer:push", "Send files and folders to data."),
    "set": (
        DATA.rename(
            access_calls.change_data,
            "Rename data. Its id, URN and rights stay.\n\nNeeds data:set.",
            "toolkit data set acme.joe.images --name pictures",
        ),
        "Rename data.",
    ),
    "share": ("toolkit_client.cli.data_share:share", "Let others read data, or write to it."),
    "size": ("toolkit_client.cli.data_versions:size", "Show how much data takes."),
    "unshare": ("toolkit_client.cli.data_share:unshare", "End what `share` gave."),
    "upload": ("toolkit_client.cli.data_transfer:upload", "Send files and folders to data, as push does."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit data new acme.joe.images",
        "toolkit data push images ./photos",
        "toolkit data content ls images",
        "toolkit data pull images ./june .",
        "toolkit data share images --user acme.bob --ro --expires 30d",
    ),
)
def data() -> None:
    """Create, list, rename and archive data; send its content and fetch it; keep versions; share it.

    Data is named by its ID, its full name (acme.joe.images; acme.joe..ssh is the data `.ssh`), or its bare name in your home
    account or in the one that `toolkit --account` gives.
    """
