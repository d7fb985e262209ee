"""``toolkit events``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from toolkit_client.cli.complete import complete_jobs
from toolkit_client.cli.job_logs import INTERRUPTED, print_notice
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["events"]

#: Columns and the least width of each; a stream cannot wait for its longest value.
WIDTHS = {"seq": 6, "time": 20, "type": 16, "urn": 126, "data": 0}


@click.command(
    epilog=examples(
        "toolkit events",
        "toolkit events --job train --format json",
        "toolkit events --after 120 --no-header | cut -c 1-43",
    )
)
@click.option(
    "--job", metavar="ID", shell_complete=complete_jobs, help="Only of this job: all so far, then until its end."
)
@click.option("--last", is_flag=True, help="Only of the newest job that you created.")
@click.option("--after", metavar="N", type=click.IntRange(min=0), help="Begin after the event of this number.")
@click.option("--no-header", is_flag=True, help="Print no column names.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table, or one JSON object a line. Default: table.",
)
@click.pass_obj
def events(state: State, job: str | None, last: bool, after: int | None, no_header: bool, form: str) -> int:
    """Follow what happens to everything that you may see, one event a line, from now on.

    Across a restart of the service no event is lost and none comes twice. It ends with Ctrl-C (exit code 130), or with
    the job.
    """
    from toolkit_client.trails import EventTrail

    ref = str(state.job(job, last)["id"]) if job is not None or last else None
    line = _line_writer(form, header=not no_header)
    client = state.client()
    try:
        for event in client.follow_trail(EventTrail(client.site, ref, after=after, notice=print_notice)):
            print(line(event), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _line_writer(form: str, *, header: bool) -> Callable[[dict[str, Any]], str]:
    if form == "json":
        return lambda event: json.dumps(event, separators=(",", ":"))
    if sys.stdout.isatty():
        return _for_people
    if header:
        print(" ".join(name.ljust(width) for name, width in WIDTHS.items()).rstrip(), flush=True)
    one = Output(tuple(WIDTHS), header=False)
    return lambda event: " ".join(
        cell.ljust(width) for cell, width in zip(one.cells(event), WIDTHS.values(), strict=True)
    ).rstrip()


def _for_people(event: dict[str, Any]) -> str:
    """The time of day, what happened, to what, and the rest; the organization's id says nothing here."""
    kind, _, subject = str(event["urn"]).rpartition(":")
    words = [f"{kind.rpartition(':')[2]} {subject}" if kind else subject]
    words += [f"{name}={value}" for name, value in event["data"].items() if value is not None]
    return escape(f"{str(event['time'])[11:19]} {event['type']:<16} {' '.join(words)}")
