"""Commands in jobs through the gate: who may run them, and that no restart, revocation or slow reader does them harm."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import Conflict, NotFound, PermissionDenied
from toolkit_client.exec.commands import JobCommands
from toolkit_client.exec.session import Command, CommandSession
from toolkit_client.exec.streams import Memory
from toolkit_ext.job_init.exec_frames import STDOUT

pytestmark = pytest.mark.engine

MIB = 2**20
TOOLKIT = str(Path(sys.executable).with_name("toolkit"))


@pytest.fixture(scope="module")
def job(site: RunningSite) -> Iterator[str]:
    """A running job of joe's."""
    made = site.submit("sleep", "infinity", user="joe", name="train").id
    site.wait_state(made, "RUNNING", user="joe")
    yield made
    with site.client("joe") as client:
        client.jobs.kill(made)


@pytest.fixture(scope="module")
def commands(site: RunningSite, job: str) -> JobCommands:
    with site.client("joe") as client:
        return client.jobs.commands(job)


def environment(site: RunningSite, user: str = "joe") -> dict[str, str]:
    return {**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token(user)}


def toolkit(site: RunningSite, *words: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    user = options.pop("user", "joe")
    if "stdin" not in options:
        options.setdefault("input", b"")
    return subprocess.run([TOOLKIT, *words], env=environment(site, user), capture_output=True, timeout=60, **options)


# --- the command line -----------------------------------------------------------------------------------------------------


def test_streams_and_exit_code_are_the_commands_own(site: RunningSite, job: str) -> None:
    done = toolkit(site, "job", "exec", job, "--", "sh", "-c", "cat; echo err >&2; exit 42", input=b"\x00\xff in")
    assert (done.returncode, done.stdout, done.stderr) == (42, b"\x00\xff in", b"err\n")
    done = toolkit(
        site, "job", "exec", "-e", "A=1", "-e", "B=x y", "-w", "/usr", "train", "sh", "-c", "echo $A $B; pwd"
    )
    assert done.stdout == b"1 x y\n/usr\n"
    done = toolkit(site, "job", "exec", "train", "printf", "%s", b"\xff\xfe")
    assert done.stdout == b"\xff\xfe"
    with open(os.devnull) as nothing:
        done = toolkit(site, "session", "exec", "--last", "--", "no-such-thing", stdin=nothing)
    assert done.returncode == 127
    assert done.stderr.startswith(b"error: cannot run 'no-such-thing': no such file or directory in the image")


def test_in_scripts(site: RunningSite, job: str) -> None:
    """Closed descriptors, loops that read from stdin, pipes that close early."""

    def bash(line: str) -> subprocess.CompletedProcess[bytes]:
        env = {**environment(site), "PATH": f"{Path(TOOLKIT).parent}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-c", line], env=env, capture_output=True, timeout=60, check=False)

    assert bash("toolkit job exec train echo hello <&-").stdout == b"hello\n"
    assert bash("toolkit job exec train sh -c 'echo out; exit 3' >&- 2>&-").returncode == 3
    loop = "printf '1\\n2\\n3\\n' | while read n; do toolkit job exec -n train echo got $n; done"
    assert bash(loop).stdout == b"got 1\ngot 2\ngot 3\n"
    done = bash("toolkit job exec train yes | head -1; echo ${PIPESTATUS[0]}")
    assert done.stdout == b"y\n141\n"
    assert bash("toolkit job exec train -- tar cC /usr include 2>/dev/null | tar t | head -1").stdout != b""


