"""``toolkit gpu``."""

from __future__ import annotations

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["gpu"]

COLUMNS = ("uuid", "model", "mem", "state", "account", "job", "since", "use", "memUsed", "temperature")


@click.command(
    epilog=examples("toolkit gpu ls", "toolkit gpu ls --fields uuid,state,reason", "toolkit gpu ls --format json")
)
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, output: Output) -> None:
    """List the site's GPUs: what they are, whether they are free, held or drained, by whom and since when, and how busy.

    `use` is in percent, memory in GiB, the temperature in °C; what is not known is `-`. Who has a GPU is told where you may
    see the job. `reason` says why one is drained.
    """
    output.show(state.client().raw(calls.list_gpus())["items"])


@click.group(
    cls=LazyGroup,
    commands_by_name={"ls": (ls, "List the GPUs, and who has them.")},
    epilog=examples("toolkit gpu ls"),
)
def gpu() -> None:
    """Show the site's GPUs."""
