"""The keys of a job's ssh server, and who may come in with which.

- The *host key* is made once for each container.
- `id_container` is a pair of keys in the home: made once, so that jobs that share a home share it.
- The user's own keys are those in ``.ssh/authorized_keys`` of the home, for which the data `.ssh` may be mounted.
- A *guest* is a set of public keys that one caller hands in for its own connections.

Several processes use these files: the job server, and those that begin connections (`exec_ssh`). Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolkit_ext.apps.places import RUNTIME, private_folder, session_environment

__all__ = ["LONGEST_KEYS", "KeyProblem", "SshKeys", "agent_socket", "public_keys"]

#: One line of a public key, without options: those could run programs.
PUBLIC_KEY = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9-]+@openssh\.com) ([A-Za-z0-9+/]+=*)( .*)?"
)
LONGEST_KEYS = 64 * 1024
#: Guests that are remembered; the oldest goes first.
MOST_GUESTS = 1000
#: Files of callers (`for_caller`) that stay; who comes again makes its own anew.
MOST_CALLERS = 200
_AGENT_NAME = re.compile(r"[A-Za-z0-9_-]{16,64}")
#: sshd sets these itself.
OWN_VARIABLES = frozenset({"HOME", "LOGNAME", "MAIL", "PWD", "OLDPWD", "SHELL", "SHLVL", "TERM", "USER", "_"})

CONFIG = """\
HostKey {folder}/host_key
SshdSessionPath {runtime}/base/libexec/sshd-session
SshdAuthPath {runtime}/base/libexec/sshd-auth
ModuliFile {runtime}/base/etc/moduli
AllowUsers toolkit work
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
Subsystem sftp internal-sftp
AllowTcpForwarding yes
AllowAgentForwarding yes
AllowStreamLocalForwarding yes
StreamLocalBindUnlink yes
PermitTTY yes
PrintMotd no
PrintLastLog no
LogLevel ERROR
LoginGraceTime 120
ClientAliveInterval 60
ClientAliveCountMax 60
MaxSessions 100
SetEnv {environment}
"""


class KeyProblem(Exception):
    """Why keys are not taken, in words for the caller."""


def public_keys(text: str) -> list[str]:
    """The keys of a list, one a line. Raises `KeyProblem` for anything else."""
    if len(text) > LONGEST_KEYS:
        raise KeyProblem(f"more than {LONGEST_KEYS} characters of keys")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    for line in lines:
        if not PUBLIC_KEY.fullmatch(line):
            raise KeyProblem(f"not a public key: {line[:60]!r}")
    return lines


class SshKeys:
    """The files that sshd reads, in a folder of the container's own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._folder = private_folder() / "ssh"
        self._guests: dict[str, Path] = {}
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Make what is missing and put the permissions of the user's own keys right. Blocks. Raises `OSError`.

        Cheap when there is nothing to do, as before every connection but the first.
        """
        with self._lock, self._alone():
            put_permissions_right(self._home / ".ssh")
            config = self._folder / "sshd_config"
            if not config.exists():
                make_key(self._folder / "host_key", "toolkit-job")
                write_whole(config, self._config({}))
            with contextlib.suppress(OSError):  # the home may be read-only
                self._allow_pair()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process makes these files meanwhile."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _config(self, extra: Mapping[str, str]) -> str:
        """sshd minds only the first `SetEnv`, so all variables stand in one."""
        return CONFIG.format(folder=self._folder, runtime=RUNTIME, environment=environment_words(extra))

    def _allow_pair(self) -> None:
        place, allowed = self._home / "id_container", self._folder / "authorized_keys"
        make_key(place, "id_container")
        place.chmod(0o600)
        status = place.stat()
        #: The file whose public half is allowed: its identity on the disk.
        identity = f"# {status.st_ino} {status.st_mtime_ns}\n"
        if not allowed.exists() or not allowed.read_text().startswith(identity):
            write_whole(allowed, identity + public_half(place))

    def host_key(self) -> str:
        """The public half, as ``ssh-ed25519 AAAA…``."""
        return " ".join((self._folder / "host_key.pub").read_text().split()[:2])

    def add_guest(self, text: str) -> str:
        """Take a caller's public keys; returns the name by which its connections refer to them. Raises `KeyProblem`."""
        keys = public_keys(text)
        name = secrets.token_urlsafe(16)
        place = self._folder / f"guest-{name}"
        place.write_text("".join(f"{line}\n" for line in keys))
        self._guests[name] = place
        while len(self._guests) > MOST_GUESTS:
            self.remove_guest(next(iter(self._guests)))
        return name

    def remove_guest(self, name: str) -> None:
        place = self._guests.pop(name, None)
        if place is not None:
            place.unlink(missing_ok=True)

    def command(self, guest: str = "") -> list[str]:
        """sshd for one connection, on its standard input and output."""
        return self._sshd(self._folder / "sshd_config", self._guests.get(guest))

    def for_caller(self, text: str, agent: str = "") -> list[str]:
        """The same for a caller that hands its public keys in with its connection; `agent` names the caller's own agent, whose
        socket its sessions are told (see `agent_socket`).

        Raises:
            KeyProblem: these are no keys, or this is no name.
            OSError: the files cannot be written.
        """
        keys = "".join(f"{line}\n" for line in public_keys(text))
        allowed = self._keep("keys", keys) if keys else None
        if not agent:
            return self._sshd(self._folder / "sshd_config", allowed)
        config = self._keep("config", self._config({"SSH_AUTH_SOCK": str(agent_socket(agent))}))
        return self._sshd(config, allowed)

    def _keep(self, kind: str, text: str) -> Path:
        """A caller's file, named by its content. The oldest ones go: each is read at the beginning of a connection only."""
        place = self._folder / f"caller-{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
        with self._lock, self._alone():
            if not place.exists():
                write_whole(place, text)
            os.utime(place)
            others = sorted(self._folder.glob("caller-*"), key=lambda path: path.stat().st_mtime_ns)
            for old in others[:-MOST_CALLERS]:
                old.unlink(missing_ok=True)
        return place

    def _sshd(self, config: Path, more: Path | None) -> list[str]:
        files = [self._folder / "authorized_keys", self._home / ".ssh/authorized_keys", *([more] if more else [])]
        allowed = " ".join(f'"{path}"' for path in files)
        return [f"{RUNTIME}/base/libexec/sshd", "-i", "-e", "-f", str(config), "-o", f"AuthorizedKeysFile={allowed}"]


