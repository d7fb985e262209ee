"""``toolkit job``: look at jobs and end them. Submitting and logs have modules of their own."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import JOB_COLUMNS, SUBMIT_COLUMNS, Output, output_options
from toolkit_client.cli.state import State

__all__ = ["get", "info", "job", "kill"]

HERE = "toolkit_client.cli.job"
COMMANDS = {
    "get": (f"{HERE}:get", "Show jobs."),
    "info": (f"{HERE}:info", "Show all that is known of a job, or its spec, as YAML."),
    "kill": (f"{HERE}:kill", "End jobs."),
    "logs": ("toolkit_client.cli.job_logs:logs", "Print a job's output, or follow it (also: log)."),
    "ls": ("toolkit_client.cli.job_list:ls", "List jobs."),
    "submit": ("toolkit_client.cli.job_submit:submit", "Submit a job (also: new)."),
}
SPEC_FIELDS = ("name", "account", "image", "command", "workdir", "environmentVars", "resources", "interactive")


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    aliases={"new": "submit", "log": "logs"},
    epilog=examples("toolkit job submit -- bash -c 'echo hello'", "toolkit job ls", "toolkit job logs -f"),
)
def job() -> None:
    """Submit, list, read and kill jobs.

    A job is named by its ID, its full name (acme.joe.train), or its bare name in your home account or in the one that
    `toolkit --account` gives.
    """


@click.command(epilog=examples("toolkit job get --last", "toolkit job get --field urn acme.joe.train"))
@click.argument("refs", metavar="ID…", nargs=-1)
@click.option("--last", is_flag=True, help="The newest job that you created.")
@output_options(JOB_COLUMNS)
@click.pass_obj
def get(state: State, refs: tuple[str, ...], last: bool, output: Output) -> None:
    """Show jobs, one a line."""
    client = state.client()
    output.show([client.raw(calls.get_job(ref)) for ref in _all_refs(state, refs, last)])


@click.command(epilog=examples("toolkit job kill --last", "toolkit job kill acme.joe.train"))
@click.argument("refs", metavar="ID…", nargs=-1)
@click.option("--last", is_flag=True, help="The newest job that you created.")
@output_options(SUBMIT_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def kill(state: State, refs: tuple[str, ...], last: bool, output: Output) -> None:
    """End jobs: their processes get SIGTERM, and SIGKILL a little later.

    The command does not wait for the end; the state goes from CANCELLING to CANCELLED. A job that has ended already
    is an error (exit code 1).
    """
    client = state.client()
    output.show([client.raw(calls.kill_job(ref)) for ref in _all_refs(state, refs, last)])


@click.command(epilog=examples("toolkit job info --last", "toolkit job info --job-spec acme.joe.train > job.yml"))
@click.argument("ref", metavar="ID", required=False)
@click.option("--last", is_flag=True, help="The newest job that you created.")
@click.option("--job-spec", is_flag=True, help="Only the spec, as it can be submitted again.")
@click.pass_obj
def info(state: State, ref: str | None, last: bool, job_spec: bool) -> None:
    """Show all that is known of a job as YAML: state, why, addresses, runs."""
    found = state.client().raw(calls.get_job(state.find_ref(ref, last)))
    shown = {key: found[key] for key in SPEC_FIELDS if found.get(key) not in (None, "", [])} if job_spec else found
    click.echo(as_yaml(shown), nl=False)


def as_yaml(value: Any) -> str:
    """YAML in the order of the keys. All but printable ASCII is escaped, so that no value acts on the terminal."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, default_flow_style=False, width=110)
    return text


def _all_refs(state: State, refs: tuple[str, ...], last: bool) -> list[str]:
    if not refs:
        return [state.find_ref(None, last)]
    return [state.find_ref(ref, last) for ref in refs]
