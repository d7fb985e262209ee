"""``toolkit admin``: the site's upkeep, for administrators."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import ServiceUnavailable

__all__ = ["admin", "doctor", "gc"]

HERE = "toolkit_client.cli.admin"
LOCAL_DOCTOR = (
    "on the site's machine: .venv/bin/python -m toolkit_hub.host.doctor makes the same checks without the service"
)


@click.group(
    cls=LazyGroup,
    commands_by_name={
        "doctor": (f"{HERE}:doctor", "Check the site, and say what to do."),
        "gc": (f"{HERE}:gc", "Remove what is past its retention."),
    },
    epilog=examples("toolkit admin doctor", "toolkit admin gc --dry-run"),
)
def admin() -> None:
    """Look after a site; only administrators may."""


@click.command(
    epilog=examples(
        "toolkit admin doctor",
        "toolkit admin doctor --format json | jq 'select(.state != \"ok\")'",
        "cd SITE && .venv/bin/python -m toolkit_hub.host.doctor   # when the service is down",
    )
)
@output_options(("state", "check", "message"))
@click.pass_obj
def doctor(state: State, output: Output) -> int:
    """Check engine, disks, database, proxy, hub, gate, clock, versions and secrets.

    What is not in order is said again on stderr with what to do. Exits with 1 when something is a problem, with 0 when
    there are only warnings or nothing.
    """
    try:
        found = state.client().raw(calls.get_checkup())
    except ServiceUnavailable as problem:
        raise ServiceUnavailable(problem.message, LOCAL_DOCTOR) from problem
    output.show(found["items"])
    for item in found["items"]:
        if item["hint"]:
            click.echo(f"{item['state']}: {escape(item['check'])}: {escape(item['hint'])}", err=True)
    return 1 if found["state"] == "problem" else 0


@click.command(epilog=examples("toolkit admin gc --dry-run", "toolkit admin gc"))
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@output_options(("kind", "size", "name", "reason"))
@click.pass_obj
def gc(state: State, dry_run: bool, output: Output) -> None:
    """Remove logs, images, events and leftovers that the site's rules no longer keep.

    The service does the same every hour. How long things are kept: `c.Toolkit.log_retention` and its likes in the site's
    configuration; `size` is in bytes. Every removal is an event.
    """
    done = state.client().raw(calls.clean_up(dry_run=dry_run))
    output.show(done["items"])
    for reason in done["skipped"]:
        click.echo(f"left alone: {escape(reason)}", err=True)
    click.echo(_summary(done), err=True)


def _summary(done: dict[str, Any]) -> str:
    what = "would be removed" if done["dryRun"] else "removed"
    more = "; there is more: run it again" if done["more"] else ""
    count = len(done["items"])
    return f"{count} {'thing' if count == 1 else 'things'} {what}, {done['size'] / 2**20:.1f} MiB{more}"
