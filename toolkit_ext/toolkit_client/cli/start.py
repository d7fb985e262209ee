"""``toolkit start``."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.job_logs import INTERRUPTED, WAITING, standing
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict

__all__ = ["start"]


@click.command(epilog=examples("toolkit start", "toolkit start --no-wait", 'xdg-open "$(toolkit start)"'))
@click.option("--no-wait", is_flag=True, help="Print the address at once, also while the server waits in the queue.")
@click.pass_obj
def start(state: State, no_wait: bool) -> int:
    """Start your own server, or find the one that runs, and print the address of its JupyterLab.

    While it waits in the queue the reason is told on stderr. Ctrl-C ends only this command (exit code 130): the server
    goes on starting.
    """
    job = state.client().raw(calls.start_server())
    if not no_wait:
        try:
            job = _wait(state, job)
        except KeyboardInterrupt:
            print(f"\nyour server goes on starting; `toolkit job kill {job['id']}` ends it", file=sys.stderr)
            return INTERRUPTED
    click.echo(escape(job["labUrl"]))
    return 0


def _wait(state: State, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it runs; tells each new reason for which it waits.

    Raises:
        Conflict: it has ended instead.
    """
    from toolkit_client.exchange import WaitPauses

    pauses, told = WaitPauses(job["id"], None), ""
    while job["state"] in WAITING:
        words = standing(job)
        if words != told:
            print(words, file=sys.stderr)
            told = words
        time.sleep(pauses.next())
        job = state.client().raw(calls.get_job(job["id"]))
    if job["state"] != "RUNNING":
        raise Conflict(f"your server has not started: {standing(job)}", "`toolkit start` starts another one")
    return job