def agent_socket(name: str) -> Path:
    """Where a caller's agent is, as long as the caller has it passed on (`agent_relay`). Raises `KeyProblem`."""
    if not _AGENT_NAME.fullmatch(name):
        raise KeyProblem(f"not the name of an agent: {name[:60]!r}")
    return private_folder() / f"agent-{name}"


def write_whole(place: Path, text: str) -> None:
    """So that an sshd that starts at this moment reads all of it."""
    fresh = place.with_name(f".{place.name}")
    fresh.write_text(text)
    fresh.replace(place)


def make_key(place: Path, comment: str) -> None:
    if place.exists():
        return
    words = [f"{RUNTIME}/base/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(place)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0 and not place.exists():
        raise OSError(0, f"no key could be made: {done.stderr.strip()[:200]}")


def public_half(place: Path) -> str:
    words = [f"{RUNTIME}/base/bin/ssh-keygen", "-y", "-P", "", "-f", str(place)]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout


def put_permissions_right(folder: Path) -> None:
    """As ssh itself wants them; uploaded data has others. What cannot be changed stays as it is."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for path in [folder, *(folder / name for name in names)]:
        with contextlib.suppress(OSError):
            if not path.is_symlink():
                open_to_all = path.suffix == ".pub" or path.name.startswith("known_hosts")
                path.chmod(0o700 if path.is_dir() else 0o644 if open_to_all else 0o600)


def environment_words(extra: Mapping[str, str]) -> str:
    """The job's environment in the words of `SetEnv`. A value of several lines has no form there and is left out."""
    variables = {**os.environ, **session_environment(), **extra}
    words = []
    for name, value in sorted(variables.items()):
        if name in OWN_VARIABLES or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or re.search(r"[\n\r\0]", value):
            continue
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        words.append(f'"{name}={escaped}"')
    return " ".join(words)
