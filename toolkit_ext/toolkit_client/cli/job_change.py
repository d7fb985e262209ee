"""``toolkit job set`` and ``toolkit job retry``."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_ended_jobs, complete_living_jobs
from toolkit_client.cli.job_args import several_jobs
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import SUBMIT_COLUMNS, Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.state import State

__all__ = ["retry", "set_"]

SET_COLUMNS = ("id", "state", "name", "tags", "bid", "maxRunTime")


@click.command(
    "set",
    epilog=examples(
        "toolkit job set --last --name train",
        "toolkit job set train --tag sweep=7 --remove-tag draft --bid 10",
        "toolkit job set train --max-run-time 72h",
    ),
)
@several_jobs(complete_living_jobs)
@click.option("--name", metavar="NAME", help="Give the job this name.")
@click.option("--no-name", is_flag=True, help="Take its name away.")
@click.option("--tag", "tags", metavar="K[=V]", multiple=True, callback=values.tags, help="Add a tag; repeatable.")
@click.option("--remove-tag", "removed", metavar="K", multiple=True, help="Remove a tag; repeatable.")
@click.option("--bid", metavar="N", type=int, help="Order among waiting jobs of its class, the highest first.")
@click.option(
    "--max-run-time", metavar="T", callback=values.duration, help="Time limit of a run: 48h, 90m, or seconds; 0: none."
)
@output_options(SET_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def set_(
    state: State,
    refs: tuple[str, ...],
    *,
    last: bool,
    name: str | None,
    no_name: bool,
    tags: list[dict[str, Any]],
    removed: tuple[str, ...],
    bid: int | None,
    max_run_time: int | None,
    output: Output,
) -> int:
    """Change living jobs. What is not given stays as it is."""
    if name is not None and (no_name or len(refs) > 1):
        raise click.UsageError("--name is for one job, and goes without --no-name")
    changes: dict[str, Any] = {"name": name, "bid": bid, "maxRunTime": max_run_time}
    changes = {key: value for key, value in changes.items() if value is not None}
    if no_name:
        changes["name"] = None
    if not changes and not tags and not removed:
        raise click.UsageError("nothing to change: give --name, --tag, --bid or --max-run-time")

    def change(ref: str) -> Any:
        client, body = state.client(), dict(changes)
        if tags or removed:
            # The service takes all tags at once.
            body["tags"] = _changed_tags(client.raw(calls.get_job(ref))["tags"], tags, removed)
        return client.raw(calls.change_job(ref, body))

    changed, code = for_each(state.find_refs(refs, last), change)
    if changed:
        output.show(changed)
    return code


def _changed_tags(
    present: list[dict[str, Any]], added: list[dict[str, Any]], removed: tuple[str, ...]
) -> list[dict[str, Any]]:
    gone = {*removed, *(tag["key"] for tag in added)}
    return [*(tag for tag in present if tag["key"] not in gone), *added]


@click.command(
    epilog=examples(
        "toolkit job retry --last",
        "toolkit job ls --state failed --tag sweep=7 --no-header --fields id | xargs toolkit job retry",
    )
)
@several_jobs(complete_ended_jobs)
@output_options(SUBMIT_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def retry(state: State, refs: tuple[str, ...], last: bool, output: Output) -> int:
    """Submit the specs of ended jobs again, as new jobs, and print these. `--field retryOf` names the old one."""
    client = state.client()
    made, code = for_each(state.find_refs(refs, last), lambda ref: client.raw(calls.retry_job(ref)))
    if made:
        output.show(made)
    return code
