"""What the rows on data share: whole commands that are timed, the trees they move, an ssh of this machine, and memory.

All of it lies on the file system of the site's data, so that both sides of a row write to the same disk.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.running_site import RunningSite, wait_until
from toolkit_hub.host.packages import FOR_BENCH, ensure_packages, find_program
from toolkit_hub.volumes.layout import Volumes

__all__ = [
    "BIG",
    "FILES",
    "FILE_SIZE",
    "DataWorld",
    "Peak",
    "clear",
    "contents",
    "digest",
    "shared_data_world",
    "tally",
]

BIG = 2 * 2**30
FILES, FILE_SIZE = 20_000, 4096
_FILES_IN_FOLDER = 200
_BLOCK = 16 * 2**20
#: Of the big file: the source, what was pushed, what was pulled; and the floor that a site keeps free.
_ROOM = 3 * BIG + 6 * 2**30


def _ensure_reference() -> None:
    """Have rsync and OpenSSH installed, unless that would open a port of this machine."""
    if Path("/run/systemd/system").exists() and find_program("sshd") is None:
        raise SystemExit(
            "The bench of data is beside OpenSSH. Installing it starts an SSH server on port 22 of this machine, so do it "
            "yourself: apt-get install openssh-server rsync"
        )
    ensure_packages(FOR_BENCH, print)


class Ssh:
    """An sshd on loopback with keys of its own. It and its client read nothing of the user's, and nothing of the machine's."""

    def __init__(self, folder: Path) -> None:
        _ensure_reference()
        folder.mkdir(mode=0o700)
        for name in ("host", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        settings = {
            "ListenAddress": "127.0.0.1",
            "Port": self.port,
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "id.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PermitUserRC": "no",
        }
        (folder / "sshd").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = find_program("sshd")
        assert program
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # where it shuts itself in; the machine's own start script makes it
        with (self._folder / "log").open("wb") as log:
            command = [program, "-D", "-e", "-f", str(self._folder / "sshd")]
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        atexit.register(self.stop)
        wait_until(self._answers, "sshd", explain=(self._folder / "log").read_text)

    def _answers(self) -> bool:
        return subprocess.run([*self.command, "true"], stdin=subprocess.DEVNULL, check=False).returncode == 0

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(10)
            self._server = None

    @property
    def command(self) -> list[str]:
        """The client, with all but the command to run there."""
        options = {
            "IdentityFile": self._folder / "id",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self._folder / "known",
            "GlobalKnownHostsFile": "/dev/null",
            "BatchMode": "yes",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-q", "-F", "/dev/null", "-p", str(self.port), *words, "127.0.0.1"]


class DataWorld:
    """A site's data from the outside, and the folder where all else is."""

    def __init__(self, site: RunningSite) -> None:
        self.site = site
        self.folder = site.state.parent / "data"
        self.folder.mkdir()
        assert self.folder.stat().st_dev == site.state.stat().st_dev
        free = shutil.disk_usage(self.folder).free
        assert free > _ROOM, f"the rows on data need {_ROOM >> 30} GiB in {self.folder}; {free >> 30} GiB are free"
        self.ssh = Ssh(self.folder / "ssh")
        self.ssh.start()

    # --- commands ---------------------------------------------------------------------------------------------------

    @staticmethod
    def toolkit(*words: str | Path) -> list[str]:
        return [str(Path(sys.executable).with_name("toolkit")), "data", *map(str, words)]

    def rsync(self, source: str | Path, target: str | Path, *options: str) -> list[str]:
        """Of folders, content to content."""
        shell = " ".join(self.ssh.command[:-1])
        return ["rsync", "-a", *options, "-e", shell, f"{source}/", f"{target}/"]

    def there(self, path: Path) -> str:
        """A path at the other end of ssh, as rsync writes it."""
        return f"{self.ssh.command[-1]}:{path}"

    def tar(self, source: Path, target: Path, *, push: bool) -> list[str]:
        """``tar | ssh tar``: `source` is here for a push, and there for a pull."""
        ends = [f"tar cf - -C {source} .", f"tar xf - -C {target}"]
        ends[push] = f"{' '.join(self.ssh.command)} '{ends[push]}'"
        return ["bash", "-o", "pipefail", "-c", " | ".join(ends)]

    @property
    def environment(self) -> dict[str, str]:
        account = {"TOOLKIT_URL": self.site.url, "TOOLKIT_TOKEN": self.site.token()}
        return {**self.site.environment, **account}

    def timed(self, command: list[str]) -> float:
        """Seconds of a whole process. What was written before is on the disk by then: nobody pays for somebody else."""
        os.sync()
        begin = time.perf_counter()
        done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        elapsed = time.perf_counter() - begin
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr[-2000:]!r}"
        return elapsed

    # --- trees ------------------------------------------------------------------------------------------------------

    def new(self, name: str) -> Path:
        """Create data; the folder that its content is in."""
        with self.site.client() as client:
            made = client.data.new(name)
        return Volumes(self.site.settings.data_root).live(made.id)

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    @cache  # noqa: B019 - there is one, as long as the process
    def many(self) -> Path:
        """A folder of many small files."""
        return write_files(self.fresh("many"), FILES, FILE_SIZE)

    def big(self, size: int = BIG, name: str = "big") -> Path:
        """A folder of one big file."""
        folder = self.fresh(name)
        with (folder / "file").open("wb") as file:
            for _ in range(size // _BLOCK):
                file.write(os.urandom(_BLOCK))
        return folder


@cache
def shared_data_world(site: RunningSite) -> DataWorld:
    """Made at the first call. Its folder goes with that of the site, its sshd with the process."""
    return DataWorld(site)


def write_files(folder: Path, count: int, size: int) -> Path:
    """Random files, some hundred in a folder each."""
    for number in range(count):
        inside = folder / f"d{number // _FILES_IN_FOLDER:03}"
        if number % _FILES_IN_FOLDER == 0:
            inside.mkdir()
        (inside / f"f{number:05}").write_bytes(os.urandom(size))
    return folder


def tally(folder: Path) -> tuple[int, int]:
    """How many files there are, and bytes in them."""
    sizes = [os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names]
    return len(sizes), sum(sizes)


def contents(folder: Path) -> dict[str, bytes]:
    """The digests of all files, by their paths."""
    return {str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()}


def digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def clear(*folders: Path) -> None:
    """Remove the files that are in them."""
    for folder in folders:
        for child in folder.iterdir():
            child.unlink()


# --- memory -------------------------------------------------------------------------------------------------------------


def resident(roots: Iterable[int]) -> int:
    """Bytes of memory of these processes and all below them; of pages that several share, each has its part."""
    total, waiting = 0, list(roots)
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        with suppress(OSError):  # it has just ended
            lines = (folder / "smaps_rollup").read_text().splitlines()
            total += next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
            for task in (folder / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total


class Peak:
    """Looks every 50 ms, from beside, how much memory some units of the site have: the most there was, and how often."""

    def __init__(self, site: RunningSite, *units: str) -> None:
        self._pids = [site.unit_pid(unit) for unit in units]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.is_set():
            self.most = max(self.most, resident(self._pids))
            self.count += 1
            self._end.wait(0.05)
