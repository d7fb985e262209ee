"""``toolkit ssh config``: each job as a host of this machine's OpenSSH."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import click

from toolkit_client.cli.ssh import ssh_options_for, toolkit_command
from toolkit_client.cli.state import State
from toolkit_client.errors import InvalidRequest
from toolkit_client.exec.ssh import NO_SSH, ssh_files, write_whole

__all__ = ["show_or_install"]

DEFAULT = "default"
_FIRST_LINES = "# Jobs of Toolkit, written by `toolkit ssh config --write`.\n"


def show_or_install(state: State, *, write: bool) -> int:
    """Print the block, or put it into a file of ours that ~/.ssh/config includes."""
    profile = state.signed_in()
    if os.environ.get("TOOLKIT_TOKEN"):
        print(
            "note: TOOLKIT_TOKEN is known in this shell only; `toolkit login` lets ssh find you from everywhere",
            file=sys.stderr,
        )
    pattern = _pattern(profile.name)
    block = _block(state, pattern)
    if not write:
        click.echo(block, nl=False)
        return 0
    if shutil.which("ssh") is None:
        print(f"note: there is no ssh on this machine yet: {NO_SSH}", file=sys.stderr)
    files = ssh_files(profile.name)
    files.public_key()
    folder = files.folder.parent / "hosts"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # ssh takes the first value that it finds, so those with longer names come first.
        write_whole(folder / f"{'2' if profile.name == DEFAULT else '1'}-{files.folder.name}", _FIRST_LINES + block)
        changed = _include(Path.home() / ".ssh" / "config", f'Include "{folder}/*"')
    except OSError as problem:
        raise InvalidRequest(
            f"cannot write {problem.filename or folder}: {problem.strerror}",
            "`toolkit ssh config` prints what it needs",
        ) from problem
    words = "now includes" if changed else "includes already"
    print(f"~/.ssh/config {words} the jobs of profile {profile.name}: ssh JOB{pattern[1:]}", file=sys.stderr)
    return 0


def _pattern(profile: str) -> str:
    if profile == DEFAULT:
        return "*.toolkit"
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", profile):
        raise InvalidRequest(f"a profile called {profile!r} cannot be part of a host's name", "give it a plainer name")
    return f"*.{profile}.toolkit"


def _block(state: State, pattern: str) -> str:
    command = shlex.join(toolkit_command(state)).replace("%", "%%")
    lines = [f"ProxyCommand {command} ssh --proxy-fd %n", *ssh_options_for(state, "%n")]
    return f"Host {pattern}\n" + "".join(f"    {line}\n" for line in lines)


def _include(config: Path, line: str) -> bool:
    """Have the line at the beginning of the file, where it counts for all hosts; False if it is there. Whatever else the file
    has stays, byte by byte, and so do its mode and, where it is a link, the link. Raises `OSError`."""
    config.parent.mkdir(mode=0o700, exist_ok=True)
    place = config.resolve()
    before, mode = b"", 0o600
    if place.exists():
        before, mode = place.read_bytes(), place.stat().st_mode & 0o777
    if line.encode() in (each.strip() for each in before.splitlines()):
        return False
    fresh = place.with_name(f".{place.name}-toolkit-{os.getpid()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_FIRST_LINES.encode() + line.encode() + b"\n\n" + before)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(fresh, mode)
        os.replace(fresh, place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return True
