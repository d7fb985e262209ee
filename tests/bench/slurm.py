"""A Slurm of its own in a temporary folder, as the reference of what a queue takes in. Debian: slurmctld, slurm-client, munge."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.echo import free_port
from tests.support.running_site import wait_until

__all__ = ["sbatch_rate"]

PROGRAMS = ("munged", "slurmctld", "sbatch", "scontrol")
#: One node that never answers: all jobs wait, as ours do behind a GPU that is held.
CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
MaxJobCount=100000
NodeName={host} NodeAddr=127.0.0.1 Port={node_port} CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def sbatch_rate(jobs: int = 1000, clients: int = 20) -> float | None:
    """Jobs a second that Slurm's `sbatch` gets accepted; None where there is no Slurm."""
    if any(shutil.which(program) is None for program in PROGRAMS):
        return None
    with cluster() as environment:

        def submit(_: int) -> None:
            line = ["sbatch", "--quiet", "--output=/dev/null", "--wrap=true"]
            subprocess.run(line, env=environment, check=True, capture_output=True, cwd="/", timeout=120)

        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(submit, range(clients)))
            begin = time.perf_counter()
            list(pool.map(submit, range(jobs)))
            return jobs / (time.perf_counter() - begin)


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Its environment, once it answers."""
    with TemporaryDirectory(prefix="toolkit-bench-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        values = {"host": socket.gethostname().partition(".")[0], "folder": folder}
        text = CONFIGURATION.format(**values, port=free_port(), node_port=free_port())
        (folder / "slurm.conf").write_text(text)
        environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        munge = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key"]
        munge += [f"--{kind}={folder}/munge.{kind.partition('-')[0]}" for kind in ("socket", "pid-file", "seed-file")]
        munge += [f"--log-file={folder}/munge.log"]
        stack.enter_context(_running(munge, environment, folder))
        wait_until((folder / "munge.socket").exists, "munged to serve")
        stack.enter_context(_running(["slurmctld", "-D"], environment, folder))

        def answers() -> bool:
            ping = subprocess.run(["scontrol", "ping"], env=environment, capture_output=True, text=True, check=False)
            return "is UP" in ping.stdout

        wait_until(answers, "slurmctld to answer", 60, lambda: (folder / "output").read_text()[-3000:], 0.2)
        yield environment


@contextmanager
def _running(line: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (
        (folder / "output").open("ab") as output,
        subprocess.Popen(
            line, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
