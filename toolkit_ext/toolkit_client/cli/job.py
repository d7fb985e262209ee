"""``toolkit job``: look at jobs and end them. Submitting, changing and logs have modules of their own."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_jobs, complete_living_jobs
from toolkit_client.cli.job_args import one_job, several_jobs
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import JOB_COLUMNS, SUBMIT_COLUMNS, Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["SPEC_FIELDS", "get", "info", "job", "kill"]

HERE = "toolkit_client.cli.job"
COMMANDS = {
    "download": ("toolkit_client.cli.job_files:download", "Fetch files and folders of a job that runs."),
    "exec": ("toolkit_client.cli.job_exec:exec_", "Run a command in a job that runs."),
    "get": (f"{HERE}:get", "Show jobs."),
    "info": (f"{HERE}:info", "Show all that is known of a job, or its spec, as YAML."),
    "kill": (f"{HERE}:kill", "End jobs."),
    "logs": ("toolkit_client.cli.job_logs:logs", "Print a job's output, or follow it (also: log)."),
    "ls": ("toolkit_client.cli.job_list:ls", "List jobs, or what a folder of a job holds."),
    "port-forward": (
        "toolkit_client.cli.job_forward:port_forward",
        "Reach a job's TCP ports at ports of this machine.",
    ),
    "retry": ("toolkit_client.cli.job_change:retry", "Submit the specs of ended jobs again."),
    "set": ("toolkit_client.cli.job_change:set_", "Change the name, tags, bid or time limit of living jobs."),
    "top": ("toolkit_client.cli.job_top:top", "Show what running jobs use: CPU, memory, I/O, GPUs."),
    "submit": ("toolkit_client.cli.job_submit:submit", "Submit a job (also: new)."),
    "upload": ("toolkit_client.cli.job_files:upload", "Send files and folders to a job that runs."),
    "why": ("toolkit_client.cli.job_why:why", "Say why a job waits, and what would start it now."),
    "tree": ("toolkit_client.cli.job_tree:tree", "Show a job and all that it has submitted."),
}
#: The keys of a job that make up its spec, in the order in which people write them.
SPEC_FIELDS = (
    "name",
    "account",
    "image",
    "command",
    "workdir",
    "environmentVars",
    "data",
    "role",
    "resources",
    "ports",
    "interactive",
    "shareable",
    "preemptable",
    "restartable",
    "maxRunTime",
    "bid",
    "after",
    "array",
    "detach",
    "tags",
    "options",
)


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    aliases={"new": "submit", "log": "logs"},
    epilog=examples("toolkit job submit -- bash -c 'echo hello'", "toolkit job ls", "toolkit job logs -f"),
)
def job() -> None:
    """Submit, list, read, change and kill jobs.

    A job is named by its ID, its full name (acme.joe.train), or its bare name in your home account or in the one that
    `toolkit --account` gives; a job of an array also by the array and its index (sweep:3). Of several jobs, one that fails
    does not stop the others; the exit code tells of it.
    """


@click.command(
    epilog=examples(
        "toolkit job get --last",
        "toolkit job get --field urn acme.joe.train",
        "toolkit job get train --fields state,stateInfo,resources.mem,runs.0.exitCode",
    )
)
@several_jobs(complete_jobs)
@output_options(JOB_COLUMNS)
@click.pass_obj
def get(state: State, refs: tuple[str, ...], last: bool, output: Output) -> int:
    """Show jobs, one a line."""
    client = state.client()
    found, code = for_each(state.find_refs(refs, last), lambda ref: client.raw(calls.get_job(ref)))
    if found:
        output.show(found)
    return code


@click.command(
    epilog=examples(
        "toolkit job kill --last",
        "toolkit job kill acme.joe.train train-2 sweep:3",
        "toolkit job ls --tag sweep=7 --state alive --no-header --fields id | xargs toolkit job kill",
    )
)
@several_jobs(complete_living_jobs)
@output_options(SUBMIT_COLUMNS, blank=frozenset({"name"}))
@click.pass_obj
def kill(state: State, refs: tuple[str, ...], last: bool, output: Output) -> int:
    """End jobs: their processes get SIGTERM, and SIGKILL a little later.

    The command does not wait for the end; the state goes from CANCELLING to CANCELLED. A job that has ended already
    is an error (exit code 1). Of an array all jobs end. What a job has submitted ends with it, but for what was submitted
    with --detach; stderr says how many jobs that are.
    """
    client = state.client()
    killed, code = for_each(state.find_refs(refs, last), lambda ref: client.raw(calls.kill_job(ref)))
    if killed:
        output.show(killed)
    for one in killed:
        if one.get("killed", 1) > 1:
            what = "jobs of the array and of their families" if one["kind"] == "array" else "jobs, with its family,"
            click.echo(escape(f"{one['name'] or one['id']}: {one['killed']} {what} end"), err=True)
    return code


@click.command(epilog=examples("toolkit job info --last", "toolkit job info --job-spec acme.joe.train > job.yml"))
@one_job(complete_jobs)
@click.option("--job-spec", is_flag=True, help="Only the spec, as `job submit -f` takes it.")
@click.pass_obj
def info(state: State, ref: str | None, last: bool, job_spec: bool) -> None:
    """Show all that is known of a job as YAML: state, why, addresses, runs, and what it uses (last reading and peak)."""
    found = state.client().raw(calls.get_job(state.find_ref(ref, last)))
    shown = _given({key: found.get(key) for key in SPEC_FIELDS}) if job_spec else found
    click.echo(as_yaml(shown), nl=False)


def _given(value: Any) -> Any:
    """A spec without what is empty; but no command at all is a command of its own kind."""
    if isinstance(value, dict):
        kept = {key: _given(item) for key, item in value.items()}
        return {
            key: item for key, item in kept.items() if item not in (None, "", [], {}) or (key, item) == ("command", [])
        }
    return [_given(item) for item in value] if isinstance(value, list) else value


def as_yaml(value: Any) -> str:
    """YAML in the order of the keys. All but printable ASCII is escaped, so that no value acts on the terminal."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, default_flow_style=False, width=110)
    return text
