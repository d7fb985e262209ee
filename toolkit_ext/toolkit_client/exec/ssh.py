"""A connection to a job's ssh server, and what OpenSSH on this machine needs for it: a key of ours, and the job's host key.

Both ends know each other by the site: this one shows its public keys and learns the host key over a stream that the gate has
authenticated, before ssh says a word. So no host key is ever taken on trust.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.exec.channel import SSH_PROTOCOL, Channel, open_channel
from toolkit_client.profiles import config_path
from toolkit_client.transfer.connection import Interrupted

__all__ = ["NO_SSH", "SshFiles", "SshStream", "open_ssh", "ssh_files"]

#: Seconds for the job's answer: it may have to make its keys first.
ANSWER_S = 30.0
#: Jobs whose host keys are kept. Each visit fetches the key anew, so none is missed.
MOST_HOSTS = 1000
#: What is said where this machine has no OpenSSH.
NO_SSH = "install OpenSSH's client (Debian: apt-get install openssh-client)"
_HOST_KEY = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/=]{1,8192}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class SshStream(NamedTuple):
    """What comes next on the channel is the ssh server's first word."""

    channel: Channel
    host_key: str


def open_ssh(url: str, token: str, keys: Sequence[str], agent: str = "") -> SshStream:
    """Connect with the ssh server at `url`; whoever has one of the public `keys` may come in by this connection.

    `agent` names an agent that is passed on to the job meanwhile, see `ssh_agent`.

    Raises:
        ToolkitError: the gate or the job refused it.
        Interrupted: the gate, or what is behind it, is away.
    """
    channel = open_channel(url, token, SSH_PROTOCOL)
    try:
        asked = json.dumps({"keys": list(keys), "agent": agent}).encode() + b"\n"
        return SshStream(channel, _host_key(channel.exchange(asked, ANSWER_S)))
    except OSError as problem:
        channel.close()
        told = str(problem) or type(problem).__name__
        raise Interrupted(f"the job's ssh server does not answer: {told}", "try again in a moment") from problem
    except BaseException:
        channel.close()
        raise


def _host_key(answer: bytes) -> str:
    try:
        fields = json.loads(answer)
        problem, key = str(fields.get("problem") or ""), str(fields.get("host_key"))
    except (ValueError, AttributeError):
        problem, key = "what answers is not the toolkit's", ""
    if problem or not _HOST_KEY.fullmatch(key):
        raise Conflict(
            f"no ssh server could be started in this job: {problem or 'it has no host key'}",
            "`toolkit job exec` works without one",
        )
    return key


class SshFiles:
    """Our files for ssh, in a folder of one profile's own, next to the profile file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "id_ed25519"

    def public_key(self) -> str:
        """The public half of our own key, which is made at the first use.

        Raises:
            InvalidRequest: the folder cannot be written, or there is no `ssh-keygen`.
        """
        public = self.key.with_suffix(".pub")
        try:
            return public.read_text().strip()
        except FileNotFoundError:
            pass
        except OSError as problem:
            raise _unusable(public, problem) from problem
        try:
            self._make_key(public)
            return public.read_text().strip()
        except FileNotFoundError as problem:
            raise InvalidRequest("there is no program `ssh-keygen` on this machine", NO_SSH) from problem
        except OSError as problem:
            raise _unusable(public, problem) from problem

    def _make_key(self, public: Path) -> None:
        """The private half last but one, the public half last: who sees that has both."""
        import subprocess

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.folder / f".new-{os.getpid()}"
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "toolkit", "-f", str(fresh)]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(0, f"ssh-keygen: {done.stderr.strip()[:200]}")
        try:
            os.link(fresh, self.key)
            os.replace(fresh.with_suffix(".pub"), public)
        except FileExistsError:  # another process was quicker; a key without its other half gets it back
            words = ["ssh-keygen", "-y", "-P", "", "-f", str(self.key)]
            again = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if not public.exists():
                write_whole(public, again.stdout)
        finally:
            fresh.unlink(missing_ok=True)
            fresh.with_suffix(".pub").unlink(missing_ok=True)

    def known_hosts(self, name: str, host_key: str, hosts: str = "*") -> Path:
        """The file by which ssh knows the job that is called `name`; up to date when this returns.

        Raises:
            InvalidRequest: the folder cannot be written.
        """
        place = self.folder / "known_hosts" / name
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            line = f"{hosts} {host_key}\n"
            if not place.exists():
                _make_room(place.parent)
            if not place.exists() or place.read_text() != line:
                write_whole(place, line)
        except OSError as problem:
            raise _unusable(place, problem) from problem
        return place


def _make_room(folder: Path) -> None:
    """Jobs come and go: the files of those that were visited first are removed."""
    with contextlib.suppress(OSError):  # another process does the same
        found = sorted((path.stat().st_mtime_ns, path) for path in folder.glob("[!.]*"))
        for _, path in found[:-MOST_HOSTS]:
            path.unlink(missing_ok=True)


def ssh_files(profile: str) -> SshFiles:
    """Of the profile of that name."""
    plain = profile if _PLAIN.fullmatch(profile) else f"={profile.encode().hex()[:120]}"
    return SshFiles(config_path().parent / "ssh" / plain)


def write_whole(place: Path, text: str, mode: int = 0o600) -> None:
    """So that nobody reads half of it. Raises `OSError`."""
    fresh = place.with_name(f".{place.name[:100]}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(fresh, place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _unusable(path: Path, problem: OSError) -> InvalidRequest:
    return InvalidRequest(
        f"cannot use {path}: {problem.strerror or problem}",
        "it must belong to you; free the disk or fix the folder's owner, or set XDG_CONFIG_HOME to another place",
    )
