"""The runtime folder in images of all kinds, and what is special about each app."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime.selftest import IMAGES, ensure_images, try_image
from toolkit_spawner.runtime.trial import BASE_URL, GATE, HOSTILE, Trial

pytestmark = pytest.mark.engine

HALF_CLOSE = "toolkit.half-close"


@pytest.fixture(scope="module")
def images(engine: Engine, runtime_folder: Path) -> dict[str, str]:
    ensure_images(engine, runtime_folder, print)
    return IMAGES


@pytest.fixture(scope="module")
def trials(
    engine: Engine, runtime_folder: Path, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Trial]]:
    """One container for each kind of image, its job server up, for as long as the module's tests."""
    running: dict[str, Trial] = {}

    def get(kind: str) -> Trial:
        if kind not in running:
            folder = tmp_path_factory.mktemp("trial") / kind
            running[kind] = Trial(engine, runtime_folder / "current", images[kind], folder, HOSTILE).__enter__()
            running[kind].start_job_server()
        return running[kind]

    yield get
    for trial in running.values():
        trial.__exit__(None, None, None)


@pytest.fixture
def bookworm(trials: Callable[[str], Trial]) -> Trial:
    return trials("bookworm")


@asynccontextmanager
async def websocket(trial: Trial, path: str, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    url = f"http://{trial.ip}:8888{BASE_URL}{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers=GATE, protocols=protocols, max_msg_size=0) as socket,
    ):
        yield socket


def within(seconds: float, task: Awaitable[Any]) -> Any:
    async def run() -> Any:
        return await asyncio.wait_for(task, seconds)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", IMAGES)
def test_everything_works_in_any_image(engine: Engine, runtime_folder: Path, images: dict[str, str], kind: str) -> None:
    """Also with settings in the image that would break it."""
    outcomes = list(try_image(engine, runtime_folder / "current", images[kind]))
    assert [outcome for outcome in outcomes if outcome.problem] == []
    assert len(outcomes) == 8


def with_read_only_home(request: dict[str, Any]) -> None:
    binds = request["HostConfig"]["Binds"]
    request["HostConfig"]["Binds"] = [f"{bind}:ro" if bind.endswith(":/home/toolkit") else bind for bind in binds]


def without_tmp(request: dict[str, Any]) -> None:
    del request["HostConfig"]["Tmpfs"]


def with_read_only_image(request: dict[str, Any]) -> None:
    request["HostConfig"]["ReadonlyRootfs"] = True


@pytest.mark.parametrize("alter", [with_read_only_home, without_tmp, with_read_only_image])
def test_apps_start_where_little_can_be_written(
    engine: Engine,
    runtime_folder: Path,
    images: dict[str, str],
    tmp_path: Path,
    alter: Callable[[dict[str, Any]], None],
) -> None:
    folder = tmp_path / "trial"
    with Trial(engine, runtime_folder / "current", images["scratch"], folder, HOSTILE, alter) as trial:
        trial.start_job_server()
        for path in ("lab", "ttyd/", "code-server/", "sshd/host-key"):
            assert trial.get(path).status_code == 200, path
        if alter is not with_read_only_home:
            assert trial.ssh("echo in") == b"in\n"


@pytest.mark.parametrize("kind", ["empty", "musl"])
def test_time_zones_are_known_where_the_image_has_none(trials: Callable[[str], Trial], kind: str) -> None:
    """Python looks for them below its own prefix, and in the folder that the image may lack."""
    code = "import zoneinfo, datetime as d; print(d.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Paris')).isoformat())"
    assert trials(kind).run_cell(code).strip() == "2026-07-01T00:00:00+02:00"


def test_settings_for_the_images_own_jupyter_do_not_count(
    engine: Engine, runtime_folder: Path, images: dict[str, str], tmp_path: Path
) -> None:
    settings = tmp_path / "settings"
    settings.mkdir()
    for name in ("jupyter_config.py", "jupyter_server_config.py", "jupyter_lab_config.py"):
        (settings / name).write_text("raise SystemExit('the image says no')\n")
    (settings / "jupyter_server_config.json").write_text('{"ServerApp": {"base_url": "/elsewhere/", "port": 1}}')

    def alter(request: dict[str, Any]) -> None:
        places = ("/etc/jupyter", "/usr/etc/jupyter", "/usr/local/etc/jupyter")
        request["HostConfig"]["Binds"] += [f"{settings}:{place}:ro" for place in places]

    with Trial(engine, runtime_folder / "current", images["bookworm"], tmp_path / "trial", {}, alter) as trial:
        trial.start_job_server()
        assert trial.get("lab").status_code == 200
        assert "the image says no" not in trial.log()


# --- ttyd -------------------------------------------------------------------------------------------------------------


