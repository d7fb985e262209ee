"""``toolkit job port-forward``, with a real server in a job that listens on loopback."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

MIB = 2**20
TOOLKIT = str(Path(sys.executable).with_name("toolkit"))
#: Answers with what came, turned round, when the other side has said its last; on 7002 it never stops talking.
SERVER = """
import socket, threading
def serve(port, talk):
    listener = socket.create_server(("127.0.0.1", port), backlog=200)
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
def turn(c):
    data = b""
    while piece := c.recv(65536): data += piece
    c.sendall(data[::-1]); c.close()
def flood(c):
    while True: c.sendall(bytes(65536))
threading.Thread(target=serve, args=(7002, flood), daemon=True).start()
serve(7001, turn)
"""


@pytest.fixture(scope="module")
def job(site: RunningSite) -> Iterator[str]:
    made = site.submit("python3", "-c", SERVER, user="rita").id
    site.wait_state(made, "RUNNING", user="rita")
    yield made
    with site.client("rita") as client:
        client.jobs.kill(made)


@contextmanager
def forward(site: RunningSite, *words: str, user: str = "rita") -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = {**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token(user)}
    process = subprocess.Popen(
        [TOOLKIT, "job", "port-forward", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line.rpartition(":")[2] or 0)
    finally:
        process.kill()
        process.wait()


def turned(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        back = b""
        while piece := connection.recv(65536):
            back += piece
    return back


def test_many_connections_with_half_close_and_restarts(site: RunningSite, job: str) -> None:
    with forward(site, job, "0:7001") as (process, port):
        data = os.urandom(4 * MIB)
        assert turned(port, data) == data[::-1]
        with ThreadPoolExecutor(50) as pool:
            sent = [os.urandom(100_000) for _ in range(100)]
            back = pool.map(lambda each: turned(port, each), sent)
            assert [hashlib.sha256(each).digest() for each in back] == [
                hashlib.sha256(each[::-1]).digest() for each in sent
            ]
        with socket.create_connection(("127.0.0.1", port), 20) as kept:
            kept.sendall(b"abc")
            for unit in ("hub", "service", "proxy", "gate"):
                site.unit("restart", unit)
            assert turned(port, b"xyz") == b"zyx"
            kept.sendall(b"def")
            kept.shutdown(socket.SHUT_WR)
            assert kept.recv(100) == b"fedcba"
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130


def test_a_flood_that_nobody_reads_fills_no_memory(site: RunningSite, job: str) -> None:
    def rss(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    with (
        forward(site, job, "0:7002") as (process, port),
        socket.create_connection(("127.0.0.1", port), 20) as connection,
    ):
        connection.recv(65536)
        before = rss(process.pid)
        time.sleep(3)
        assert rss(process.pid) - before < 8 * MIB
        received = 0
        while received < 64 * MIB:
            received += len(connection.recv(MIB))


def test_what_cannot_be(site: RunningSite, job: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        done = site.cli("job", "port-forward", job, f"{number}:7001", user="rita")
        assert done.returncode == 1
        assert f"local port {number} cannot be had" in done.stderr
    assert site.cli("job", "port-forward", job, "x", user="rita").returncode == 2
    assert site.cli("job", "port-forward", job, user="rita").returncode == 2
    with forward(site, job, "0:7009") as (process, port):
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            assert connection.recv(10) == b""
        assert process.stderr is not None
        assert process.stderr.readline().startswith("leads to port 7009")
        assert "nothing answers at port 7009 of this job: Connection refused" in process.stderr.readline()


def test_other_users_of_the_machine_do_not_ride_along(site: RunningSite, job: str) -> None:
    script = (
        "import os, socket, sys, encodings.idna; os.setuid(65534); "
        "c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "c.send(b'x'); print(c.recv(9))"
    )
    with forward(site, job, "0:7001") as (process, port):
        done = subprocess.run([sys.executable, "-c", script, str(port)], capture_output=True, text=True, check=False)
        assert "ConnectionResetError" in done.stderr or done.stdout == "b''\n"
        assert turned(port, b"ab") == b"ba"
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert "another user of this machine was refused" in process.stderr.read()


def test_it_needs_job_exec_and_ends_with_the_job(site: RunningSite) -> None:
    job = site.submit("sleep", "600", user="rita").id
    site.wait_state(job, "RUNNING", user="rita")
    site.token("tess")
    urn = site.cli("job", "get", job, "--field", "urn", user="rita").stdout.strip()
    site.cli("role", "new", "acme.rita.looker", "--policy", f"job:get@{urn}", user="rita")
    site.cli("role", "member", "add", "acme.rita.looker", "--user", "acme.tess", user="rita")
    with forward(site, job, "0:7001", user="tess") as (process, port):
        socket.create_connection(("127.0.0.1", port), 20).close()
        assert process.wait(20) == 4
        assert process.stderr is not None
        assert "acme.tess may not do job:exec on" in process.stderr.read()
    with forward(site, job, "0:7001") as (process, port):
        with site.client("rita") as client:
            client.jobs.kill(job)
            client.jobs.wait(job)
        wait_until(lambda: process.poll() is not None or _touch(port), "the forwarding to end", 20)
        assert process.wait(10) != 0


def _touch(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return
    time.sleep(0.5)
