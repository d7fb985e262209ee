"""``toolkit job submit``."""

from __future__ import annotations

import math
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import SUBMIT_COLUMNS, Output, output_options
from toolkit_client.cli.state import State

__all__ = ["submit"]

#: GiB in one of each unit.
UNITS = {"k": 1 / 1024**2, "m": 1 / 1024, "g": 1.0, "t": 1024.0}


def _gibibytes(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """A size in GiB: a plain number, or one with a unit as ``512m`` or ``4g``."""
    if value is None:
        return None
    text = value.strip().lower().removesuffix("b").removesuffix("i")
    unit = UNITS.get(text[-1:])
    try:
        return _finite(text) if unit is None else _finite(text[:-1]) * unit
    except ValueError:
        problem = f"{value!r} is no size: write GiB as a plain number, or a unit as in 512m or 4g"
        raise click.BadParameter(problem) from None


def _cores(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return _finite(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no number of cores: write it as 2 or 0.5") from None


def _finite(text: str) -> float:
    """A number that JSON can carry; raises ValueError for anything else."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


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
        "toolkit job submit --follow --exit-code -- make test",
    ),
)
@click.option("-i", "--image", metavar="IMAGE", help="Container image; default: the site's.")
@click.option("--name", metavar="NAME", help="A name that no living job of the account has.")
@click.option("--account", metavar="A", help="Account that owns the job; default: your home account.")
@click.option("--cpu", metavar="N", callback=_cores, help="CPUs, in cores; fractions are allowed. Default: 1.")
@click.option("--mem", metavar="SIZE", callback=_gibibytes, help="Memory in GiB, or as 512m or 4g. Default: 1.")
@click.option("-e", "--env", "variables", metavar="K=V", multiple=True, help="A variable for the command; repeatable.")
@click.option("--workdir", metavar="PATH", help="Folder in the container to start in; default: the image's.")
@click.option("-I", "--interactive", is_flag=True, help="Goes before other jobs; limited in number per user.")
@click.option("--follow", is_flag=True, help="Then print the job's output until its end, as `job logs -f` does.")
@click.option("--exit-code", is_flag=True, help="With --follow: exit with the job's own exit code.")
@click.argument("command", metavar="[--] [CMD…]", nargs=-1, type=click.UNPROCESSED)
@output_options(SUBMIT_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def submit(state: State, /, follow: bool, exit_code: bool, output: Output, **given: Any) -> int:
    """Submit a job that runs CMD in a container.

    Options end at the first word of CMD. Without CMD the image's own command runs. The new job is printed on stdout;
    with --follow on stderr, so that stdout has the command's output and nothing else.
    """
    if exit_code and not follow:
        raise click.UsageError("--exit-code needs --follow: the code is known when the job has ended")
    job = state.client().raw(calls.submit_job(_spec(account=given.pop("account") or state.account, **given)))
    output.show([job], err=follow)
    if not follow:
        return 0
    # Kept apart, for a plain submission never reads a log.
    from toolkit_client.cli.job_logs import follow_to_end

    return follow_to_end(state, str(job["id"]), exit_code=exit_code)


def _spec(
    *,
    image: str | None,
    name: str | None,
    account: str | None,
    cpu: float | None,
    mem: float | None,
    variables: tuple[str, ...],
    workdir: str | None,
    interactive: bool,
    command: tuple[str, ...],
) -> dict[str, Any]:
    """The job spec as JSON; what was not given is left to the service."""
    for variable in variables:
        if "=" not in variable:
            raise click.UsageError(f"--env takes NAME=value; not {variable!r}")
    resources = {"cpu": cpu, "mem": mem}
    spec: dict[str, Any] = {
        "image": image,
        "name": name,
        "account": account,
        "workdir": workdir,
        "command": list(command) or None,
        "environmentVars": list(variables) or None,
        "resources": {key: value for key, value in resources.items() if value is not None} or None,
        "interactive": interactive or None,
    }
    return {key: value for key, value in spec.items() if value is not None}
