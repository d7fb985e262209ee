"""``toolkit queue``."""

from __future__ import annotations

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["queue"]


@click.command(epilog=examples("toolkit queue", "toolkit queue --field waiting"))
@output_options(("cpuHeld", "cpuTotal", "memHeld", "memTotal", "running", "waiting"))
@click.pass_obj
def queue(state: State, output: Output) -> None:
    """Show how much the site has, how much is held, and how many jobs run and wait. Memory is in GiB.

    Why a job of yours waits: `toolkit job get ID --field stateInfo`.
    """
    output.show([state.client().raw(calls.get_queue())])