async def type_in(trial: Trial, text: str, until: str) -> str:
    """What ttyd's page does: opens the terminal, types, and shows what comes."""
    async with websocket(trial, "ttyd/ws", "tty") as socket:
        await socket.send_bytes(json.dumps({"AuthToken": "", "columns": 200, "rows": 50}).encode())
        seen = ""
        sent = False
        while not re.search(until, seen):
            message = await socket.receive()
            assert message.type == aiohttp.WSMsgType.BINARY, (message, seen)
            if message.data[:1] == b"0":
                seen += message.data[1:].decode(errors="replace")
                if not sent:
                    await socket.send_bytes(b"0" + text.encode() + b"\r")
                    sent = True
        return seen


@pytest.mark.parametrize("kind", IMAGES)
def test_a_terminal_has_the_jobs_shell_and_environment(trials: Callable[[str], Trial], kind: str) -> None:
    text = "unset LD_PRELOAD; pwd > seen; echo me=$((6*7)) $(id -u) "
    text += "[$LD_LIBRARY_PATH] [$PYTHONHOME] $SHELL in $PWD ${TOOLKIT_RUN_SECRET}."
    seen = within(30, type_in(trials(kind), text, "me=42 "))
    shell = {"musl": "/bin/ash", "scratch": "/bin/ash", "empty": "/opt/toolkit/libexec/sh"}.get(kind, "/bin/bash")
    wanted = f"me=42 13011 [{HOSTILE['LD_LIBRARY_PATH']}] [/nowhere] "
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\(B", "", seen)
    assert wanted in seen
    assert re.search(rf"(/usr)?{shell} in /home/toolkit \.", seen), seen


def test_a_terminal_is_as_it_was_left(bookworm: Trial) -> None:
    """It is one tmux session, `main`; `tmux` in an ssh session finds it, too."""
    within(30, type_in(bookworm, "marker=kept; echo left=$((1+1))", "left=2"))
    assert "again-kept" in within(30, type_in(bookworm, "echo again-$marker", "again-kept"))
    assert bookworm.ssh("unset LD_PRELOAD; tmux list-sessions -F '#S'").decode() == "main\n"


def test_a_terminal_that_floods_who_does_not_read_fills_no_memory(engine: Engine, bookworm: Trial) -> None:
    async def look_away() -> int:
        async with websocket(bookworm, "ttyd/ws", "tty") as socket:
            await socket.send_bytes(json.dumps({"AuthToken": "", "columns": 200, "rows": 50}).encode())
            while (await socket.receive()).data[:1] != b"0":
                pass
            before = await asyncio.to_thread(memory, engine, bookworm)
            await socket.send_bytes(b"0seq -f %0190.0f 1000000000\r")
            socket._response.connection.transport.pause_reading()
            most, end = 0, time.monotonic() + 6
            while time.monotonic() < end:
                most = max(most, await asyncio.to_thread(memory, engine, bookworm))
            await socket.send_bytes(b"0\x03")
            socket._response.close()
            return most - before

    assert within(60, look_away()) < 64 * 2**20


# --- ssh --------------------------------------------------------------------------------------------------------------


def test_the_key_to_take_home_is_there_without_ssh(trials: Callable[[str], Trial]) -> None:
    key = trials("trixie").home / "id_container"
    trials("trixie").wait("the key", key.exists)
    assert key.stat().st_mode & 0o777 == 0o600


def test_ssh_exit_codes_and_binary_data(bookworm: Trial) -> None:
    data = bytes(range(256)) * 4000
    assert bookworm.ssh("unset LD_PRELOAD; cat", data) == data
    done = bookworm.ssh("unset LD_PRELOAD; sh -c 'exit 37' || echo code=$?")
    assert done == b"code=37\n"


def test_ssh_takes_the_users_own_key_whatever_its_permissions(bookworm: Trial, tmp_path: Path) -> None:
    """As from the data `.ssh`."""
    folder = bookworm.home / ".ssh"
    folder.mkdir(mode=0o777)
    key = bookworm.home.parent / "key"
    subprocess.run(["chown", "-R", "13011:13011", str(folder)], check=True)
    public = bookworm.ssh("unset LD_PRELOAD; ssh-keygen -y -P '' -f id_container").decode()
    (folder / "authorized_keys").write_text(public)
    (folder / "id_mine").write_bytes(key.read_bytes())
    for path in folder.iterdir():
        path.chmod(0o666)
    subprocess.run(["chown", "-R", "13011:13011", str(folder)], check=True)
    assert bookworm.ssh("echo in") == b"in\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert (bookworm.home / "id_container").stat().st_mode & 0o777 == 0o600


def test_a_guests_keys_are_for_its_own_connections(bookworm: Trial, tmp_path: Path) -> None:
    async def connect(query: str) -> bytes:
        async with websocket(bookworm, f"sshd{query}") as socket:
            return bytes((await socket.receive()).data)

    assert within(20, connect("")).startswith(b"SSH-2.0-OpenSSH")
    assert within(20, connect("?guest=nobody")).startswith(b"SSH-2.0-OpenSSH")

    async def post(text: str) -> tuple[int, dict[str, str]]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{bookworm.ip}:8888{BASE_URL}sshd/guests", data=text, headers=GATE) as answer,
        ):
            return answer.status, await answer.json()

    key = bookworm.ssh("unset LD_PRELOAD; ssh-keygen -q -t rsa -N '' -f guest; cat guest.pub").decode()
    status, answer = within(20, post(key))
    assert status == 201
    assert within(20, connect(f"?guest={answer['guest']}")).startswith(b"SSH-2.0-OpenSSH")
    for bad in (f'command="id" {key}', "ssh-ed25519\n", "x" * 70000, "\u202e"):
        assert within(20, post(bad))[0] == 400


