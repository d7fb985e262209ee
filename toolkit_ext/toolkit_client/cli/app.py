"""The root command, and what becomes of its errors.

Exit codes: 0 done · 1 refused or failed · 2 wrong usage · 3 not signed in · 4 no permission · 5 not found ·
130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from toolkit_client.cli.lazy import LazyGroup
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import ToolkitError

__all__ = ["run", "toolkit"]

COMMANDS = {
    "job": ("toolkit_client.cli.job:job", "Submit, list, read and kill jobs (also: session)."),
    "login": ("toolkit_client.cli.login:login", "Sign in to a site and remember it."),
    "logout": ("toolkit_client.cli.login:logout", "Forget the token of a site."),
    "me": ("toolkit_client.cli.me:me", "Show who you are."),
    "user": ("toolkit_client.cli.user:user", "List and create users."),
}


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
        "\b\nExit codes:\n  0 done, 1 refused or failed, 2 wrong usage, 3 not signed in, 4 no permission,\n"
        "  5 not found, 130 interrupted by Ctrl-C."
    ),
)
@click.option("--profile", metavar="P", help="Which stored site and token to use (default: `default`).")
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
        "".join(arguments).encode()
        result = toolkit.main(arguments, prog_name="toolkit", standalone_mode=False)
    except click.UsageError as problem:
        path = problem.ctx.command_path if problem.ctx else "toolkit"
        return _fail(problem.format_message(), f"`{path} -h` shows what it takes", problem.exit_code)
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


def _fail(message: str, hint: str, code: int) -> int:
    print("error:", escape(message), file=sys.stderr)
    if hint:
        print("hint:", escape(hint), file=sys.stderr)
    return code
