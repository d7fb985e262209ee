"""``toolkit job logs``, and the following of a new job by ``toolkit job submit --follow``."""

from __future__ import annotations

import sys
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["INTERRUPTED", "follow_to_end", "logs"]

#: Exit code after Ctrl-C.
INTERRUPTED = 130
#: States in which a job has no output yet; whoever follows it wants to know why.
WAITING = ("QUEUING", "QUEUED")


@click.command(
    epilog=examples("toolkit job logs -f", "toolkit job logs --last --tail 20", "toolkit job logs -f --exit-code train")
)
@click.argument("ref", metavar="[ID]", required=False)
@click.option("--last", is_flag=True, help="The newest job that you created; -f alone means it too.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines, and what follows them.")
@click.option("--exit-code", is_flag=True, help="With -f: exit with the job's own exit code.")
@click.pass_obj
def logs(state: State, ref: str | None, last: bool, follow: bool, tail: int | None, exit_code: bool) -> int:
    """Print what the job's newest run has written, byte for byte.

    With -f the output comes as it is written, also across a restart of the service. Ctrl-C ends only this command
    (exit code 130): the job goes on.
    """
    if exit_code and not follow:
        raise click.UsageError("--exit-code needs -f: the code is known when the job has ended")
    found = state.find_ref(ref, last, or_last=follow)
    if follow:
        job = state.client().raw(calls.get_job(found))
        if job["state"] in WAITING:
            print(_standing(job), file=sys.stderr)
        # By id: when the job has ended, a new one may take its name.
        return follow_to_end(state, str(job["id"]), tail=tail, exit_code=exit_code)
    _copy(state, found, follow=False, tail=tail)
    return 0


def follow_to_end(state: State, job_id: str, *, tail: int | None = None, exit_code: bool = False) -> int:
    """Copies a job's log to stdout until the job has ended, says on stderr how it ended, and gives the exit code.

    That is 0; with `exit_code` the job's own, or 1 for a job that ended without one; `INTERRUPTED` after Ctrl-C.
    """
    try:
        _copy(state, job_id, follow=True, tail=tail)
        ended = state.client().raw(calls.get_job(job_id))
    except KeyboardInterrupt:
        print(f"\nthe job goes on; `toolkit job kill {job_id}` ends it", file=sys.stderr)
        return INTERRUPTED
    runs = ended["runs"]
    code = runs[-1]["exitCode"] if runs else None
    print(_standing(ended, code), file=sys.stderr)
    if not exit_code:
        return 0
    return 1 if code is None else int(code)


def _standing(job: dict[str, Any], code: int | None = None) -> str:
    """How a job stands, in one line."""
    words = f"job {job['id']} {job['state']}"
    if code is not None:
        words += f", exit code {code}"
    if job.get("stateInfo"):
        words += f": {job['stateInfo']}"
    return escape(words)


def _copy(state: State, ref: str, *, follow: bool, tail: int | None) -> None:
    stdout = sys.stdout.buffer
    for chunk in state.client().jobs.logs(ref, follow=follow, tail=tail):
        stdout.write(chunk)
        # Each piece at once: whoever follows wants to see a progress bar move.
        stdout.flush()