def test_nothing_listens_but_the_job_server(bookworm: Trial) -> None:
    """Neither for the network nor on the container's loopback, with every app in use."""
    bookworm.get("code-server/")
    bookworm.get("ttyd/")
    tables = bookworm.ssh("unset LD_PRELOAD; cat /proc/net/tcp /proc/net/tcp6").decode().splitlines()
    listening = {
        int(row.split()[1].split(":")[1], 16) for row in tables if len(row.split()) > 3 and row.split()[3] == "0A"
    }
    assert listening == {8887, 8888}


# --- bytes ------------------------------------------------------------------------------------------------------------

APP = """
import socket, sys, threading
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
print(listener.getsockname()[1], flush=True)
def serve(one):
    data = b""
    while piece := one.recv(65536):
        data += piece
        if data == b"flood":
            try:
                while True: one.sendall(bytes(1 << 20))
            except OSError: return
        if data == b"sleep": threading.Event().wait()
    one.sendall(b"got %d" % len(data)); one.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],)).start()
"""


@pytest.fixture(scope="module")
def app_port(trials: Callable[[str], Trial]) -> int:
    """An app on loopback in the default image's container: it counts what it gets, and floods who asks for it."""
    trial = trials("default")
    (trial.home / "app.py").write_text(APP)
    start = "unset ${!LD_*} ${!PYTHON*}; nohup python3 app.py > app.port 2>&1 < /dev/null &"
    trial.ssh(f"unset LD_PRELOAD; bash -c '{start}'")
    trial.wait("the app", lambda: (trial.home / "app.port").read_text().strip().isdigit())
    return int((trial.home / "app.port").read_text())


def test_a_port_on_loopback_is_reached_and_can_be_half_closed(trials: Callable[[str], Trial], app_port: int) -> None:
    async def talk() -> list[bytes]:
        async with websocket(trials("default"), f"tcp/{app_port}", HALF_CLOSE) as socket:
            for _ in range(40):
                await socket.send_bytes(bytes(100_000))
            await socket.send_bytes(b"")
            return [bytes((await socket.receive()).data), bytes((await socket.receive()).data)]

    assert within(30, talk()) == [b"got 4000000", b""]


def test_a_port_where_nothing_listens(trials: Callable[[str], Trial]) -> None:
    async def talk() -> tuple[int | None, Any]:
        async with websocket(trials("default"), "tcp/9") as socket:
            message = await socket.receive()
            return socket.close_code, message.extra

    assert within(20, talk()) == (4000, "nothing listens on port 9 of the job")


def memory(engine: Engine, trial: Trial) -> int:
    """Bytes that the container's processes have for themselves."""
    stats = asyncio.run(engine.call(lambda client: client.stats(trial.container_id, stream=False)))
    usage = stats["memory_stats"]
    return int(usage["usage"] - usage["stats"].get("inactive_file", usage["stats"].get("total_inactive_file", 0)))


def test_a_slow_reader_fills_no_memory(engine: Engine, trials: Callable[[str], Trial], app_port: int) -> None:
    """The app would send hundreds of MiB a second."""
    trial = trials("default")

    async def read_slowly() -> int:
        async with websocket(trial, f"tcp/{app_port}") as socket:
            await socket.send_bytes(b"flood")
            await socket.receive()
            before = await asyncio.to_thread(memory, engine, trial)
            end = time.monotonic() + 6
            while time.monotonic() < end:
                await socket.receive()
                await asyncio.sleep(0.25)
            return await asyncio.to_thread(memory, engine, trial) - before

    assert within(60, read_slowly()) < 32 * 2**20


def test_an_app_that_does_not_read_fills_no_memory(
    engine: Engine, trials: Callable[[str], Trial], app_port: int
) -> None:
    trial = trials("default")

    async def write_on() -> int:
        async with websocket(trial, f"tcp/{app_port}") as socket:
            await socket.send_bytes(b"sleep")
            before = await asyncio.to_thread(memory, engine, trial)
            try:
                async with asyncio.timeout(4):
                    while True:
                        await socket.send_bytes(bytes(1 << 20))
            except TimeoutError:
                pass
            grown = await asyncio.to_thread(memory, engine, trial) - before
            socket._response.close()
            return grown

    assert within(60, write_on()) < 32 * 2**20
