"""What it costs to go through the gate: small requests, the first look into a job, a flood that is read slowly."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import httpx

from tests.bench.data_world import resident
from tests.bench.rows import Row, ratio_row
from tests.support.running_site import RunningSite, free_base_port, wait_until
from toolkit_hub.host.packages import FOR_BENCH, ensure_packages
from toolkit_hub.proxy import find_program

IMAGE = "toolkit-lab"
_MIB = 2**20

#: Answers each request with 1 KiB, far faster than any proxy passes it on.
SMALL = """
import asyncio
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nContent-Length: 1024\\r\\n\\r\\n" + bytes(1024)
class Small(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.read = transport, b""
    def data_received(self, data):
        self.read += data
        while b"\\r\\n\\r\\n" in self.read:
            head, _, self.read = self.read.partition(b"\\r\\n\\r\\n")
            self.transport.write(ANSWER)
            if b"connection: close" in head.lower(): self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Small, "0.0.0.0", 8080)
    print("serving", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

#: Sends without end to whoever connects: as an answer of HTTP on 8080, plain on 7002.
FLOOD = """
import socket, threading
def serve(port, head):
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        threading.Thread(target=flood, args=(listener.accept()[0], head), daemon=True).start()
def flood(connection, head):
    try:
        connection.sendall(head)
        while True: connection.sendall(bytes(1 << 20))
    except OSError: pass
threading.Thread(target=serve, args=(7002, b""), daemon=True).start()
print("serving", flush=True)
serve(8080, b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n")
"""


@contextmanager
def _job(site: RunningSite, program: str) -> Iterator[tuple[str, str, str]]:
    """A job that runs the program, once that serves: its id, container and address."""
    job = site.submit("python3", "-c", program).id
    site.wait_state(job, "RUNNING")
    wait_until(lambda: b"serving" in site.log_of(job), "the job's server")
    container = next(found for found in site.containers())
    try:
        yield job, container.id, str(container.ip)
    finally:
        with site.client() as client:
            client.jobs.kill(job)
            client.jobs.wait(job)


# --- requests a second ----------------------------------------------------------------------------------------------------


def requests_on_one(site: RunningSite) -> Row:
    return _requests(site, 1, 0.8)


def requests_on_many(site: RunningSite) -> Row:
    return _requests(site, 32, 0.6)


def _requests(site: RunningSite, connections: int, reach: float, rounds: int = 3) -> Row:
    """GETs of 1 KiB at a job's port, each with its credential checked, beside the same through configurable-http-proxy alone."""
    ensure_packages(FOR_BENCH, print)
    with _job(site, SMALL) as (job, _, ip), _bare_proxy(f"http://{ip}:8080") as proxy:
        host = f"{job}.{site.settings.jobs_domain}"

        def rate(port: int, seconds: int) -> float:
            headers = ["-H", f"Host: {host}", "-H", f"Authorization: token {site.token()}"]
            line = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *headers, f"http://127.0.0.1:{port}/"]
            words = subprocess.run(line, check=True, capture_output=True, text=True).stdout
            assert "Non-2xx" not in words, words
            found = re.search(r"Requests/sec:\s+([\d.]+)", words)
            assert found, words
            return float(found[1])

        values: list[float] = []
        references: list[float] = []
        for port in (site.settings.jobs_port, proxy):
            rate(port, 1)
        for _ in range(rounds):
            values.append(rate(site.settings.jobs_port, 2))
            references.append(rate(proxy, 2))
    value, reference = statistics.median(values), statistics.median(references)
    ratio = value / reference
    name = f"gate: 1 KiB GETs, {connections} connection{'s' if connections > 1 else ''}, bare proxy"
    return Row(name, value, "req/s", reference, ratio, f">= {reach}x", ratio >= reach, rounds)


@contextmanager
def _bare_proxy(target: str) -> Iterator[int]:
    port = free_base_port()
    words = [
        find_program() or "configurable-http-proxy",
        "--ip",
        "127.0.0.1",
        "--port",
        str(port),
        "--api-port",
        str(port + 1),
    ]
    with subprocess.Popen([*words, "--default-target", target], stdout=subprocess.DEVNULL) as process:
        try:

            def up() -> bool:
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            wait_until(up, "the proxy")
            yield port
        finally:
            process.terminate()


# --- the first look into a job --------------------------------------------------------------------------------------------


def first_look(site: RunningSite, rounds: int = 4) -> Row:
    """First request at a running job -> its JupyterLab server answers, beside `docker run` of the image -> its own answers."""
    values, references = [], []
    for number in range(rounds + 1):
        ours, theirs = _first_answer_of_job(site), _first_answer_of_container()
        if number:  # the first ones warm up the disk's cache of both
            values.append(ours)
            references.append(theirs)
    return ratio_row("gate: first request -> jupyter answers", values, references, 1.2)


