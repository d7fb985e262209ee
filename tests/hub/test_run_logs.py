"""Output of jobs on a whole site: much of it, fast, binary, followed across restarts, and spoilt by its own job."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import running
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.calls import gap_notice
from toolkit_client.errors import NotFound

pytestmark = pytest.mark.engine

MIB = 2**20
QUOTA = 4 * MIB
#: Writes numbered lines of 100 bytes, `argv[1]` of them, at `argv[2]` lines a second, each block with the time.
NUMBERED = """
import sys, time
lines, rate = int(sys.argv[1]), int(sys.argv[2])
block, begin = max(1, rate // 20), time.time()
for first in range(0, lines, block):
    text = "".join(f"{n:012d} {time.time():18.6f} {'x' * 67}\\n" for n in range(first, min(lines, first + block)))
    sys.stdout.write(text)
    sys.stdout.flush()
    time.sleep(max(0, begin + (first + block) / rate - time.time()))
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site that keeps 4 MiB of each run's output."""
    state = tmp_path_factory.mktemp("logs") / "state"
    yield from running(state, f"c.Toolkit.cpus = 16\nc.Toolkit.log_quota = {QUOTA // MIB}")


def numbered(site: RunningSite, lines: int, rate: int, **spec: object) -> str:
    return site.submit("python3", "-c", NUMBERED, str(lines), str(rate), **spec).id


def check_numbers(text: bytes, lines: int) -> None:
    """Every line once, in order."""
    assert len(text) == lines * 100
    assert all(int(text[at : at + 12]) == at // 100 for at in range(0, len(text), 100))


def logs(site: RunningSite, job_id: str, **parameters: Any) -> httpx.Response:
    return httpx.get(
        f"{site.url}/services/toolkit/api/v1/jobs/{job_id}/logs",
        params=parameters,
        headers={"Authorization": f"Bearer {site.admin_token}"},
        timeout=60,
    )


def memory_of(pid: int) -> int:
    """Resident bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Watch:
    """The greatest memory of a process while it is watched."""

    def __init__(self, pid: int) -> None:
        self._pid, self.before = pid, memory_of(pid)
        self.peak, self._ended = self.before, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, memory_of(self._pid))

    @property
    def grown(self) -> int:
        return self.peak - self.before


def main_process(container: str) -> int:
    found = subprocess.check_output(["docker", "inspect", "--format", "{{.State.Pid}}", container], text=True)
    return int(found)


# --- much -------------------------------------------------------------------------------------------------------------


def test_a_hundred_mebibytes_are_kept_and_cost_no_memory(site: RunningSite) -> None:
    size = 100 * MIB
    script = f"import os\nblock = bytes(range(256)) * 4096\nfor n in range({size // MIB}): os.write(1, block)"
    job = site.submit("python3", "-c", script)
    site.wait_state(job.id, "SUCCEEDED", timeout=90)
    wait_until(lambda: not any(found.running for found in site.containers()), "the container to be gone")
    wanted = hashlib.sha256(bytes(range(256)) * 4096 * (size // MIB)).hexdigest()
    with Watch(site.unit_pid("service")) as service:
        begin, got = time.monotonic(), hashlib.sha256()
        with site.client() as client:
            for chunk in client.jobs.logs(job.id):
                got.update(chunk)
        took = time.monotonic() - begin
    assert got.hexdigest() == wanted
    print(f"100 MiB in {took:.1f} s; service grew by {service.grown / MIB:.1f} MiB")
    assert service.grown < 40 * MIB
    done = subprocess.run(
        [str(Path(sys.executable).with_name("toolkit")), "job", "logs", job.id],
        env={**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.admin_token},
        capture_output=True,
        check=True,
    )
    assert hashlib.sha256(done.stdout).hexdigest() == wanted
    assert logs(site, job.id, offset=size - 300).content == bytes(range(256))[-44:] + bytes(range(256))


def test_ten_megabytes_a_second_are_followed_with_no_lag(site: RunningSite) -> None:
    lines, rate = 600_000, 100_000
    job_id = numbered(site, lines, rate)
    site.wait_state(job_id, "RUNNING")
    [container] = [found for found in site.containers() if found.running]
    job_init, begin = main_process(container.id), time.monotonic()
    used, lag, text = 0.0, 0.0, bytearray()
    with Watch(site.unit_pid("service")) as service, site.client() as client:
        for chunk in client.jobs.logs(job_id, follow=True):
            text += chunk
            newest = len(text) // 100 * 100 - 100
            if newest >= 0:
                lag = max(lag, time.time() - float(text[newest + 13 : newest + 31]))
            if time.monotonic() - begin < 4.5:
                used = cpu_seconds(job_init)
    took = time.monotonic() - begin
    check_numbers(bytes(text), lines)
    print(
        f"{len(text) / took / 1e6:.1f} MB/s; lag {lag:.2f} s at most; job-init {used / 4.5:.0%} of a CPU; "
        f"service grew by {service.grown / MIB:.1f} MiB"
    )
    assert lag < 1.0
    assert used / 4.5 < 0.4
    assert service.grown < 40 * MIB


# --- more than is kept ------------------------------------------------------------------------------------------------


def test_of_too_much_head_and_tail_are_kept(small: RunningSite) -> None:
    lines = 120_000
    job_id = numbered(small, lines, 10**7)
    small.wait_state(job_id, "SUCCEEDED", timeout=60)
    text, head = small.log_of(job_id), QUOTA // 2
    notice = re.search(
        rb"\n\[\xe2\x80\xa6 \d\.\d MiB \((\d+) bytes\) of output are not kept here \xe2\x80\xa6\]\n", text
    )
    assert notice is not None
    assert notice.start() == head
    tail = text[notice.end() :]
    assert QUOTA // 4 <= len(tail) <= QUOTA // 2
    assert head + int(notice[1]) + len(tail) == lines * 100
    assert all(int(text[at : at + 12]) == at // 100 for at in range(0, head - 100, 100))
    first = lines * 100 - len(tail)
    at = -first % 100
    assert all(int(tail[at + n : at + n + 12]) == (first + at + n) // 100 for n in range(0, len(tail) - at, 100))
    assert logs(small, job_id).content == text
    assert logs(small, job_id, tail=3).content == tail[-300:]
    middle = logs(small, job_id, offset=head + 1000)
    assert middle.content == gap_notice(first - head - 1000) + tail
    assert middle.headers["X-Toolkit-Log-Start"] == str(head + 1000)
    behind = logs(small, job_id, offset=head + 1000, gap="end")
    assert behind.content == tail
    assert behind.headers["X-Toolkit-Log-Start"] == str(first)
    assert behind.headers["X-Toolkit-Log-End"] == str(lines * 100)
    assert logs(small, job_id, gap="end").content == text[:head]
    assert logs(small, job_id, gap="end", follow=True).content == text[:head]
    assert logs(small, job_id, offset=lines * 100, follow=True).content == b""
    with small.client() as client:
        run = client.jobs.get(job_id).runs[0].id
        assert b"".join(client.jobs.logs(job_id, offset=head + 1000)) == middle.content
    folder = small.settings.runs_dir / run
    assert sum(file.stat().st_size for file in folder.glob("log*")) < QUOTA + MIB


def test_who_follows_gets_more_than_is_kept(small: RunningSite) -> None:
    lines = 120_000
    with small.client() as client:
        text = b"".join(client.jobs.logs(numbered(small, lines, 30_000), follow=True))
    check_numbers(text, lines)


def test_output_since_a_time(small: RunningSite) -> None:
    job = small.submit("sh", "-c", "echo early; sleep 4; echo late; sleep 60")
    wait_until(lambda: small.log_of(job.id) == b"early\nlate\n", "the output")
    now = datetime.now(UTC).timestamp()
    try:
        for ago, wanted in ((60, b"early\nlate\n"), (2, b"late\n"), (-60, b"")):
            moment = datetime.fromtimestamp(now - ago, UTC).isoformat()
            assert logs(small, job.id, since=moment).content == wanted
            with small.client() as client:
                assert b"".join(client.jobs.logs(job.id, since=moment)) == wanted
        for bad in ("yesterday", "2026", "9999-12-31T23:59:59-23:00", "x" * 1000):
            assert logs(small, job.id, since=bad).status_code == 400
        for name, value in (("tail", -1), ("offset", 10**16), ("run", "x"), ("gap", "none"), ("follow", "maybe")):
            assert logs(small, job.id, **{name: value}).status_code == 400
        assert logs(small, job.id, run=1).status_code == 404
    finally:
        with small.client() as client:
            client.jobs.kill(job.id)


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_no_byte_is_lost_or_doubled_when_the_service_restarts(small: RunningSite) -> None:
    lines = 30_000
    job_id = numbered(small, lines, 1_500)
    small.wait_state(job_id, "RUNNING")
    command = subprocess.Popen(
        [str(Path(sys.executable).with_name("toolkit")), "job", "logs", "-f", job_id],
        env={**small.environment, "TOOLKIT_URL": small.url, "TOOLKIT_TOKEN": small.admin_token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    by_client: list[bytes] = []
    by_command: list[bytes] = []

    def follow() -> None:
        with small.client() as client:
            by_client.extend(client.jobs.logs(job_id, follow=True))

    def copy() -> None:
        assert command.stdout is not None
        by_command.extend(iter(lambda: command.stdout.read1(MIB), b""))

    readers = [threading.Thread(target=follow), threading.Thread(target=copy)]
    for reader in readers:
        reader.start()
    wait_until(lambda: by_client and by_command, "the first output")
    for unit in ("service", "proxy", "service"):
        small.unit("restart", unit)
        time.sleep(0.5)
    for reader in readers:
        reader.join(120)
    assert command.stderr is not None
    assert command.wait(10) == 0, command.stderr.read()
    check_numbers(b"".join(by_command), lines)
    check_numbers(b"".join(by_client), lines)
    small.wait_state(job_id, "SUCCEEDED")


def test_a_follow_goes_on_with_the_next_run(small: RunningSite) -> None:
    script = "echo run $TOOLKIT_RUN_INDEX; [ $TOOLKIT_RUN_INDEX = 1 ] || sleep 300"
    job = small.submit("sh", "-c", script, restartable=True)
    command = subprocess.Popen(
        [str(Path(sys.executable).with_name("toolkit")), "job", "logs", "-f", job.id],
        env={**small.environment, "TOOLKIT_URL": small.url, "TOOLKIT_TOKEN": small.admin_token},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    small.wait_state(job.id, "RUNNING")
    wait_until(lambda: small.log_of(job.id), "output")
    [container] = [found for found in small.containers() if found.running]
    small.engine_call(lambda engine: engine.remove(container.id))
    out, err = command.communicate(timeout=90)
    assert out == "run 0\nrun 1\n"
    assert "run 0 has ended; what follows is the output of run 1" in err
    assert [logs(small, job.id, run=index).content for index in (0, 1)] == [b"run 0\n", b"run 1\n"]
    assert logs(small, job.id).content == b"run 1\n"
    with small.client() as client, pytest.raises(NotFound, match="no run 2"):
        list(client.jobs.logs(job.id, run=2))


# --- a job that spoils its log ----------------------------------------------------------------------------------------

SPOILER = """
cd /run/toolkit
for name in log log.1 log.2 log.times; do
  rm -f $name; mv $name /tmp/; ln -sf /etc/shadow $name; mkfifo $name; unlink $name
  cp /etc/passwd new && mv -f new $name
done
echo tried
truncate -s 1T log; truncate -s 1T log.1; truncate -s 1T log.times
fallocate -n -l 5G log.2
head -c 60000000 /dev/zero >> log.2
python3 - <<'END'
import fcntl, signal
for name in ("log.1", "log.2"):
    try:
        fcntl.fcntl(open("/run/toolkit/" + name, "rb+"), fcntl.F_SETLEASE, fcntl.F_WRLCK)
        print("got a lease on", name)
    except OSError:
        pass
END
echo spoilt
touch ~/spoilt
until [ -e ~/go ]; do sleep 0.1; done
echo after
"""


def test_a_job_spoils_its_own_log_and_nothing_else(small: RunningSite) -> None:
    job = small.submit("bash", "-c", SPOILER)
    run = small.wait_state(job.id, "RUNNING").runs[0]
    folder = small.settings.runs_dir / run.id
    files = [folder / name for name in ("log", "log.1", "log.2", "log.times")]

    def tidy() -> bool:
        return all(max(file.stat().st_size, file.stat().st_blocks * 512) <= QUOTA for file in files)

    wait_until((folder / "home" / "spoilt").exists, "the job to spoil its log")
    wait_until(tidy, "the guard to cut the files", 20, small.logs)
    assert all(file.is_file() and not file.is_symlink() for file in files)
    with Watch(small.unit_pid("service")) as service:
        begin = time.monotonic()
        for parameters in ({}, {"tail": 10}, {"offset": 10**14}, {"since": "2026-01-01T00:00:00Z"}, {"gap": "end"}):
            answer = logs(small, job.id, **parameters)
            assert answer.status_code == 200
            assert len(answer.content) <= QUOTA + 1000
            assert b"root:" not in answer.content
        assert time.monotonic() - begin < 10
    assert service.grown < 40 * MIB
    assert b"got a lease" not in small.log_of(job.id)
    other = small.submit("echo", "unharmed")
    small.wait_state(other.id, "SUCCEEDED")
    assert small.log_of(other.id) == b"unharmed\n"
    (folder / "home" / "go").touch()
    small.wait_state(job.id, "SUCCEEDED")
    assert logs(small, job.id, follow=True).status_code == 200
