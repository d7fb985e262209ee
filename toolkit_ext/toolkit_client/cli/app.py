"""The root command, and what becomes of its errors."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from toolkit_client.cli.complete import complete_profiles
from toolkit_client.cli.lazy import LazyGroup
from toolkit_client.cli.problems import print_problem
from toolkit_client.cli.state import State
from toolkit_client.errors import ToolkitError

__all__ = ["EXIT_CODES", "run", "toolkit"]

EXIT_CODES = {
    0: "done",
    1: "refused or failed",
    2: "wrong usage or a bad spec",
    3: "not signed in",
    4: "no permission",
    5: "not found",
    130: "interrupted by Ctrl-C",
}

COMMANDS = {
    "account": ("toolkit_client.cli.account:account", "Create, list and change accounts, and say who may use them."),
    "admin": ("toolkit_client.cli.admin:admin", "Check a site (doctor) and clean it up (gc)."),
    "app": ("toolkit_client.cli.job_apps:app", "Reach an app of a job: notebook, terminal, VS Code, ssh, ports."),
    "apps": ("toolkit_client.cli.job_apps:apps", "List what a job serves."),
    "audit": ("toolkit_client.cli.audit:audit", "Read what was done, and what was refused."),
    "completion": ("toolkit_client.cli.completion:completion", "Print a script for your shell's completion."),
    "data": ("toolkit_client.cli.data:data", "Create, fill, list, read and share data (also: vfolder)."),
    "events": ("toolkit_client.cli.events:events", "Follow what happens."),
    "gpu": ("toolkit_client.cli.gpu:gpu", "Show the site's GPUs, and who has them."),
    "job": ("toolkit_client.cli.job:job", "Submit, list, read, change and kill jobs (also: session)."),
    "lock": ("toolkit_client.cli.lock:lock", "Stop a user, role, key or job at once."),
    "login": ("toolkit_client.cli.login:login", "Sign in to a site and remember it."),
    "logout": ("toolkit_client.cli.login:logout", "Sign out of a site."),
    "me": ("toolkit_client.cli.me:me", "Show who you are."),
    "organization": ("toolkit_client.cli.organization:organization", "Show the organization and its roles."),
    "ps": ("toolkit_client.cli.job_list:ps", "List your jobs that have not ended."),
    "queue": ("toolkit_client.cli.queue:queue", "Show what there is, what is held, and who waits."),
    "quota": ("toolkit_client.cli.quota:quota", "Show and set what accounts, users and the organization may take."),
    "role": ("toolkit_client.cli.role:role", "Create and change roles, their members, policies and keys."),
    "rule": ("toolkit_client.cli.rule:rule", "Ask who may do what, and why."),
    "ssh": ("toolkit_client.cli.ssh:ssh", "A shell in a job by ssh; jobs as hosts for ssh, VS Code and others."),
    "start": ("toolkit_client.cli.start:start", "Start an interactive job, or your own server: JupyterLab."),
    "team": ("toolkit_client.cli.team:team", "Create and change teams and their members."),
    "unlock": ("toolkit_client.cli.lock:unlock", "Take a lock away."),
    "usage": ("toolkit_client.cli.usage:usage", "Show how many hours of GPUs, CPUs and memory were given out."),
    "user": ("toolkit_client.cli.user:user", "List, create and change users."),
    "vfolder": ("toolkit_client.cli.vfolder:vfolder", "Other names of commands for data."),
}
#: Commands of `job` that take names of files, or the words of a command.
BYTES_OF_JOBS = frozenset({"exec", "upload", "download"})


@click.group(
    "toolkit",
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    aliases={"session": "job"},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=(
        "\b\nExample:\n  toolkit login --url http://127.0.0.1:8000 --token @.toolkit/admin-token\n"
        "  toolkit job submit -- bash -c 'echo hello'\n  toolkit job logs -f\n"
        "\b\nEnvironment:\n  TOOLKIT_URL, TOOLKIT_TOKEN, TOOLKIT_PROFILE go before the stored profile.\n"
        "\b\nExit codes:\n"
        + "".join(f"  {code:<4} {meaning}\n" for code, meaning in EXIT_CODES.items())
        + "  With --exit-code, `job logs -f` and `job submit --follow` exit with the job's own."
    ),
)
@click.option(
    "--profile",
    metavar="P",
    shell_complete=complete_profiles,
    help="Which stored site and token to use (default: `default`).",
)
@click.option("--account", metavar="A", help="Account to work in, id or full name (default: your home account).")
@click.version_option(package_name="jupyterhub-toolkit", prog_name="toolkit", message="%(prog)s %(version)s")
@click.pass_context
def toolkit(context: click.Context, profile: str | None, account: str | None) -> None:
    """GPU jobs for research groups: submit containers, watch them, open them."""
    context.obj = State(profile, account)
    context.call_on_close(context.obj.close)


def run(arguments: list[str]) -> int:
    """Runs the command line; gives the exit code. Errors go to stderr as ``error: …`` and ``hint: …``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name that the terminal's encoding lacks must not end the command half-way.
            stream.reconfigure(errors="backslashreplace")
    try:
        if not _takes_bytes(arguments):
            "".join(arguments).encode()
        result = toolkit.main(arguments, prog_name="toolkit", standalone_mode=False)
    except click.UsageError as problem:
        path = problem.ctx.command_path if problem.ctx else "toolkit"
        return _fail(problem.format_message(), _long_dash(arguments) or f"`{path} -h` shows what it takes", 2)
    except click.ClickException as problem:
        return _fail(problem.format_message(), "", problem.exit_code)
    except click.Abort:
        return 130
    except UnicodeEncodeError:
        # Python keeps such bytes of the command line as lone surrogates, which nothing can send.
        return _fail("the command line has bytes that are not UTF-8", "write them in an escaped form", 2)
    except ToolkitError as problem:
        return _fail(problem.message, problem.hint, problem.exit_code)
    return result if isinstance(result, int) else 0


def _takes_bytes(arguments: list[str]) -> bool:
    """Whether the command takes names of files, or the words of a command, which may be any bytes."""
    nouns = [word for word in arguments[:8] if word in COMMANDS or word in ("session", *BYTES_OF_JOBS)]
    if nouns[:1] in (["job"], ["session"]):
        return bool(BYTES_OF_JOBS.intersection(nouns[1:2]))
    return nouns[:1] in (["data"], ["vfolder"], ["ssh"])


def _long_dash(arguments: list[str]) -> str:
    """What to say of an option whose hyphens a word processor has made into one long dash."""
    found = next((word for word in arguments if word[:1] in ("\u2013", "\u2014") and word[1:2].isalpha()), None)
    return "" if found is None else f"{found} begins with a long dash: write --{found[1:]}"


def _fail(message: str, hint: str, code: int) -> int:
    print_problem(message, hint)
    return code
