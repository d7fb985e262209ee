"""``toolkit data commit``, ``log`` and ``size``: what data held, and what it takes."""

from __future__ import annotations

import sys
from typing import Any

import click

from toolkit_client import data_calls
from toolkit_client.cli.complete import complete_data
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["VERSION_COLUMNS", "commit", "commit_and_tell", "log", "size"]

VERSION_COLUMNS = ("version", "created", "author", "message", "files", "bytes")
SIZE_COLUMNS = ("bytes", "disk", "files", "asOf")
#: Warnings of a commit that are printed; the others are counted.
WARNINGS_TOLD = 10


@click.command(
    epilog=examples(
        "toolkit data commit images -m 'before the clean-up'",
        "toolkit job submit --data images@$(toolkit data commit images --field version):/data -- ls /data",
    )
)
@click.argument("name", shell_complete=complete_data)
@click.option("-m", "--message", metavar="TEXT", default="", help="What is to be remembered of it.")
@click.option("--allow-empty", is_flag=True, help="Make a version even if nothing has changed since the last one.")
@output_options(VERSION_COLUMNS)
@click.pass_obj
def commit(state: State, name: str, message: str, allow_empty: bool, output: Output) -> None:
    """Keep what the data NAME holds now as its next version: NAME@1, NAME@2 and so on.

    When nothing has changed since the last version none is made, and the last one is shown; the exit code is 0 all the same.
    Files that are written while they are committed are kept as they were at some moment of it, and named in a warning.

    Needs data:set.
    """
    version = commit_and_tell(state, name, message, allow_empty=allow_empty)
    output.show([] if version is None else [version])


def commit_and_tell(state: State, name: str, message: str, *, allow_empty: bool = False) -> dict[str, Any] | None:
    """Commits and waits for it; says on stderr what there is to say. Gives the version, None if there is none."""
    client = state.client()
    wanted = data_calls.commit_data(state.full_ref(name), {"message": message, "allowEmpty": allow_empty})
    told = False
    while (made := client.raw(wanted))["state"] == "running":
        if sys.stderr.isatty():
            told = True
            click.echo(f"\rcommitting: {made['files']} files, {made['bytes'] / 2**30:.1f} GiB", err=True, nl=False)
    if told:
        click.echo(err=True)
    for warning in made["warnings"][:WARNINGS_TOLD]:
        click.echo(f"warning: {escape(warning)}", err=True)
    if made["warningCount"] > WARNINGS_TOLD:
        click.echo(f"warning: and {made['warningCount'] - WARNINGS_TOLD} more like these", err=True)
    version: dict[str, Any] | None = made["version"]
    if made["state"] == "unchanged":
        since = "the data is empty" if version is None else f"nothing has changed since version {version['version']}"
        click.echo(f"nothing to commit: {since}", err=True)
    return version


@click.command(epilog=examples("toolkit data log images", "toolkit data log acme.cocos.images -n 1 --field message"))
@click.argument("name", shell_complete=complete_data)
@click.option("-n", "--limit", metavar="N", type=click.IntRange(min=1), help="At most so many. Default: all.")
@output_options(VERSION_COLUMNS)
@click.pass_obj
def log(state: State, name: str, limit: int | None, output: Output) -> None:
    """List the versions of the data NAME, the newest first.

    Needs data:get.
    """
    client, ref = state.client(), state.full_ref(name)
    found: list[Any] = []
    cursor: str | None = None
    while limit is None or len(found) < limit:
        left = None if limit is None else min(limit - len(found), 1000)
        page = client.raw(data_calls.list_versions(ref, limit=left, cursor=cursor))
        found += page["items"]
        cursor = page.get("next")
        if cursor is None:
            break
    output.show(found[:limit])


@click.command(epilog=examples("toolkit data size images", "toolkit data size --measure images --field disk"))
@click.argument("name", shell_complete=complete_data)
@click.option("--measure", is_flag=True, help="Look now instead of telling what the last look found.")
@output_options(SIZE_COLUMNS)
@click.pass_obj
def size(state: State, name: str, measure: bool, output: Output) -> None:
    """Show how much the data NAME takes: bytes and number of its files, and the bytes on the disk with all versions.

    It is measured from time to time, and now if it never was: `asOf` tells when that was. What was pushed or committed since
    is in `disk` already.

    Needs data:get.
    """
    client, ref = state.client(), state.full_ref(name)
    known = client.raw(data_calls.get_size(ref))
    seen = known["asOf"]
    while (measure or seen is None) and known["asOf"] == seen:
        known = client.raw(data_calls.get_size(ref, measure=True))
    output.show([known])
