"""One user of the running site with a machine of their own: a home folder, a stored profile, OpenSSH's clients."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.running_site import RunningSite, wait_until

__all__ = ["TOOLKIT", "SshUser"]

TOOLKIT = str(Path(sys.executable).with_name("toolkit"))


class SshUser:
    """The user `name`; their home is `folder`, which ssh itself does not know: it takes the system's word for where home is."""

    def __init__(self, site: RunningSite, name: str, folder: Path) -> None:
        self.site, self.name, self.home = site, name, folder
        self.environment = {
            **{key: value for key, value in site.environment.items() if not key.startswith("SSH_")},
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / ".config"),
            "TOOLKIT_URL": site.url,
            "TOOLKIT_TOKEN": site.token(name),
        }
        self.files = folder / ".config/toolkit/ssh/default"
        self.config = folder / ".ssh/config"

    def run(self, *words: str, code: int = 0, data: bytes = b"", **extra: str) -> str:
        """A program of this machine; its output as text."""
        done = self.done(*words, data=data, **extra)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout.decode()

    def done(self, *words: str, data: bytes = b"", **extra: str) -> subprocess.CompletedProcess[bytes]:
        environment = {**self.environment, **extra}
        return subprocess.run(words, env=environment, input=data, capture_output=True, timeout=60, check=False)

    def toolkit(self, *words: str, code: int = 0, data: bytes = b"", **extra: str) -> str:
        return self.run(TOOLKIT, *words, code=code, data=data, **extra)

    def refused(self, *words: str, code: int) -> str:
        """What `toolkit` says on stderr when it ends with that code."""
        done = self.done(TOOLKIT, *words)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stderr.decode()

    def ssh(self, *words: str, **options: Any) -> str:
        """ssh by the configuration that `toolkit ssh config` has written."""
        return self.run("ssh", "-F", str(self.config), *words, **options)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(words, env=options.pop("env", self.environment), **options)

    def job(self, *command: str, **spec: Any) -> str:
        """A running job of the user's; `sleep` unless told."""
        made = self.site.submit(*(command or ("sleep", "infinity")), user=self.name, **spec).id
        self.site.wait_state(made, "RUNNING", user=self.name)
        return made

    def kill(self, job: str) -> None:
        with self.site.client(self.name) as client:
            client.jobs.kill(job)

    def key(self, name: str = "key") -> Path:
        place = self.home / name
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}-of-{self.name}", "-f", str(place))
        return place

    @contextmanager
    def agent(self, *keys: Path) -> Iterator[str]:
        """An ssh agent with these keys; gives its socket."""
        place = self.home / f"agent-{os.urandom(3).hex()}"
        agent = self.start("ssh-agent", "-D", "-a", str(place))
        try:
            wait_until(place.exists, "the agent's socket")
            for key in keys:
                self.run("ssh-add", "-q", str(key), SSH_AUTH_SOCK=str(place))
            yield str(place)
        finally:
            agent.kill()
            agent.wait()

    @contextmanager
    def forward(self, *words: str, **extra: str) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
        """``toolkit job port-forward``; gives the process, the port, and what it said first of the ssh server."""
        process = self.start(TOOLKIT, "job", "port-forward", *words, env={**self.environment, **extra})
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline().decode()
            told = "" if not line else (process.stderr.readline() + process.stderr.readline()).decode()
            yield process, int(line.rpartition(":")[2] or 0), told
        finally:
            process.kill()
            process.wait()
