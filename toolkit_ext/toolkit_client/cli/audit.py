"""``toolkit audit``: who did what, and what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from toolkit_client import access_calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["audit", "ls"]

HERE = "toolkit_client.cli.audit"
COLUMNS = ("time", "actor", "action", "outcome", "urn", "reason")


@click.group(
    cls=LazyGroup,
    commands_by_name={"ls": (f"{HERE}:ls", "List what was done and what was refused.")},
    epilog=examples("toolkit audit ls --since 7d", "toolkit audit ls --actor acme.joe --format json"),
)
def audit() -> None:
    """Read the audit log: every change, grant and refusal. Nobody can change it."""


@click.command(
    epilog=examples(
        "toolkit audit ls",
        "toolkit audit ls --since 7d --actor acme.joe --format json",
        'toolkit audit ls --urn "$(toolkit account get acme.cocos --field urn)" --outcome refused',
        "toolkit audit ls -n 20 --fields time,actor,action,requestId,address",
    )
)
@click.option(
    "--since", metavar="T", callback=values.moment, help="Not before: 10m or 7d ago, or 2026-01-31T12:00:00Z."
)
@click.option(
    "--until", metavar="T", callback=values.moment, help="Before this: 10m or 7d ago, or 2026-01-31T12:00:00Z."
)
@click.option("--actor", metavar="A", shell_complete=complete_users, help="Only what this user or role did.")
@click.option("--urn", metavar="URN", help="Only what was done to this resource, or to what is in it.")
@click.option("--action", metavar="A", help="Only this action, as role:member.")
@click.option("--outcome", type=click.Choice(["done", "refused"]), help="Only what was done, or what was refused.")
@click.option("-n", "--limit", metavar="N", type=click.IntRange(min=1), help="At most N entries: the newest ones.")
@click.option("-r", "--reverse", is_flag=True, help="Oldest first.")
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, /, *, limit: int | None, reverse: bool, output: Output, **filters: Any) -> None:
    """List the audit log, newest first: time, actor, action, outcome, URN, and the statement or the reason.

    Without options: the last 24 hours. With any of them, all times that they do not exclude. `via`, `data`,
    `requestId` and `address` are fields, too.

    Needs organization:audit for all of it, account:audit for what was done in an account, and nothing for what you did.
    """
    if limit is None and not any(filters.values()):
        filters["since"] = values.moment_ago(24 * 3600)
    entries = list(islice(_newest_first(state, limit, filters), limit))
    output.show(reversed(entries) if reverse else entries)


def _newest_first(state: State, limit: int | None, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries as plain JSON, asked for page by page."""
    client = state.client()
    size = min(limit or access_calls.AUDIT_PAGE_SIZE, access_calls.AUDIT_PAGE_SIZE)
    cursor: str | None = None
    while True:
        page = client.raw(access_calls.list_audit(limit=size, cursor=cursor, **filters))
        yield from page["items"]
        cursor = page.get("next")
        if cursor is None:
            return
