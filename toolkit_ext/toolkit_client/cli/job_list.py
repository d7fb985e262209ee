"""``toolkit job ls``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_jobs, complete_living_jobs, complete_states
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import JOB_COLUMNS, Output, output_options
from toolkit_client.cli.state import State

__all__ = ["ls", "newest_first", "ps"]

PS_COLUMNS = ("id", "state", "name", "image", "created", "command", "stateInfo")

DAY = 24 * 3600.0


@click.command(
    epilog=examples(
        "toolkit job ls",
        "toolkit session ls mysession checkpoints --fields name,size,mtime,mode",
        "toolkit job ls --state alive --fields id,state,stateInfo",
        "toolkit job ls --account acme.team --state running -n 20",
        "toolkit job ls --tag sweep=7 --format csv > sweep.csv",
        "toolkit job ls --state alive --no-header --fields id | xargs toolkit job kill",
    )
)
@click.argument("ref", metavar="[JOB", required=False, shell_complete=complete_living_jobs)
@click.argument("path", metavar="[PATH]]", required=False)
@click.option("-R", "--recursive", is_flag=True, help="With JOB: also what is in its folders.")
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
    ref: str | None,
    path: str | None,
    recursive: bool,
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
) -> int:
    """List jobs, newest first; with JOB, what a folder of that job holds while it runs, its home unless a PATH is given.

    Without options: the jobs that you submitted in the last 24 hours. --state, --name, --tag, --array, --family and --limit
    look at all times; --array and --family at all jobs that you may see. On a terminal the table is fitted to its width;
    piped it is whole.

    With JOB: a PATH that does not begin with a slash is below the job's home; `--fields name,kind,size,mtime,mode,target` shows
    all that is known. Needs job:exec.
    """
    if ref is not None:
        return _files(
            state, (ref, path, recursive), output, alone=not (me or states or name or tags or limit or reverse)
        )
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
    return 0


def _files(state: State, wanted: tuple[str, str | None, bool], output: Output, *, alone: bool) -> int:
    if not alone:
        raise click.UsageError("options that choose jobs do not go together with JOB, whose files are listed")
    from toolkit_client.cli.job_files import show_files

    return show_files(state, *wanted, output)


@click.command(epilog=examples("toolkit ps", "toolkit ps --no-header --fields id | xargs toolkit job kill"))
@output_options(PS_COLUMNS)
@click.pass_obj
def ps(state: State, output: Output) -> None:
    """List your jobs that have not ended, newest first: those that run, and those that wait.

    With `toolkit --account A` those of that account, whoever submitted them. `toolkit job ls` has more choices.
    """
    filters = {"account": state.account, "mine": not state.account, "state": "alive"}
    output.show(newest_first(state, None, filters))


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
