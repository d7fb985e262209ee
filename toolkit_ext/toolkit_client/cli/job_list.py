"""``toolkit job ls``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_jobs, complete_states
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import JOB_COLUMNS, Output, output_options
from toolkit_client.cli.state import State

__all__ = ["ls", "newest_first"]

DAY = 24 * 3600.0


@click.command(
    epilog=examples(
        "toolkit job ls",
        "toolkit job ls --state alive --fields id,state,stateInfo",
        "toolkit job ls --account acme.team --state running -n 20",
        "toolkit job ls --tag sweep=7 --format csv > sweep.csv",
        "toolkit job ls --state alive --no-header --fields id | xargs toolkit job kill",
    )
)
@click.option("--account", metavar="A", help="Jobs of this account, whoever submitted them.")
@click.option("--me", is_flag=True, help="Only jobs that you submitted; the default unless --account is given.")
@click.option(
    "--state",
    "states",
    metavar="S",
    shell_complete=complete_states,
    help="`alive`, `all`, or states with commas between them, as `queued,running`.",
)
@click.option("-N", "--name", metavar="NAME", shell_complete=complete_jobs, help="Only jobs of this name.")
@click.option("--tag", "tags", metavar="K[=V]", multiple=True, help="Only jobs with this tag; repeatable: with all.")
@click.option("--array", metavar="ID", help="Only the jobs of this array.")
@click.option("--family", metavar="ID", help="Only this job and all that descends from it.")
@click.option("-n", "--limit", metavar="N", type=click.IntRange(min=1), help="At most N jobs: the newest ones.")
@click.option("-r", "--reverse", is_flag=True, help="Oldest first.")
@output_options(JOB_COLUMNS)
@click.pass_obj
def ls(
    state: State,
    *,
    account: str | None,
    me: bool,
    states: str | None,
    name: str | None,
    tags: tuple[str, ...],
    array: str | None,
    family: str | None,
    limit: int | None,
    reverse: bool,
    output: Output,
) -> None:
    """List jobs, newest first.

    Without options: the jobs that you submitted in the last 24 hours. --state, --name, --tag, --array, --family and --limit
    look at all times; --array and --family at all jobs that you may see. On a terminal the table is fitted to its width;
    piped it is whole.
    """
    account = account or state.account
    belonging = {"array": array and state.full_ref(array), "family": family and state.full_ref(family)}
    since = None if states or name or tags or limit or array or family else values.moment_ago(DAY)
    filters = {
        "account": account,
        "mine": me or not (account or array or family),
        "state": states or "all",
        "name": name,
        "tags": tags,
        "since": since,
        **belonging,
    }
    found = (job for job in newest_first(state, limit, filters) if all(_has_tag(job, tag) for tag in tags))
    jobs = list(islice(found, limit))
    output.show(reversed(jobs) if reverse else jobs)


def newest_first(state: State, limit: int | None, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Jobs as plain JSON, asked for page by page."""
    client = state.client()
    size = min(limit or calls.PAGE_SIZE, calls.PAGE_SIZE)
    cursor: str | None = None
    while True:
        page = client.raw(calls.list_jobs(limit=size, cursor=cursor, **filters))
        yield from page["items"]
        cursor = page.get("next")
        if cursor is None:
            return


def _has_tag(job: dict[str, Any], wanted: str) -> bool:
    """Whether a job has the tag `key`, or `key=value`. The service may look at one tag only."""
    key, equals, value = wanted.partition("=")
    return any(tag["key"] == key and (not equals or tag["value"] == value) for tag in job["tags"])
