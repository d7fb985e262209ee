"""The job server in the default image: it serves the gate and nobody else, and all of JupyterLab works behind it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from tests.docker.run_container import SECRET, RunContainer, wait_for

pytestmark = pytest.mark.engine

BASE = "/user/joe/jx"
GATE = {"X-Toolkit-Run-Secret": SECRET, "X-Toolkit-User": "joe"}
#: Everything that has served somebody without credentials somewhere: pages, static files, REST, proxied apps, sockets.
PATHS = (
    "/", "/lab", "/lab/tree/x", "/login", "/logout", "/api", "/api/status", "/api/contents", "/api/kernels", "/api/me",
    "/static/favicon.ico", "/static/lab/style.js", "/lab/api/settings", "/proxy/8080/", "/proxy/absolute/8080/",
    "/proxy/127.0.0.1:8080/", "/ttyd/", "/ttyd/token", "/code-server/", "/sshd", "/sshd/host-key", "/sshd/guests", "/tcp/8080",
    "/server-proxy/servers-info", "/terminals/websocket/1", "/api/kernels/x/channels",
    "/files/x", "/view/x", "/metrics", "/nbconvert/html/x", "/custom/custom.css", "/kernelspecs/python3/logo-64x64.png",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(runtime_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunContainer]:
    """A run whose job server is up. Beside it, an app on port 8080 of loopback echoes its request's headers."""
    run = RunContainer((runtime_folder / "current").resolve(), tmp_path_factory.mktemp("server") / "run")
    echo = """
from http.server import *
class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(str(self.headers).encode())
ThreadingHTTPServer(('127.0.0.1', 8080), Echo).serve_forever()
"""
    try:
        run.start(["python3", "-c", echo])
        wait_for("the job server", lambda: run.ask_server()["state"] == "running")
        yield run
    finally:
        run.remove()


@pytest.fixture
def http(server: RunContainer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{server.ip}:8888{BASE}", timeout=30, trust_env=False) as client:
        yield client


# --- who is served ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Toolkit-User": "joe"},
        {"X-Toolkit-Run-Secret": ""},
        {"X-Toolkit-Run-Secret": "wrong"},
        {"X-Toolkit-Run-Secret": SECRET + "x"},
        {"Authorization": f"token {SECRET}"},
        {"Cookie": f"token={SECRET}; X-Toolkit-Run-Secret={SECRET}"},
    ],
)
def test_nothing_is_served_without_the_secret(http: httpx.Client, headers: dict[str, str]) -> None:
    for path in PATHS:
        for method in ("GET", "POST"):
            answer = http.request(method, path, headers=headers)
            assert answer.status_code == 403, (method, path)
            assert "set-cookie" not in answer.headers, path
    assert http.get("/lab", params={"token": SECRET}, headers=headers).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_is_refused(http: httpx.Client, method: str) -> None:
    assert http.request(method, "/api/contents/x").status_code == 403


def test_two_secrets_are_no_secret(http: httpx.Client) -> None:
    twice = [("X-Toolkit-Run-Secret", "wrong"), ("X-Toolkit-Run-Secret", SECRET)]
    assert http.get("/api", headers=twice).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/terminals/websocket/1",
        "/api/kernels/x/channels",
        "/api/events/subscribe",
        "/ttyd/ws",
        "/code-server/x",
        "/sshd",
        "/tcp/8080",
    ],
)
def test_websockets_are_refused_without_the_secret(server: RunContainer, path: str) -> None:
    async def status() -> int:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"http://{server.ip}:8888{BASE}{path}", headers={"X-Toolkit-Run-Secret": "no"})
            return refused.value.status

    assert asyncio.run(status()) == 403


def test_the_gate_is_served(http: httpx.Client) -> None:
    page = http.get("/lab", headers=GATE)
    assert page.status_code == 200
    config = json.loads(page.text.split('id="jupyter-config-data" type="application/json">')[1].split("</script>")[0])
    assert config["token"] == ""
    assert config["news"] == {"disabled": True}
    assert "@jupyterlab/lsp-extension" in config["disabledExtensions"]
    assert SECRET not in page.text
    for path in ("/login", "/logout"):
        assert http.get(path, headers=GATE).status_code == 404


def test_the_visitor_is_whom_the_gate_names(http: httpx.Client) -> None:
    def seen(name: bytes) -> str:
        headers = {b"X-Toolkit-Run-Secret": SECRET.encode(), b"X-Toolkit-User": name}
        return str(http.get("/api/me", headers=headers).json()["identity"]["username"])

    assert seen(b"joe") == "joe"
    assert seen("Zoë 李".encode()) == "Zoë 李"
    assert seen(b"") == "unknown"
    assert seen(b"\xff\xfe") == "\ufffd\ufffd"
    assert seen("a\u202eb\u200bc".encode()) == "abc"
    assert seen(b"x" * 5000) == "x" * 128


