"""``toolkit vfolder``: commands for data by the names that Backend.AI has for them."""

from __future__ import annotations

from copy import copy

import click

from toolkit_client import access_calls
from toolkit_client.cli import data as data_commands
from toolkit_client.cli import data_content, data_share, data_transfer
from toolkit_client.cli.complete import complete_data
from toolkit_client.cli.data_listing import CONTENT_COLUMNS
from toolkit_client.cli.data_ref import content_of
from toolkit_client.cli.data_transfer import Wishes, pull_all, transfer_options
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["vfolder"]


def _named(command: click.Command, name: str, *example_lines: str) -> click.Command:
    """The same command by another name."""
    other = copy(command)
    other.name, other.epilog = name, examples(*example_lines)
    return other


@click.command(
    epilog=examples("toolkit vfolder download images labels.csv", "toolkit vfolder download images 2024 -o /data")
)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_data)
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option("-o", "--to", metavar="DEST", type=click.Path(), default=".", help="The folder for them. Default: `.`.")
@transfer_options("fetched", "folder here")
@click.pass_obj
def download(state: State, name: str, files: tuple[str, ...], to: str, wishes: Wishes) -> int:
    """Fetch files and folders of the data NAME into the folder DEST, as `data pull` does for one.

    Needs data:get.
    """
    folder = to if to.endswith("/") else f"{to}/"
    return pull_all(state, content_of(state, name), [(file, folder) for file in files], wishes)


@click.command(
    epilog=examples("toolkit vfolder ls", "toolkit vfolder ls images", "toolkit vfolder ls images 2024/june")
)
@click.argument("name", metavar="[NAME[@VERSION]]", required=False, shell_complete=complete_data)
@click.argument("path", required=False)
@output_options(CONTENT_COLUMNS)
@click.pass_obj
def ls(state: State, name: str | None, path: str | None, output: Output) -> int:
    """List all data that you may see; with NAME, what that data holds, as `data content ls` does.

    Needs data:get.
    """
    if name is not None:
        return data_content.show_listing(state, name, path, False, output)
    found = state.client().raw(access_calls.list_data(state.account))["items"]
    output.with_columns(data_commands.COLUMNS).show(found)
    return 0


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "create": (
        _named(data_commands.new, "create", "toolkit vfolder create .ssh", "toolkit vfolder create images ./photos"),
        "Create data: `data new`.",
    ),
    "download": (download, "Fetch files and folders: `data pull`."),
    "ls": (ls, "List data, or what data holds: `data ls`, `data content ls`."),
    "mkdir": (
        _named(data_content.make_folders, "mkdir", "toolkit vfolder mkdir images 2024/june"),
        "Make folders: `data content mkdir`.",
    ),
    "mv": (
        _named(data_content.move, "mv", "toolkit vfolder mv images draft.csv labels.csv"),
        "Move or rename a file or folder: `data content mv`.",
    ),
    "rm": (
        _named(data_content.remove, "rm", "toolkit vfolder rm images AAA"),
        "Remove files and folders: `data content rm`.",
    ),
    "share": (
        _named(data_share.share, "share", "toolkit vfolder share images --user acme.bob --ro"),
        "Let others read data, or change it: `data share`.",
    ),
    "upload": (
        _named(data_transfer.upload, "upload", "toolkit vfolder upload .ssh authorized_keys"),
        "Send files and folders: `data push`.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples("toolkit vfolder create .ssh", "toolkit vfolder upload .ssh authorized_keys"),
)
def vfolder() -> None:
    """Other names of commands for data: what Backend.AI calls a vfolder is data here."""
