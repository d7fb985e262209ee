"""``toolkit quota``: what accounts, users and the organization take, and what they may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from toolkit_client import data_calls
from toolkit_client.cli.complete import complete_accounts, complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State
from toolkit_client.cli.values import gibibytes

__all__ = ["quota"]

COLUMNS = (
    "type",
    "name",
    "dataUsed",
    "dataLimit",
    "filesUsed",
    "filesLimit",
    "room.gpus",
    "room.cpus",
    "room.mem",
    "room.running",
    "room.queued",
    "room.bid",
    "asOf",
)
#: What jobs may hold, and whether it is a whole number.
ROOM = {"gpus": True, "cpus": False, "mem": False, "running": True, "queued": True, "bid": True}


def holder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --user and --organization, which stand in the place of an account."""
    user = click.option(
        "--user", metavar="USER", shell_complete=complete_users, help="A user, by ID or name (acme.alice)."
    )
    organization = click.option("--organization", is_flag=True, help="All jobs of your organization.")
    return user(organization(command))


def _other_holder(
    state: State, account: str | None, user: str | None, organization: bool
) -> tuple[data_calls.RoomHolder, str] | None:
    """Whom --user or --organization means, if one of them was given."""
    if (account is not None) + (user is not None) + organization > 1:
        raise click.UsageError("name one: ACCOUNT, --user USER or --organization")
    if user is not None:
        return "user", user
    return ("organization", str(state.me()["organizationId"])) if organization else None


@click.command(
    epilog=examples(
        "toolkit quota ls",
        "toolkit quota ls acme.joe --field dataUsed",
        "toolkit quota ls --user alice",
        "toolkit quota ls --organization",
    )
)
@click.argument("account", required=False, shell_complete=complete_accounts)
@holder_options
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, account: str | None, user: str | None, organization: bool, output: Output) -> None:
    """List what ACCOUNT, or each account that you may see, takes and may take: its data, in bytes on the disk and files, and its
    jobs. Quotas that users and the organization have are in the list, too.

    The jobs of child accounts count for the account, their data counts for themselves. A limit that is missing is none. `asOf`
    tells when the use of data was measured; what was pushed or committed since is counted already.

    Needs account:get, user:get or organization:get.
    """
    other = _other_holder(state, account, user, organization)
    client, wanted = state.client(), account or state.account
    if other is not None:
        output.show([client.raw(data_calls.get_room_quota(*other))])
    elif wanted is not None:
        output.show([client.raw(data_calls.get_quota(wanted))])
    else:
        output.show(client.raw(data_calls.list_quotas())["items"])


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


def holder_and_room(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> tuple[str | None, dict[str, Any]]:
    """The account, if the first word is one, and the key `room` of a request, if something of it was given."""
    account = words[0] if words and "=" not in words[0] else None
    found: dict[str, float | None] = {}
    for item in words[account is not None :]:
        name, equals, text = item.partition("=")
        if name not in ROOM or not equals:
            raise click.BadParameter(f"{item!r} is no limit: write NAME=VALUE, with NAME one of {', '.join(ROOM)}")
        found[name] = _amount(context, parameter, name, text)
    return account, {"room": found} if found else {}


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
        "toolkit quota set --user alice gpus=2 bid=10",
        "toolkit quota set --organization gpus=8",
        "toolkit quota set acme.joe --data-size 500g",
        "toolkit quota set acme.joe --data-files none",
    ),
)
@click.argument(
    "words",
    metavar="[ACCOUNT] [NAME=VALUE]…",
    nargs=-1,
    callback=holder_and_room,
    shell_complete=complete_accounts,
)
@holder_options
@click.option("--data-size", metavar="SIZE", callback=data_limit, help="On the disk, as 500g or 2t, or `none`.")
@click.option("--data-files", metavar="N", callback=files_limit, help="Files and folders, or `none`.")
@output_options(COLUMNS)
@click.pass_obj
def set_(
    state: State,
    words: tuple[str | None, dict[str, Any]],
    user: str | None,
    organization: bool,
    data_size: dict[str, Any],
    data_files: dict[str, Any],
    output: Output,
) -> None:
    """Set what ACCOUNT, a user or the organization may take. Their jobs (of an account with those of the accounts below it) may
    hold so many gpus, cpus and GiB of mem at once; running and queued count jobs, and bid is the highest that a job may have. A
    job comes under the quotas of its submitter, of its account with those above it, and of the organization. What runs goes on,
    and what an account's data has already stays, whatever the limit; versions count. `none` takes a limit away.

    Needs organization:quota on the organization.
    """
    (account, room), of_data = words, {**data_size, **data_files}
    if not (room or of_data):
        raise click.UsageError("nothing to set: give NAME=VALUE, --data-size or --data-files")
    if of_data and (user is not None or organization):
        raise click.UsageError("only accounts have data: --data-size and --data-files go with ACCOUNT")
    other = _other_holder(state, account, user, organization)
    if other is None and account is None:
        raise click.UsageError("whose quota? Name an ACCOUNT, or give --user USER or --organization")
    if other is not None:
        output.show([state.client().raw(data_calls.set_room_quota(*other, room))])
    elif account is not None:
        output.show([state.client().raw(data_calls.set_quota(account, {**room, **of_data}))])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "ls": (ls, "List what accounts, users and the organization may take."),
    "set": (set_, "Set what an account, a user or the organization may take."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit quota ls", "toolkit quota set acme.joe --data-size 500g", "toolkit quota set --user alice gpus=2"
    ),
)
def quota() -> None:
    """Show and set what accounts, users and the organization may take: jobs of the machines, data of the disk."""
