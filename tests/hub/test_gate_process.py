"""The gate beside other processes: job-init in the container, a gate that takes over, signals."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.hub.gate_house import BROWSER, House, eventually, frame, is_closed, read_head
from tests.hub.gate_job_init import job_init


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "state")
    yield made
    made.stop()


# --- the job server -----------------------------------------------------------------------------------------------------


def test_the_job_server_starts_once_at_the_first_request_and_gets_the_secret(house: House, tmp_path: Path) -> None:
    job = house.job()
    name, host, base = house.server_name(job), house.host(job, lab=True), f"/user/alice/{house.server_name(job)}/"
    with job_init(house, job, tmp_path) as starts:
        root = house.ask(host, "/", headers={**house.token(), **BROWSER})
        assert (root.status_code, root.headers["Location"]) == (302, f"http://{host}{base}lab")
        assert starts.read_text() == ""
        page = house.ask(host, f"{base}lab", headers={**house.token(), **BROWSER})
        assert page.status_code == 503
        assert "JupyterLab is starting" in page.text
        assert "http-equiv=refresh" in page.text
        forged = {"X-Toolkit-Run-Secret": "forged", "X-Toolkit-User": "root"}
        response = house.ask(host, f"{base}api/status?x=%41", "POST", headers={**house.token(), **forged})
        assert response.status_code == 200
        assert response.json()["target"] == f"{base}api/status?x=%41"
        sent = response.json()["headers"]
        assert sent["X-Toolkit-Run-Secret"] == house.secret(name)
        assert sent["X-Toolkit-User"] == "alice"
        assert "Authorization" not in sent
        assert starts.read_text() == "start\n"
        served = house.ask_proxy_side(f"{base}api/status", headers=house.token())
        assert served.json()["headers"]["X-Forwarded-Host"] == house.site.public_url.removeprefix("http://")
        assert served.headers["Content-Security-Policy"] == "sandbox"
        assert house.ask(host, f"{base}die", headers=house.token()).status_code == 502
        eventually(lambda: house.ask(host, f"{base}lab", headers=house.token()).status_code == 200, 15)
        assert starts.read_text() == "start\nstart\n"


def test_a_runtime_without_a_job_server_is_said_so(house: House, tmp_path: Path) -> None:
    job = house.job()
    with job_init(house, job, tmp_path, has_server=False):
        target = f"/user/alice/{house.server_name(job)}/lab"
        response = house.ask(house.host(job, lab=True), target, headers=house.token())
        assert response.status_code == 502
        assert "toolkit-job-server" in response.json()["error"]["message"]
        page = house.ask(house.host(job, lab=True), target, headers={**house.token(), **BROWSER})
        assert "toolkit-job-server" in page.text


def test_an_address_of_an_earlier_run_leads_to_the_present_one(house: House) -> None:
    job = house.job()
    older, newer = house.server_name(job), house.run(job)
    host, headers = house.host(job, lab=True), house.token()
    moved = house.ask(host, f"/user/alice/{older}/lab/tree/a%2Fb?x=1", headers=headers)
    assert (moved.status_code, moved.headers["Location"]) == (
        302,
        f"http://{host}/user/alice/{newer}/lab/tree/a%2Fb?x=1",
    )
    assert house.ask(host, f"/user/alice/{older}/api", "POST", headers=headers).status_code == 409
    assert house.ask(host, "/user/alice/jother/lab", headers=headers).status_code == 404
    assert house.ask(host, f"/user/bob/{newer}/lab", headers=headers).status_code == 404
    assert house.ask(host, "/favicon.ico", headers=headers).status_code == 404
    hub_side = house.ask_proxy_side(f"/user/alice/{older}/api/status", headers=headers)
    assert hub_side.headers["Location"] == f"{house.site.public_url}/user/alice/{newer}/api/status"


# --- the process --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def gate_process(house: House, folder: Path, module: str = "toolkit_hub.gate") -> Iterator[subprocess.Popen[bytes]]:
    """`python -m toolkit_hub.gate` for this house; its log is in the file `gate.log` of the folder."""
    (folder / "jupyterhub_config.py").write_text("c = get_config()\n")
    environment = {
        **os.environ,
        "TOOLKIT_CONFIG": str(folder / "jupyterhub_config.py"),
        "TOOLKIT_STATE": house.site.state_dir,
        "TOOLKIT_PORT": str(house.site.base_port),
    }
    log_file = folder / "gate.log"
    with log_file.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stderr=log)
        try:
            eventually(lambda: "the gate serves" in log_file.read_text() or process.poll() is not None, 30)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)


def healthy(house: House) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return house.ask_proxy_side("/.toolkit/health").status_code == 200
    return False


KEEPER = "toolkit_hub.host.gate_keeper"


def serving(house: House) -> int | None:
    """Pid of the gate that answers."""
    with contextlib.suppress(httpx.HTTPError):
        return int(house.ask_proxy_side("/.toolkit/health").json()["pid"])
    return None


def replace_gate(house: House, keeper: subprocess.Popen[bytes]) -> int:
    before = serving(house)
    assert before is not None
    keeper.send_signal(signal.SIGHUP)
    eventually(lambda: serving(house) not in (before, None), 30)
    return before


def alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_gates_take_turns_and_nothing_is_dropped(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    job, statuses, done = house.job(), [], threading.Event()
    token, host = house.token(), house.host(job)
    port = house.site.jobs_port

    def ask_on() -> None:
        while not done.is_set():
            statuses.append(house.ask(host, headers=token).status_code)

    def ask_on_one_connection() -> None:
        with httpx.Client(headers={**token, "Host": host}) as client:
            while not done.is_set():
                statuses.append(client.get(f"http://127.0.0.1:{port}/").status_code)

    with (
        gate_process(house, tmp_path, KEEPER) as keeper,
        house.connect(house.upgrade(job, "/ws", house.token_line())) as open_one,
        concurrent.futures.ThreadPoolExecutor(4) as visitors,
    ):
        assert read_head(open_one)[0] == 101
        asking = [visitors.submit(ask) for ask in (ask_on, ask_on, ask_on_one_connection, ask_on_one_connection)]
        eventually(lambda: len(statuses) > 20)
        first = replace_gate(house, keeper)
        second = replace_gate(house, keeper)
        eventually(lambda: not alive(second), 20)
        count = len(statuses)
        eventually(lambda: len(statuses) > count + 20)
        done.set()
        for task in asking:
            task.result()
        assert set(statuses) == {200}
        open_one.sendall(frame("still here"))
        received = b""
        while b"still here" not in received:
            received += open_one.recv(65536)
        assert alive(first)
        open_one.close()
        eventually(lambda: not alive(first))
        assert healthy(house)
    log = (tmp_path / "gate.log").read_text()
    assert "GET" in log
    assert f"{job}.localhost" in log
    for secret in (*house.hub.tokens, house.secret(house.server_name(job))):
        assert secret not in log


def test_a_gate_that_is_killed_is_followed_by_another(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    with gate_process(house, tmp_path, KEEPER) as keeper:
        first = serving(house)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        # The socket was open all the while: whoever comes meanwhile waits.
        assert house.ask_proxy_side("/.toolkit/health").json()["pid"] != first
        assert keeper.poll() is None


def test_the_unit_ends_at_once_with_gates_that_serve_out(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    request = house.upgrade(house.job(), "/ws", house.token_line())
    with gate_process(house, tmp_path, KEEPER) as keeper, house.connect(request) as connection:
        assert read_head(connection)[0] == 101
        first = replace_gate(house, keeper)
        second = serving(house)
        keeper.send_signal(signal.SIGINT)
        assert keeper.wait(5) == 0
        assert is_closed(connection)
        assert second is not None
        assert not alive(first)
        assert not alive(second)


def test_gates_end_with_a_killed_keeper(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    with gate_process(house, tmp_path, KEEPER) as keeper:
        gate = serving(house)
        assert gate is not None
        keeper.kill()
        eventually(lambda: not alive(gate))


def test_a_second_sigterm_ends_the_gate_at_once(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    request = house.upgrade(house.job(), "/ws", house.token_line())
    with gate_process(house, tmp_path) as gate, house.connect(request) as connection:
        assert read_head(connection)[0] == 101
        gate.send_signal(signal.SIGTERM)
        eventually(lambda: not healthy(house))
        gate.send_signal(signal.SIGTERM)
        assert gate.wait(10) == 0
        assert is_closed(connection)


def test_a_busy_port_is_named_with_the_way_to_change_it(house: House, tmp_path: Path) -> None:
    house.stop_gate()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", house.site.jobs_port))
        taken.listen()
        with gate_process(house, tmp_path) as gate:
            assert gate.wait(10) == 1
    message = (tmp_path / "gate.log").read_text()
    assert f"port {house.site.jobs_port}" in message
    assert "TOOLKIT_PORT" in message