def test_no_cookie_and_no_leave_for_other_origins(http: httpx.Client) -> None:
    for origin in ("https://elsewhere.example", "null"):
        answer = http.get("/api/contents", headers={**GATE, "Origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers
        assert "set-cookie" not in answer.headers


def test_posts_through_the_gate_need_no_cookie(http: httpx.Client) -> None:
    headers = {
        **GATE,
        "Host": "x-lab.localhost:8001",
        "Origin": "https://x-lab.localhost:8001",
        "X-Forwarded-Proto": "https",
    }
    made = http.post("/api/contents", json={"type": "notebook"}, headers=headers)
    assert made.status_code == 201
    assert http.delete(f"/api/contents/{made.json()['path']}", headers=headers).status_code == 204


# --- the secret stays here --------------------------------------------------------------------------------------------


def test_only_named_apps_are_proxied(http: httpx.Client) -> None:
    for path in (
        "/proxy/8080/",
        "/proxy/absolute/8080/",
        "/proxy/localhost:8080/",
        "/proxy/10.0.0.1:80/",
        "/proxy/::1:8080/",
    ):
        assert http.get(path, headers=GATE, follow_redirects=True).status_code == 404, path
    entries = http.get("/server-proxy/servers-info", headers=GATE).json()["server_processes"]
    assert [(entry["name"], entry["launcher_entry"]["title"]) for entry in entries] == [
        ("ttyd", "Terminal (ttyd)"),
        ("code-server", "VS Code"),
    ]


def test_terminals_and_kernels_do_not_inherit_the_secret(server: RunContainer, http: httpx.Client) -> None:
    assert SECRET not in run_cell(server, http, "import os; print(dict(os.environ))")
    assert SECRET not in "".join(server.processes())
    assert SECRET not in server.engine_log()


# --- what JupyterLab does ---------------------------------------------------------------------------------------------


def run_cell(server: RunContainer, http: httpx.Client, code: str) -> str:
    """Start a kernel, run one cell over the websocket as JupyterLab does, and stop the kernel."""
    kernel = http.post("/api/kernels", json={"name": "python3"}, headers=GATE).raise_for_status().json()["id"]
    try:
        return asyncio.run(asyncio.wait_for(_execute(server.ip, kernel, code), 60))
    finally:
        http.delete(f"/api/kernels/{kernel}", headers=GATE)


async def _execute(ip: str, kernel: str, code: str) -> str:
    headers = {**GATE, "Origin": "http://x-lab.localhost:8001"}
    request = {
        "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": uuid.uuid4().hex, "version": "5.3"},
        "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
        "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False},
    }  # fmt: skip
    text = ""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{ip}:8888{BASE}/api/kernels/{kernel}/channels", headers=headers) as ws,
    ):
        await ws.send_json(request)
        while True:
            message = await ws.receive_json()
            if message["parent_header"].get("msg_id") != request["header"]["msg_id"]:  # type: ignore[index]
                continue
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return text


def test_a_cell_runs(server: RunContainer, http: httpx.Client) -> None:
    assert run_cell(server, http, "import os; print(6 * 7, os.getuid(), os.getcwd())") == "42 13011 /home/toolkit\n"


def test_a_terminal_has_the_images_shell_and_path(server: RunContainer, http: httpx.Client) -> None:
    name = http.post("/api/terminals", headers=GATE).raise_for_status().json()["name"]

    async def talk() -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{server.ip}:8888{BASE}/terminals/websocket/{name}", headers=GATE) as ws,
        ):
            await ws.send_json(["stdin", "echo $0 $PATH end$((1+1))\r"])
            text = ""
            while "end2" not in text:
                kind, *content = await ws.receive_json()
                text += content[0] if kind == "stdout" else ""
            return text

    assert "/bin/bash /opt/lab/bin:" in asyncio.run(asyncio.wait_for(talk(), 60))


def test_the_job_server_may_die(runtime_folder: Any, start_run: Callable[..., RunContainer]) -> None:
    """The command does not notice; the next request starts another one; its end ends the run."""
    run = start_run(["sh", "-c", "until [ -e go ]; do sleep 0.05; done; exit 3"])
    wait_for("the job server", lambda: run.ask_server()["state"] == "running")
    run.exec("sh", "-c", "kill -9 $(pgrep -f toolkit-job-server)")
    answer = wait_for("its end", lambda: (a := run.ask_server())["state"] == "unavailable" and a)
    assert "exit code 137" in answer["reason"]
    wait_for("another job server", lambda: run.ask_server()["state"] == "running")
    run.exec("touch", "/home/toolkit/go")
    assert run.code() == 3
    assert run.log() == ""


def test_a_prewarmed_server_stops_cleanly(start_run: Callable[..., RunContainer]) -> None:
    run = start_run(None, prewarm=True)
    wait_for("the job server", lambda: run.ask_server()["state"] == "running")
    run.stop(20)
    assert run.code() == 0
