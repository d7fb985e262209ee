"""ssh into jobs, beside ssh straight to the same server: a listening one in the same container, without gate or forwarding."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.rows import Row, rate_row, ratio_row
from tests.support.running_site import RunningSite, wait_until
from toolkit_hub.host.packages import RSYNC, SSH_CLIENT, ensure_packages

GIB = 2**30
TRANSFERS, LOGINS = 3, 30
TOOLKIT = str(Path(sys.executable).with_name("toolkit"))
#: The server of the job's own files, listening. Port 2222 of the container; nothing else of the site leads there.
LISTEN = (
    "exec /opt/toolkit/base/libexec/sshd -D -e -f /dev/shm/toolkit/ssh/sshd_config -p 2222"
    " -o AuthorizedKeysFile=$HOME/bench_keys"
)


class Bench:
    """A job, a server in it that listens, and the words of clients for both ways."""

    def __init__(self, site: RunningSite, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.environment = {
            **{name: value for name, value in site.environment.items() if name != "SSH_AUTH_SOCK"},
            "XDG_CONFIG_HOME": str(folder / "config"),
            "TOOLKIT_URL": site.url,
            "TOOLKIT_TOKEN": site.token(),
        }
        self.job = site.submit("sleep", "infinity", name="bench-ssh").id
        site.wait_state(self.job, "RUNNING")
        self.run(TOOLKIT, "ssh", "bench-ssh", "true")  # makes all keys
        files = folder / "config/toolkit/ssh/default"
        self.key, self.known = files / "id_ed25519", files / "known_hosts"
        public = self.key.with_suffix(".pub").read_text()
        command = f"cat > bench_keys; ({LISTEN}) < /dev/null > /dev/null 2>&1 &"
        self.run(TOOLKIT, "job", "exec", "bench-ssh", "--", "sh", "-c", command, data=public)
        self.address = next(found.ip for found in site.containers() if found.ip)

    def options(self, known: str, port: int) -> list[str]:
        options = [f"IdentityFile={self.key}", "IdentitiesOnly=yes", f"UserKnownHostsFile={self.known / known}"]
        options += ["StrictHostKeyChecking=yes", f"Port={port}", "PreferredAuthentications=publickey"]
        return ["-F", "none", *(word for option in options for word in ("-o", option))]

    @property
    def straight(self) -> list[str]:
        return self.options("bench-ssh.toolkit", 2222)

    def run(self, *words: str, data: str = "") -> float:
        """Seconds that a program takes; it has to end well."""
        begin = time.perf_counter()
        done = subprocess.run(words, env=self.environment, input=data, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        assert done.returncode == 0, f"{words}: {done.stderr[-500:]}"
        return seconds


@contextmanager
def bench(site: RunningSite) -> Iterator[Bench]:
    ensure_packages((SSH_CLIENT, RSYNC), print)
    with tempfile.TemporaryDirectory(prefix="toolkit-bench-ssh-") as folder:
        made = Bench(site, Path(folder))
        wait_until(
            lambda: (
                subprocess.run(
                    ["ssh", *made.straight, f"toolkit@{made.address}", "true"], capture_output=True, check=False
                ).returncode
                == 0
            ),
            "the server that listens",
        )
        try:
            yield made
        finally:
            with site.client() as client:
                client.jobs.kill(made.job)
                client.jobs.wait(made.job)


def login(site: RunningSite) -> Row:
    """`toolkit ssh JOB true` beside `ssh … true`, whole processes, in turn."""
    with bench(site) as made:
        line = ["ssh", *made.straight, f"toolkit@{made.address}", "true"]
        pairs = [(made.run(TOOLKIT, "ssh", "bench-ssh", "true"), made.run(*line)) for _ in range(LOGINS)]
    return ratio_row("toolkit ssh JOB true", [ours for ours, _ in pairs], [theirs for _, theirs in pairs], 2.5)


def sftp_down(site: RunningSite) -> Row:
    return _sftp(site, "1 GiB down by sftp through a forwarding", lambda here: "get big /dev/null\n")


def sftp_up(site: RunningSite) -> Row:
    return _sftp(site, "1 GiB up by sftp through a forwarding", lambda here: f"put {here} /dev/null\n")


def _sftp(site: RunningSite, name: str, batch: Callable[[Path], str]) -> Row:
    """Between a file without content on a disk and nowhere: what is measured is the way."""
    with bench(site) as made:
        made.run(TOOLKIT, "ssh", "bench-ssh", "truncate -s 1G big")
        here = made.folder / "big"
        here.touch()
        os.truncate(here, GIB)
        with _forwarding(made) as port:
            ours = [*made.options(f"port-{port}", port), "-b", "-", "toolkit@localhost"]
            theirs = [*made.straight, "-b", "-", f"toolkit@{made.address}"]
            pairs = [
                (made.run("sftp", *ours, data=batch(here)), made.run("sftp", *theirs, data=batch(here)))
                for _ in range(TRANSFERS)
            ]
    return rate_row(name, 1024, "MiB/s", [ours for ours, _ in pairs], [theirs for _, theirs in pairs], 0.5)


@contextmanager
def _forwarding(made: Bench) -> Iterator[int]:
    words = [TOOLKIT, "job", "port-forward", "bench-ssh", "0:22"]
    process = subprocess.Popen(
        words, env=made.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()