def test_a_terminal_of_the_persons_own(site: RunningSite, job: str) -> None:
    pid, master = pty.fork()
    if pid == 0:
        os.execve(TOOLKIT, [TOOLKIT, "job", "exec", job, "--", "bash"], environment(site))
    seen = b""

    def see(pattern: bytes, typed: bytes = b"") -> None:
        nonlocal seen
        os.write(master, typed)
        deadline = time.monotonic() + 20
        while not re.search(pattern, seen):
            assert time.monotonic() < deadline, seen
            if select.select([master], [], [], 0.2)[0]:
                with contextlib.suppress(OSError):
                    seen += os.read(master, 65536)

    see(rb"\$ ")
    import fcntl
    import struct
    import termios

    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 37, 123, 0, 0))
    os.kill(pid, signal.SIGWINCH)
    see(rb"37 123", b"sleep 0.3; stty size\n")
    see(rb"tty-is-/dev/pts", b"echo tty-is-$(tty) $TERM\n")
    see(rb"\^C", b"sleep 100\n\x03")
    see(rb"code 130", b"echo code $?\n")
    raw = termios.tcgetattr(master)[3]
    assert not raw & termios.ICANON
    os.write(master, b"exit 17\n")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 17
    assert termios.tcgetattr(master)[3] & termios.ICANON
    os.close(master)


def test_ctrl_c_reaches_the_command_and_twice_ends_the_client(site: RunningSite, job: str) -> None:
    line = ["job", "exec", job, "--", "sh", "-c", "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done"]
    with subprocess.Popen([TOOLKIT, *line], env=environment(site), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"caught\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
    done = toolkit(site, "job", "exec", job, "--", "sh", "-c", "kill -TERM $$")
    assert done.returncode == 143


def test_jobs_that_wait_or_have_ended(site: RunningSite) -> None:
    waiting = site.submit("sleep", "60", user="joe", resources={"cpu": 16}).id
    done = toolkit(site, "job", "exec", waiting, "true")
    if done.returncode != 0:  # it may have had its turn already
        assert done.returncode == 1
        assert b"nothing can be run in it yet" in done.stderr
        assert b"--wait" in done.stderr
    with site.client("joe") as client:
        client.jobs.kill(waiting)
        client.jobs.wait(waiting)
    done = toolkit(site, "job", "exec", waiting, "true")
    assert done.returncode == 1
    assert b"it has ended" in done.stderr
    fresh = site.submit("sleep", "60", user="joe").id
    done = toolkit(site, "job", "exec", "--wait", fresh, "echo", "runs")
    assert (done.returncode, done.stdout) == (0, b"runs\n")
    assert toolkit(site, "job", "exec", "no-such-job", "true").returncode == 5
    assert toolkit(site, "job", "exec", fresh).returncode == 2
    with site.client("joe") as client:
        client.jobs.kill(fresh)


def test_a_job_that_ends_ends_what_runs_in_it(site: RunningSite) -> None:
    job = site.submit("sleep", "60", user="joe").id
    site.wait_state(job, "RUNNING", user="joe")
    with site.client("joe") as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.jobs.commands(job).run, ["sleep", "1000"])
        time.sleep(1)
        client.jobs.kill(job)
        with pytest.raises(Conflict, match="this job has ended"):
            running.result(60)


# --- who may --------------------------------------------------------------------------------------------------------------


def test_job_get_is_not_enough(site: RunningSite, job: str) -> None:
    site.token("ann")
    urn = site.cli("job", "get", job, "--field", "urn", user="joe").stdout.strip()
    assert site.cli("role", "new", "acme.joe.seer", "--policy", f"job:get@{urn}", user="joe").returncode == 0
    assert toolkit(site, "job", "exec", job, "true", user="ann").returncode == 5
    site.cli("role", "member", "add", "acme.joe.seer", "--user", "acme.ann", user="joe")
    done = toolkit(site, "job", "exec", job, "true", user="ann")
    assert done.returncode == 4
    assert b"acme.ann may not do job:exec on " in done.stderr
    assert job.encode() in done.stderr or b"train" in done.stderr
    key = site.cli("role", "key", "new", "acme.joe.seer", user="joe").stdout.strip()
    with site.client("joe") as client:
        lab_url = client.jobs.get(job).lab_url
    with pytest.raises(PermissionDenied, match="job:exec"):
        JobCommands(lab_url, key).run(["true"])
    with pytest.raises(NotFound):
        JobCommands(lab_url.replace(job, "0" * 8 + job[8:]), key).run(["true"])


