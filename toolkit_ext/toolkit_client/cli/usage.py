"""``toolkit usage``."""

from __future__ import annotations

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["usage"]

MONTH_S = 30 * 24 * 3600


@click.command(
    epilog=examples("toolkit usage", "toolkit usage --by user --since 7d", "toolkit usage --by day --format csv")
)
@click.option(
    "--by",
    type=click.Choice(["account", "user", "day"]),
    default="account",
    help="What is summed up (default: account).",
)
@click.option("--since", metavar="T", callback=values.duration, help="So long ago, as 12h or 7d (default: 30 days).")
@output_options(("key", "gpuHours", "cpuHours", "memHours", "runs"))
@click.pass_obj
def usage(state: State, by: str, since: int | None, output: Output) -> None:
    """Show how many hours of GPUs, CPUs and GiB of memory were given out, by account, user or day (of UTC).

    A run counts from its start to its end with what it was given. Of accounts that you may see.
    """
    output.show(state.client().raw(calls.list_usage(by, since or MONTH_S))["items"])
