"""``toolkit quota``: what accounts take, and what they may take."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import data_calls
from toolkit_client.cli.complete import complete_accounts
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State
from toolkit_client.cli.values import gibibytes

__all__ = ["quota"]

COLUMNS = (
    "account",
    "dataUsed",
    "dataLimit",
    "filesUsed",
    "filesLimit",
    "room.gpus",
    "room.cpus",
    "room.mem",
    "room.running",
    "room.queued",
    "asOf",
)
#: What jobs may hold, and whether it is a whole number.
ROOM = {"gpus": True, "cpus": False, "mem": False, "running": True, "queued": True, "bid": True}


@click.command(epilog=examples("toolkit quota ls", "toolkit quota ls acme.joe --field dataUsed"))
@click.argument("account", required=False, shell_complete=complete_accounts)
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, account: str | None, output: Output) -> None:
    """List what the data of ACCOUNT, or of each account that you may see, takes and may take: bytes on the disk, and files.

    What is in child accounts counts for those. A limit that is missing is none. `asOf` tells when the use was measured; what
    was pushed or committed since is counted already.

    Needs account:get.
    """
    wanted = account or state.account
    client = state.client()
    found = (
        client.raw(data_calls.list_quotas())["items"] if wanted is None else [client.raw(data_calls.get_quota(wanted))]
    )
    output.show(found)


def data_limit(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, int | None]:
    """The key `dataLimit` of a request, if it was given."""
    if value is None:
        return {}
    if value == "none":
        return {"dataLimit": None}
    size = gibibytes(context, parameter, value)
    if size is None or size < 0:
        raise click.BadParameter(f"{value!r} is no size: write GiB as a plain number, a unit as in 500m or 2t, or none")
    return {"dataLimit": int(size * 2**30)}


def files_limit(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, int | None]:
    """The key `filesLimit` of a request, if it was given."""
    if value is None:
        return {}
    if value == "none":
        return {"filesLimit": None}
    if not (value.isascii() and value.isdecimal() and len(value) <= 15):
        raise click.BadParameter(f"{value!r} is no number of files: write it with digits only, or none")
    return {"filesLimit": int(value)}


def room_limits(context: click.Context, parameter: click.Parameter, items: tuple[str, ...]) -> dict[str, Any]:
    """The key `room` of a request, if something of it was given."""
    found: dict[str, float | None] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if name not in ROOM or not equals:
            raise click.BadParameter(f"{item!r} is no limit: write NAME=VALUE, with NAME one of {', '.join(ROOM)}")
        found[name] = _amount(context, parameter, name, text)
    return {"room": found} if found else {}


def _amount(context: click.Context, parameter: click.Parameter, name: str, text: str) -> float | None:
    if text == "none":
        return None
    try:
        return int(text) if ROOM[name] else gibibytes(context, parameter, text) if name == "mem" else float(text)
    except ValueError:
        kind = "a whole number" if ROOM[name] else "a number"
        raise click.BadParameter(f"{name} is {kind}, or none; given: {text!r}") from None


@click.command(
    "set",
    epilog=examples(
        "toolkit quota set acme.joe gpus=4 cpus=16 mem=64 running=10 queued=100",
        "toolkit quota set acme.joe gpus=none",
        "toolkit quota set acme.joe --data-size 500g",
        "toolkit quota set acme.joe --data-files none",
    ),
)
@click.argument("account", shell_complete=complete_accounts)
@click.argument("room", metavar="[NAME=VALUE]…", nargs=-1, callback=room_limits)
@click.option("--data-size", metavar="SIZE", callback=data_limit, help="On the disk, as 500g or 2t, or `none`.")
@click.option("--data-files", metavar="N", callback=files_limit, help="Files and folders, or `none`.")
@output_options(COLUMNS)
@click.pass_obj
def set_(
    state: State,
    account: str,
    room: dict[str, Any],
    data_size: dict[str, Any],
    data_files: dict[str, Any],
    output: Output,
) -> None:
    """Set what ACCOUNT may take. Its jobs, with those of the accounts below it, may hold so many gpus, cpus and GiB of mem at
    once; running and queued count jobs, and bid is the highest that a job may have. What its data has already stays, whatever
    the limit; versions count. `none` takes a limit away.

    Needs organization:quota on the organization.
    """
    limits = {**room, **data_size, **data_files}
    if not limits:
        raise click.UsageError("nothing to set: give NAME=VALUE, --data-size or --data-files")
    output.show([state.client().raw(data_calls.set_quota(account, limits))])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "ls": (ls, "List what accounts take and may take."),
    "set": (set_, "Set what an account may take."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples("toolkit quota ls", "toolkit quota set acme.joe --data-size 500g"),
)
def quota() -> None:
    """Show and set what accounts may take: their jobs of the machines, their data of the disk."""
