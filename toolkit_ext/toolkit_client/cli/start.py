"""``toolkit start``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli import values
from toolkit_client.cli.job_logs import INTERRUPTED, WAITING, standing
from toolkit_client.cli.job_submit import CommandLast
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict

__all__ = ["start"]

#: What `-r` takes: names as Backend.AI and others have them, the key of the spec, and how a value is written.
RESOURCES: dict[str, tuple[str, Callable[..., Any]]] = {
    "cpu": ("cpu", values.cores),
    "cpus": ("cpu", values.cores),
    "mem": ("mem", values.gibibytes),
    "memory": ("mem", values.gibibytes),
    "gpu": ("gpu", values.number),
    "gpus": ("gpu", values.number),
    "gpuMem": ("gpuMem", values.gibibytes),
}
APPS_COLUMNS = ("name", "open", "about")


def resources(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, Any]:
    """The spec's resources, from ``cpu=2``, ``mem=4g`` and the like, which may also stand with commas between them."""
    found: dict[str, Any] = {}
    for word in [word for text in value for word in text.split(",")]:
        name, equals, amount = word.partition("=")
        if name not in RESOURCES or not equals:
            known = ", ".join(name for name, (key, _) in RESOURCES.items() if name == key)
            raise click.BadParameter(f"{word!r} is no resource: write NAME=AMOUNT, with {known}; as cpu=2 or mem=4g")
        key, read = RESOURCES[name]
        found[key] = read(context, parameter, amount)
    return found


@click.command(
    cls=CommandLast,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    epilog=examples(
        "toolkit start",
        "toolkit start -t mysession python",
        "toolkit start -t mysession -r cpu=2 -r mem=4g -m images -e SEED=1 python",
        "toolkit start --shareable --port 6006 registry.example.org/team/pytorch:2.5",
        'xdg-open "$(toolkit start)"',
    ),
)
@click.option("-t", "--name", metavar="NAME", help="A name that no living job of the account has.")
@click.option(
    "-r",
    "--resources",
    metavar="K=N",
    multiple=True,
    callback=resources,
    help="What it holds: cpu=2, mem=4g, gpu=1; repeatable. Default: 1 CPU and 1 GiB.",
)
@click.option(
    "-m",
    "--mount",
    "mounts",
    metavar="D[:/PATH]",
    multiple=True,
    callback=values.mounts,
    help="Mount data: NAME[@VERSION][/SUBPATH][:/PATH][:ro|:rw], at /home/work/NAME unless a path is given; repeatable.",
)
@click.option(
    "-e",
    "--env",
    "variables",
    metavar="K=V",
    multiple=True,
    callback=values.variables,
    help="A variable for all that runs in it; repeatable.",
)
@click.option(
    "--port",
    "ports",
    metavar="N[:public]",
    multiple=True,
    callback=values.ports,
    help="A port to serve beside 8080; `public`: to everybody, without a log-in. Repeatable.",
)
@click.option("--account", metavar="A", help="Account that owns it. Default: your home account.")
@click.option("--shareable", is_flag=True, help="It has no rights of yours inside, and may be shared with others.")
@click.option("--no-wait", is_flag=True, help="Print what there is to print at once, also while it waits in the queue.")
@click.argument("words", metavar="[IMAGE [CMD…]]", nargs=-1, type=click.UNPROCESSED)
@output_options(APPS_COLUMNS)
@click.pass_obj
def start(state: State, /, words: tuple[str, ...], no_wait: bool, output: Output, **given: Any) -> int:
    """Start an interactive job from IMAGE, and print what it serves and how you get there.

    It goes before other jobs, and you may have a few of them at a time. Without CMD nothing runs in it, not the image's own
    command either: it stays until `toolkit job kill NAME` ends it. The site has short names for images, as `python`. While the
    job waits in the queue the reason is told on stderr. With --no-wait the job's id is printed, and nothing else.

    Without IMAGE: your own server, which has your home; the one that runs if there is one. The address of its JupyterLab is
    printed.

    Ctrl-C ends only this command (exit code 130): the job goes on starting.
    """
    if not words:
        if any(given.values()):
            raise click.UsageError("which image? Write it after the options, as `toolkit start -t NAME python`")
        return _own_server(state, no_wait)
    spec = spec_of(state, words, given)
    job = state.client().raw(calls.submit_job(spec))
    shown = job["name"] or job["id"]
    if no_wait:
        click.echo(escape(job["id"]))
        return 0
    print(f"job {job['id']} is submitted; `toolkit job kill {shown}` ends it", file=sys.stderr)
    job = wait_until_running(state, job, "the job", f"`toolkit job logs {job['id']}` shows what it has said")
    if job is None:
        return INTERRUPTED
    apps = state.client().raw(calls.list_apps(job["id"]))["items"]
    output.show([{**app, "open": _how_to_open(shown, app)} for app in apps])
    return 0


def spec_of(state: State, words: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The spec of an interactive job; what was not given is left out."""
    spec = {
        "name": given["name"],
        "account": given["account"] or state.account,
        "image": words[0],
        "resources": given["resources"],
        "data": list(given["mounts"]),
        "environmentVars": list(given["variables"]),
        "ports": given["ports"],
        "shareable": given["shareable"],
    }
    kept = {key: value for key, value in spec.items() if value}
    # No command at all is another thing than none given, which would be the image's own.
    return {**kept, "command": list(words[1:]), "interactive": True}


def _how_to_open(job: str, app: dict[str, Any]) -> str:
    own_port = str(app["name"]).isdecimal()
    return str(app["address"]) if own_port else f"toolkit app {job} {app['name']}"


def _own_server(state: State, no_wait: bool) -> int:
    job = state.client().raw(calls.start_server())
    if not no_wait:
        job = wait_until_running(state, job, "your server", "`toolkit start` starts another one")
        if job is None:
            return INTERRUPTED
    click.echo(escape(job["labUrl"]))
    return 0


def wait_until_running(state: State, job: dict[str, Any], what: str, hint: str) -> dict[str, Any] | None:
    """The job when it runs, None after a Ctrl-C; tells each new reason for which it waits.

    Raises:
        Conflict: it has ended instead; `hint` says what to do then.
    """
    from toolkit_client.exchange import WaitPauses

    pauses, told = WaitPauses(job["id"], None), ""
    try:
        while job["state"] in WAITING:
            words = standing(job)
            if words != told:
                print(words, file=sys.stderr)
                told = words
            time.sleep(pauses.next())
            job = state.client().raw(calls.get_job(job["id"]))
    except KeyboardInterrupt:
        print(f"\n{what} goes on starting; `toolkit job kill {job['id']}` ends it", file=sys.stderr)
        return None
    if job["state"] != "RUNNING":
        raise Conflict(f"{what} has not started: {standing(job)}", hint)
    return job