def _first_answer_of_job(site: RunningSite) -> float:
    job = site.submit("sleep", "infinity").id
    site.wait_state(job, "RUNNING")
    with site.client() as client, httpx.Client(timeout=60) as http:
        base = str(client.jobs.get(job).lab_url).split("/", 3)[3].removesuffix("lab")
        headers = {
            "Host": f"{job}-lab.{site.settings.jobs_domain}",
            "Authorization": f"token {site.token()}",
        }
        begin = time.perf_counter()
        answer = http.get(f"http://127.0.0.1:{site.settings.jobs_port}/{base}api/status", headers=headers)
        elapsed = time.perf_counter() - begin
        assert answer.status_code == 200, answer.text
        client.jobs.kill(job)
        client.jobs.wait(job)
    return elapsed


def _first_answer_of_container() -> float:
    command = ["jupyter", "server", "--ip=0.0.0.0", "--port=8888", "--no-browser", "--IdentityProvider.token="]
    with closing(docker.APIClient(version="1.41", timeout=60)) as engine:
        begin = time.perf_counter()
        words = ["docker", "run", "--detach", IMAGE, *command]
        container = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
        try:
            ip = engine.inspect_container(container)["NetworkSettings"]["IPAddress"]
            wait_until(lambda: _answers(f"http://{ip}:8888/api"), "jupyter in the container", interval=0.01)
            return time.perf_counter() - begin
        finally:
            engine.remove_container(container, force=True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


# --- a flood that is read slowly ------------------------------------------------------------------------------------------


def slow_readers(site: RunningSite, seconds: float = 30.0) -> Row:
    """Two flooding ports read at 1 MiB/s, by `toolkit job port-forward` and by HTTP: by how much the memory of container, gate
    and client has grown at most; the worst of the three."""
    engine = docker.APIClient(version="1.41", timeout=60)
    with closing(engine), _job(site, FLOOD) as (job, container, _), _forward(site, job) as (client, port):
        gate = site.unit_pid("gate")
        jobs_port = site.settings.jobs_port
        lines = [f"GET / HTTP/1.1\r\nHost: {job}.{site.settings.jobs_domain}", f"Authorization: token {site.token()}"]
        request = "\r\n".join([*lines, "", ""]).encode()
        measures: dict[str, Callable[[], int]] = {
            "container": lambda: _memory(engine, container),
            "gate": lambda: resident([gate]),
            "client": lambda: resident([client]),
        }
        before = {name: measure() for name, measure in measures.items()}
        most = dict.fromkeys(measures, 0)
        end = time.monotonic() + seconds
        counts: list[int] = []
        readers = [
            threading.Thread(target=_read_slowly, args=(port, b"", end, counts)),
            threading.Thread(target=_read_slowly, args=(jobs_port, request, end, counts)),
        ]
        for reader in readers:
            reader.start()
        looks = 0
        while time.monotonic() < end:
            for name, measure in measures.items():
                most[name] = max(most[name], measure() - before[name])
            looks += 1
            time.sleep(0.2)
        for reader in readers:
            reader.join()
    assert len(counts) == 2
    assert all(0.8 * seconds < count / _MIB < 1.5 * seconds for count in counts), counts
    value = max(most.values()) / _MIB
    worst = max(most, key=lambda name: most[name])
    return Row(f"gate: flood at 1 MiB/s, growth ({worst})", value, "MiB", None, None, "<= 64 MiB", value <= 64, looks)


def _read_slowly(port: int, request: bytes, end: float, counts: list[int]) -> None:
    count = 0
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(request)
        began = time.monotonic()
        while (now := time.monotonic()) < end:
            if count < (now - began) * _MIB:
                piece = connection.recv(65536)
                assert piece
                count += len(piece)
            else:
                time.sleep(0.01)
    counts.append(count)


def _memory(engine: docker.APIClient, container: str) -> int:
    """Bytes that the container's processes have for themselves."""
    usage = engine.stats(container, stream=False, one_shot=True)["memory_stats"]
    return int(usage["usage"] - usage["stats"].get("inactive_file", usage["stats"].get("total_inactive_file", 0)))


@contextmanager
def _forward(site: RunningSite, job: str) -> Iterator[tuple[int, int]]:
    """`toolkit job port-forward` to the job's port 7002: its process and its port here."""
    words = [str(Path(sys.executable).with_name("toolkit")), "job", "port-forward", job, "0:7002"]
    environment = {**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token()}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()
