"""``toolkit job submit``."""

from __future__ import annotations

import sys
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import SUBMIT_COLUMNS, Output, output_options
from toolkit_client.cli.spec_flags import spec_flags, spec_of
from toolkit_client.cli.state import State

__all__ = ["submit"]

#: Of an array: how many jobs it has is in words, since they have no exit code yet.
ARRAY_COLUMNS = (*SUBMIT_COLUMNS[:-1], "stateInfo")


class CommandLast(click.Command):
    """Options end at the first word of CMD, with or without ``--`` before it.

    Where the options end without a ``--``, one directly after the first word is left out, so that
    ``submit --image I code-server -- --auth none`` runs ``code-server --auth none``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words, _, _ = self.make_parser(ctx).parse_args(list(args))
        # Without any words click's parser gives a marker of its own, or nothing.
        found = words.get("command")
        command = list(found) if isinstance(found, (list, tuple)) else []
        start = len(args) - len(command)
        if len(command) > 1 and command[1] == "--" and args[start - 1 : start] != ["--"]:
            args = [*args[:start], "--", command[0], *command[2:]]
        return super().parse_args(ctx, args)


@click.command(
    cls=CommandLast,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    epilog=examples(
        "toolkit job submit -- bash -c 'echo hello; sleep 2; exit 3'",
        "toolkit job submit --image python --cpu 2 --mem 512m -e SEED=1 --name train python train.py --lr 0.1",
        "toolkit job submit -f job.yml --gpu 2 --max-run-time 12h --tag sweep=7",
        "toolkit job submit --follow --exit-code -- make test",
        "toolkit job submit --after prepare -- python train.py",
        "toolkit job submit --array 0-99%8 --name sweep -- sh -c 'python train.py --seed $TOOLKIT_ARRAY_INDEX'",
    ),
)
@click.option(
    "-f",
    "--file",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Take the spec from a YAML or JSON file, `-` for stdin; flags go before it.",
)
@spec_flags
@click.option("--follow", is_flag=True, help="Then print the job's output until its end, as `job logs -f` does.")
@click.option("--exit-code", is_flag=True, help="With --follow: exit with the job's own exit code.")
@click.argument("command", metavar="[--] [CMD…]", nargs=-1, type=click.UNPROCESSED)
@output_options(SUBMIT_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def submit(state: State, /, file: str | None, follow: bool, exit_code: bool, output: Output, **given: Any) -> int:
    """Submit a job that runs CMD in a container.

    Options end at the first word of CMD. Without CMD the image's own command runs. The new job is printed on stdout;
    with --follow on stderr, so that stdout has the command's output and nothing else.

    With --array it makes one job for each index, called NAME_INDEX; the one line that is printed, and its id, stand for all
    of them. A job submitted from within a job is its child, and ends with it unless --detach is given.

    The keys of a job file are those of `job info --job-spec`. A flag replaces the file's value; of variables, tags, ports
    and data only those with the same name, key, port or path.
    """
    if follow and given["array"]:
        raise click.UsageError("--follow is for one job: `job logs ARRAY:INDEX -f` follows one of an array")
    if exit_code and not follow:
        raise click.UsageError("--exit-code needs --follow: the code is known when the job has ended")
    spec = spec_of({**given, "account": given["account"] or state.account})
    if file is not None:
        spec = _with_file(file, spec)
    try:
        job = state.client().raw(calls.submit_job(spec))
    except KeyboardInterrupt:
        print("\nit is not known whether the job was submitted; `toolkit job ls -n 1` shows", file=sys.stderr)
        raise
    _tell(job, output, err=follow)
    if not follow:
        return 0
    # Kept apart, for a plain submission never reads a log.
    from toolkit_client.cli.job_logs import follow_to_end

    return follow_to_end(state, str(job["id"]), exit_code=exit_code)


def _tell(job: dict[str, Any], output: Output, *, err: bool) -> None:
    """The job, or one line for a whole array; and what a job inside of which it was submitted has to do with it."""
    if job["kind"] == "array":
        output = output.with_columns(ARRAY_COLUMNS)
    output.show([job], err=err)
    if job["parentId"] and not job["detach"]:
        print(f"it ends with job {job['parentId']}, which has submitted it; --detach lets it go on", file=sys.stderr)


def _with_file(name: str, flags: dict[str, Any]) -> dict[str, Any]:
    """The spec of a job file, changed by the flags and checked as a whole."""
    from toolkit_client.cli.job_file import merged, read_job_file
    from toolkit_client.cli.spec_check import check_values

    file = read_job_file(name)
    spec = merged(file.spec, flags)
    check_values(file, spec)
    return spec
