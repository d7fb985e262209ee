"""``toolkit ssh``."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_logs import INTERRUPTED, WAITING
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.problems import print_problem
from toolkit_client.cli.state import State
from toolkit_client.errors import InvalidRequest
from toolkit_client.exec.channel import run_url
from toolkit_client.exec.forward import patiently
from toolkit_client.exec.ssh import NO_SSH, SshStream, open_ssh, ssh_files

__all__ = ["ssh", "ssh_options_for"]

#: Exit code when there is no `ssh` on this machine.
NO_PROGRAM = 127
#: ssh's own options that pass through: those without a value, and those with one.
FLAGS = {
    "A": "Forward your ssh agent.",
    "a": "Do not forward it.",
    "C": "Compress.",
    "f": "Go to the background before the command runs.",
    "N": "No command: only forward ports.",
    "n": "No input.",
    "q": "Quiet.",
    "T": "No terminal.",
    "X": "Forward X11.",
    "Y": "Forward X11, trusted.",
}
COUNTS = {"t": "A terminal, also for a command; -tt: whatever stdin is.", "v": "Verbose; up to -vvv."}
VALUES = {
    "D": ("[HOST:]PORT", "Serve SOCKS there, by way of the job."),
    "E": ("FILE", "Append ssh's log to the file."),
    "e": ("CHARACTER", "Escape character."),
    "i": ("FILE", "Another key of yours."),
    "L": ("PORT:HOST:PORT", "A local port, or unix socket, that leads to one in the job."),
    "l": ("USER", "User in the job: `toolkit` (default) or `work`, two names of one."),
    "o": ("OPTION", "Any option, as in ssh's configuration."),
    "R": ("PORT:HOST:PORT", "A port, or unix socket, in the job that leads to one here."),
    "W": ("HOST:PORT", "Standard input and output as a connection to there."),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,250}")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SshCommand(click.Command):
    """``--tmux`` stands for ``--tmux=main``; click would take the next word for its value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = 0
        while place < len(args) and args[place].startswith("-") and args[place] != "--":
            if args[place] == "--tmux":
                args[place] = "--tmux=main"
            place += 2 if len(args[place]) == 2 and args[place][1] in VALUES else 1
        return super().parse_args(ctx, args)


def with_ssh_options(command: Callable[..., int]) -> Callable[..., int]:
    """ssh's options; their parameters are named ``ssh_X``."""
    for letter, (value, words) in reversed(VALUES.items()):
        command = click.option(f"-{letter}", f"ssh_{letter}", metavar=value, multiple=True, help=words)(command)
    for letter, words in reversed(COUNTS.items()):
        command = click.option(f"-{letter}", f"ssh_{letter}", count=True, help=words)(command)
    for letter, words in reversed(FLAGS.items()):
        command = click.option(f"-{letter}", f"ssh_{letter}", is_flag=True, help=words)(command)
    return command


@click.command(
    "ssh",
    cls=SshCommand,
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "toolkit ssh train",
        "toolkit ssh --last nvidia-smi",
        "toolkit ssh -A -L 6006:localhost:6006 train",
        "toolkit ssh --tmux train",
        "toolkit ssh config --write && ssh train.toolkit && scp model.pt train.toolkit:",
    ),
)
@click.argument("words", metavar="JOB [CMD…]", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_living_jobs)
@click.option("--last", is_flag=True, help="Into the newest job that you created; then there is no JOB.")
@click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")
@click.option(
    "--tmux",
    metavar="[=NAME]",
    help="Into a tmux session (`main`, as in the browser's terminal) that outlives this one.",
)
@click.option("--write", is_flag=True, help="With `config`: put it in place, and an Include into ~/.ssh/config.")
@click.option("--proxy", is_flag=True, hidden=True, help="Only the connection, on stdin and stdout.")
@click.option("--proxy-fd", is_flag=True, hidden=True, help="The same; an ssh with ProxyUseFdpass gets the socket.")
@with_ssh_options
@click.pass_obj
def ssh(
    state: State,
    /,
    words: tuple[str, ...],
    last: bool,
    wait: bool,
    tmux: str | None,
    write: bool,
    proxy: bool,
    proxy_fd: bool,
    **passed: Any,
) -> int:
    """A shell in a job that runs, or a command there, by this machine's OpenSSH.

    The job's host key is checked: it comes over the site, as your right to come in does (`job:exec`). No port is opened, and
    nothing is asked. Options of ssh pass through. The exit code is the command's; 255 is ssh's own, 127 also says that there is
    no ssh here.

    `toolkit ssh config` prints what ~/.ssh/config needs so that ssh, scp, sftp, rsync, VS Code and PyCharm know each job as
    JOB.toolkit; with --write it is put in place. (A job that is called `config` is reached by its full name.)
    """
    if words[:1] == ("config",) and not last and set(words[1:]) <= {"--write"}:
        from toolkit_client.cli.ssh_config import show_or_install

        return show_or_install(state, write=write or "--write" in words)
    if write:
        raise click.UsageError("--write belongs to `toolkit ssh config`")
    rest = list(words)
    ref = None if last else (rest.pop(0) if rest else None)
    user, ref = _user_of(ref)
    if proxy or proxy_fd:
        return _proxy(state, ref, give=proxy_fd)
    command = _command(rest, tmux)
    passed["ssh_t"] = passed["ssh_t"] or int(tmux is not None)
    passed["ssh_l"] = (user,) if user else passed["ssh_l"]
    try:
        return _become_ssh(state, _running(state, ref, last, wait), _passed(passed), command)
    except KeyboardInterrupt:
        return INTERRUPTED


