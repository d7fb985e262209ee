"""``toolkit job why``."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_args import one_job
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict

__all__ = ["why"]

COLUMNS = ("job", "state", "position", "length", "reason", "latest")
_UNITS = {"gpu": "GPUs of the kind", "cpu": "CPUs", "mem": "GiB of memory"}
_BECAUSE = {
    "class": "its class goes first",
    "bid": "its bid is higher",
    "promise": "it was first in line already",
    "fair share": "its account has had less of late",
    "earlier": "it was submitted earlier",
}


@click.command(
    epilog=examples("toolkit job why --last", "toolkit job why train --apply 2", "toolkit job why train --format json")
)
@one_job(complete_living_jobs)
@click.option("--apply", "number", metavar="N", type=click.IntRange(1), help="Change the job as proposal N says.")
@output_options(COLUMNS)
@click.pass_obj
def why(state: State, ref: str | None, last: bool, number: int | None, output: Output) -> int:
    """Say why a job waits: what is short, who holds it until when at the latest, who is before it, when it will start, and what
    would start it now. Each proposal was tried: with it, the job starts at once, or as soon as those that it stops are gone.

    With --format or --field it prints a table instead.
    """
    client = state.client()
    job = state.job(ref, last)
    found = client.raw(calls.get_why(job["id"]))
    if number is not None:
        return _apply(state, found, number)
    if output.is_asked_for:
        output.show([found])
        return 0
    for line in _lines(found):
        click.echo(escape(line))
    return 0


def _apply(state: State, found: dict[str, Any], number: int) -> int:
    proposals = found["proposals"]
    if number > len(proposals):
        raise Conflict(
            f"there is no proposal {number}: now there are {len(proposals)}",
            "`toolkit job why` lists what would start the job now; it may have changed since you looked",
        )
    state.client().raw(calls.change_job(found["job"], proposals[number - 1]["patch"]))
    print(f"changed: {escape(proposals[number - 1]['words'])}", file=sys.stderr)
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    if found["state"] != "QUEUING":
        return [f"it does not wait: {found['state']}" + (f", {found['reason']}" if found["reason"] else "")]
    place = f"  ({found['position']} of {found['length']} in the queue)" if found["position"] else ""
    return [f"{found['reason']}{place}", *_details(found), *_start(found), *_proposals(found)]


def _details(found: dict[str, Any]) -> list[str]:
    lines = [f"quota     {found['quota']}"] if found["quota"] else []
    for one in found["short"]:
        lines.append(
            f"short     {_UNITS[one['what']]}: asks for {one['asked']:g}, {one['free']:g} of {one['total']:g} free"
        )
    for one in found["holders"]:
        until = f"until {_time(one['until'])} at the latest" if one["until"] else "without a time limit"
        who = f"{one['account']}, job {one['job']}" if one["job"] else "a job that you may not see"
        gpus = f"{one['gpus']} GPU{'s' * (one['gpus'] > 1)}, " if one["gpus"] else ""
        lines.append(f"held      {gpus}{one['cpu']:g} CPU{'s' * (one['cpu'] != 1)}, {one['mem']:g} GiB {until}: {who}")
    for one in found["ahead"]:
        lines.append(
            f"before    {one['job'] or 'a job that you may not see'}: {_BECAUSE.get(one['because'], one['because'])}"
        )
    return lines


def _start(found: dict[str, Any]) -> list[str]:
    if found["latest"]:
        return [f"starts    {_time(found['latest'])} at the latest, likely {_time(found['likely'])}"]
    return ["starts    nobody knows when: some of what it waits for has no time limit"]


def _proposals(found: dict[str, Any]) -> list[str]:
    if not found["proposals"]:
        return ["now       nothing that was tried would start it now"]
    lines = []
    for number, one in enumerate(found["proposals"], 1):
        costs = []
        if one["stops"]:
            costs.append(f"stops {one['stops']} job{'s' * (one['stops'] > 1)} ({one['lost'] / 60:.0f} min of work)")
        if one["overtakes"]:
            costs.append(f"goes before {one['overtakes']} other{'s' * (one['overtakes'] > 1)}")
        lines.append(
            f"now       {one['words']}" + (f": {', '.join(costs)}" if costs else "") + f"   (--apply {number})"
        )
    return lines


def _time(text: str) -> str:
    """In this machine's own time."""
    return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M}"
