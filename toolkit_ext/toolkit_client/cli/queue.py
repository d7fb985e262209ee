"""``toolkit queue``."""

from __future__ import annotations

import sys

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["queue"]

COLUMNS = ("position", "job", "name", "account", "class", "bid", "gpu", "cpu", "mem", "reason")

TOTALS = ("gpuHeld", "gpuTotal", "cpuHeld", "cpuTotal", "memHeld", "memTotal", "running", "waiting")


@click.command(epilog=examples("toolkit queue", "toolkit queue --fields position,job,reason", "toolkit queue --total"))
@click.option("--total", is_flag=True, help="Only how much there is, how much is held, and how many run and wait.")
@output_options(COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def queue(state: State, total: bool, output: Output) -> None:
    """List the jobs that wait, the next one to start first: class, bid, what each asks for, and why it waits. Of jobs that you
    may not see only what they ask for is told. Memory is in GiB. What is held of what there is is told on stderr.

    More about one job: `toolkit job why ID`.
    """
    client = state.client()
    there = client.raw(calls.get_queue())
    if total:
        output.with_columns(TOTALS).show([there])
        return
    gpus = f"{there['gpuHeld']} of {there['gpuTotal']} GPUs, " if there["gpuTotal"] else ""
    print(
        f"held: {gpus}{there['cpuHeld']:g} of {there['cpuTotal']:g} CPUs, {there['memHeld']:g} of {there['memTotal']:g} GiB; "
        f"{there['running']} jobs run, {there['waiting']} wait",
        file=sys.stderr,
    )
    output.show(client.raw(calls.list_queue())["items"])