def _user_of(ref: str | None) -> tuple[str, str | None]:
    """USER@JOB, as ssh has it."""
    user, at, rest = (ref or "").partition("@")
    return (user, rest) if at else ("", ref)


def _command(words: list[str], tmux: str | None) -> list[str]:
    if words[:1] == ["--"]:
        words = words[1:]
    if tmux is None:
        return words
    if not _SESSION.fullmatch(tmux):
        raise click.UsageError(f"a tmux session's name has letters, digits, - and _ only, not {tmux[:40]!r}")
    return ["/opt/toolkit/bin/tmux", "new-session", "-A", "-s", tmux, *words]


def _passed(options: dict[str, Any]) -> list[str]:
    found = []
    for name, value in options.items():
        letter = name.removeprefix("ssh_")
        if letter in VALUES:
            found += [word for each in value for word in (f"-{letter}", each)]
        elif value:
            found.append("-" + letter * int(value))
    return found


def _running(state: State, ref: str | None, last: bool, wait: bool) -> dict[str, Any]:
    """As `running_job`; a job that runs already is found without the API's whole client, whose start would take longer."""
    from toolkit_client.exec.lookup import ask
    from toolkit_client.transfer.connection import Interrupted

    found = state.signed_in()
    job: dict[str, Any] | None = None
    with contextlib.suppress(Interrupted):
        if last and ref is None:
            page = ask(found.url, found.token, calls.list_jobs(limit=1, mine=True, state="all"))
            job = page["items"][0] if page["items"] else None
        elif ref is not None:
            job = ask(found.url, found.token, calls.get_job(state.find_ref(ref, last)))
    if job is not None and job["alive"] and job["state"] not in WAITING:
        return job
    from toolkit_client.cli.job_exec import running_job

    return running_job(state, ref, last, wait=wait)


def _open(state: State, job: dict[str, Any], known_as: str) -> SshStream:
    """The connection, with what this machine's ssh needs to know of it written down."""
    profile = state.signed_in()
    files = ssh_files(profile.name)
    key = files.public_key()
    stream = patiently(lambda: open_ssh(run_url(job["labUrl"], "ssh"), profile.token, [key]))
    files.known_hosts(known_as, stream.host_key)
    return stream


def _become_ssh(state: State, job: dict[str, Any], options: list[str], command: list[str]) -> int:
    """This process goes on as ssh; returns only if there is none."""
    from toolkit_client.exec.ssh_proxy import offer_socket

    known_as = f"{job['name'] or job['id']}.toolkit"
    stream = _open(state, job, known_as)
    proxy = f"ProxyCommand={offer_socket(stream.channel)}"
    ours = [word for option in ssh_options_for(state, known_as) for word in ("-o", option.replace(" ", "=", 1))]
    words = ["ssh", *options, "-o", proxy, *ours, "--", known_as, *command]
    sys.stdout.flush()
    _default_signals()
    try:
        os.execvp(words[0], words)  # noqa: S606
    except OSError as problem:
        print_problem(f"`ssh` cannot be run on this machine: {problem.strerror}", NO_SSH)
        return NO_PROGRAM


def _default_signals() -> None:
    """Python ignores these, and what is executed would inherit that."""
    import signal

    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def ssh_options_for(state: State, known_as: str) -> list[str]:
    """Lines of ssh's configuration for one job, or for all with ``%n`` as `known_as`."""
    files = ssh_files(state.signed_in().name)
    return [
        "ProxyUseFdpass yes",
        "User toolkit",
        f"IdentityFile {_quoted(str(files.key))}",
        "IdentitiesOnly yes",
        "PreferredAuthentications publickey",
        f"UserKnownHostsFile {_quoted(str(files.folder / 'known_hosts'), '/' + known_as)}",
        "GlobalKnownHostsFile /dev/null",
        "StrictHostKeyChecking yes",
        "CheckHostIP no",
        "UpdateHostKeys no",
        "ServerAliveInterval 30",
        "ServerAliveCountMax 10",
    ]


def _quoted(path: str, rest: str = "") -> str:
    """A path in ssh's configuration, where % begins a token."""
    if any(character in path for character in '"\n'):
        raise InvalidRequest(f"ssh cannot use the folder {path!r}", "set XDG_CONFIG_HOME to one with a plainer name")
    return f'"{path.replace("%", "%%")}{rest}"'


def _proxy(state: State, ref: str | None, *, give: bool) -> int:
    """What a ProxyCommand is to do."""
    from toolkit_client.exec.ssh_proxy import carry_standard, give_socket, wants_socket

    if ref is None or not _NAME.fullmatch(ref):
        raise InvalidRequest(f"no job is called {ref or ''!r}", "`toolkit job ls` lists your jobs")
    name = ref.removesuffix(".toolkit").removesuffix(f".{state.signed_in().name}")
    stream = _open(state, _running(state, name, last=False, wait=False), ref)
    if give and wants_socket():
        give_socket(stream.channel)
    else:
        carry_standard(stream.channel)
    return 0


def toolkit_command(state: State) -> Sequence[str]:
    """How this program is started by others: by its whole path, with the profile."""
    program = os.path.abspath(sys.argv[0])
    words = (
        [program]
        if os.access(program, os.X_OK) and os.path.isfile(program)
        else [sys.executable, "-m", "toolkit_client.cli"]
    )
    return [*words, "--profile", state.signed_in().name]