def test_a_right_that_is_taken_away_ends_the_session(site: RunningSite, job: str) -> None:
    site.token("ann")
    urn = site.cli("job", "get", job, "--field", "urn", user="joe").stdout.strip()
    site.cli("role", "new", "acme.joe.helper", "--policy", f"job:get+job:exec@{urn}", user="joe")
    key_line = site.cli("role", "key", "new", "acme.joe.helper", user="joe").stdout.strip()
    with site.client("joe") as client:
        lab_url = client.jobs.get(job).lab_url
    assert JobCommands(lab_url, key_line).run(["true"]).code == 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(JobCommands(lab_url, key_line).run, ["sleep", "1000"])
        time.sleep(1)
        key_id = site.cli("role", "key", "ls", "acme.joe.helper", "--field", "id", user="joe").stdout.strip()
        began = time.monotonic()
        site.cli("role", "key", "rm", "acme.joe.helper", key_id, user="joe")
        with pytest.raises(Exception, match="revoked"):
            running.result(30)
        assert time.monotonic() - began < 15


# --- much, many, and through restarts -------------------------------------------------------------------------------------


def test_64_mib_both_ways(commands: JobCommands) -> None:
    content = random.Random(2).randbytes(64 * MIB)
    began = time.monotonic()
    done = commands.run(["cat"], input=content)
    print(f"64 MiB both ways: {time.monotonic() - began:.2f} s")
    assert done.code == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(content).digest()


def test_a_hundred_at_once(commands: JobCommands) -> None:
    def one(number: int) -> bool:
        done = commands.run(["sh", "-c", f"cat; sleep 1; exit {number}"], input=str(number).encode())
        return (done.code, done.stdout) == (number, str(number).encode())

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(one, range(100)))


class Trickle(Memory):
    """Takes a little at a time, and notes that something has come."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.begun = threading.Event()

    def write(self, kind: int, data: memoryview) -> int:
        self.begun.set()
        time.sleep(0.002)
        return super().write(kind, data[:16384])


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_gate_that_is_restarted_or_killed_in_the_middle(site: RunningSite, commands: JobCommands, how: str) -> None:
    content = random.Random(3).randbytes(24 * MIB)
    streams = Trickle(content)
    session = CommandSession(commands.open, Command([b"sh", b"-c", b"cat; exit 6"]), streams)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run)
        assert streams.begun.wait(20)
        for _ in range(3):
            if how == "restart":
                site.unit("restart", "gate")
            else:
                os.kill(site.unit_pid("gate"), signal.SIGKILL)
                wait_until(site.is_ready, "the gate to be back", 30)
        assert running.result(90)[0] == 6
    assert hashlib.sha256(streams.outputs[STDOUT]).digest() == hashlib.sha256(content).digest()


def test_a_slow_reader_fills_no_memory_of_the_gates(site: RunningSite, commands: JobCommands) -> None:
    class Stuck(Memory):
        stuck = True
        reader, writer = os.pipe()

        def output_fd(self, kind: int) -> int | None:  # type: ignore[override]
            return self.reader if self.stuck else None

    def rss() -> int:
        group = subprocess.run(["ps", "-eo", "pid,ppid,rss"], capture_output=True, text=True, check=True).stdout
        rows = [[int(word) for word in line.split()] for line in group.splitlines()[1:]]
        keeper = site.unit_pid("gate")
        return sum(size for pid, parent, size in rows if keeper in (pid, parent)) * 1024

    before = rss()
    streams = [Stuck() for _ in range(8)]
    sessions = [
        CommandSession(commands.open, Command([b"head", b"-c", b"64M", b"/dev/zero"]), each) for each in streams
    ]
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(session.run) for session in sessions]
        time.sleep(4)
        assert rss() - before < 32 * MIB
        for each in streams:
            each.stuck = False
        for _ in sessions:
            os.write(Stuck.writer, b"x")
        assert [each.result(60)[0] for each in running] == [0] * 8
    assert [len(each.outputs[STDOUT]) for each in streams] == [64 * MIB] * 8
