"""``toolkit job logs``, and the following of a new job by ``toolkit job submit --follow``."""

from __future__ import annotations

import sys
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_jobs
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["INTERRUPTED", "WAITING", "follow_to_end", "logs", "print_notice", "standing"]

#: Exit code after Ctrl-C.
INTERRUPTED = 130
#: States in which a job has no output yet; whoever follows it wants to know why.
WAITING = ("QUEUING", "QUEUED")


@click.command(
    epilog=examples(
        "toolkit job logs -f",
        "toolkit job logs --last --tail 20",
        "toolkit job logs train --since 10m",
        "toolkit job logs -f --exit-code train",
    )
)
@click.argument("ref", metavar="[ID]", required=False, shell_complete=complete_jobs)
@click.option("--last", is_flag=True, help="The newest job that you created; -f alone means it too.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", metavar="N", type=click.IntRange(min=0), help="Only the last N lines, and what follows them.")
@click.option(
    "--since",
    metavar="T",
    callback=values.moment,
    help="Only what was written since a time, as 2026-01-31T12:00:00Z, or for the last 10m.",
)
@click.option("--run", metavar="N", type=click.IntRange(min=0), help="Of run N, counted from 0. Default: the newest.")
@click.option("--exit-code", is_flag=True, help="With -f: exit with the job's own exit code.")
@click.pass_obj
def logs(state: State, /, ref: str | None, last: bool, follow: bool, exit_code: bool, **start: Any) -> int:
    """Print what the job's newest run has written, byte for byte.

    With -f the output comes as it is written, also across a restart of the service; when the service does not answer
    for longer than 2 seconds, stderr says so. Ctrl-C ends only this command (exit code 130): the job goes on.
    """
    if exit_code and not follow:
        raise click.UsageError("--exit-code needs -f: the code is known when the job has ended")
    if start["tail"] is not None and start["since"] is not None:
        raise click.UsageError("give either --tail or --since")
    if not follow:
        _copy(state, state.find_ref(ref, last), follow=False, **start)
        return 0
    job = state.job(ref, last, or_last=True)
    if job["state"] in WAITING:
        print(standing(job), file=sys.stderr)
    # By id: when the job has ended, a new one may take its name.
    return follow_to_end(state, str(job["id"]), exit_code=exit_code, **start)


def follow_to_end(state: State, job_id: str, *, exit_code: bool = False, **start: Any) -> int:
    """Copies a job's log to stdout until the job has ended, says on stderr how it ended, and gives the exit code.

    `start` says where the log begins, as `Jobs.logs` takes it. The code is 0; with `exit_code` the job's own, or 1 for a
    job that ended without one; `INTERRUPTED` after Ctrl-C.
    """
    try:
        _copy(state, job_id, follow=True, **start)
        ended = state.client().raw(calls.get_job(job_id))
    except KeyboardInterrupt:
        print(f"\nthe job goes on; `toolkit job kill {job_id}` ends it", file=sys.stderr)
        return INTERRUPTED
    runs = ended["runs"]
    code = runs[-1]["exitCode"] if runs else None
    print(standing(ended, code), file=sys.stderr)
    if not exit_code:
        return 0
    return 1 if code is None else int(code)


def print_notice(words: str) -> None:
    """Tells whoever follows a stream of an outage."""
    print(escape(words), file=sys.stderr, flush=True)


def standing(job: dict[str, Any], code: int | None = None) -> str:
    """How a job stands, in one line."""
    words = f"job {job['id']} {job['state']}"
    if code is not None:
        words += f", exit code {code}"
    why = (job.get("stateInfo") or "").removeprefix(f"exit code {code}").removeprefix(": ")
    if why:
        words += f": {why}"
    return escape(words)


def _copy(state: State, ref: str, *, follow: bool, **start: Any) -> None:
    stdout = sys.stdout.buffer
    for chunk in state.client().jobs.logs(ref, follow=follow, notice=print_notice, **start):
        stdout.write(chunk)
        # Each piece at once: whoever follows wants to see a progress bar move.
        stdout.flush()
