"""“Container Applications”, “Run a shell image” and “Run VisualStudio Code”, as people are told to do it: command by command."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest

from tests.hub.app_forwards import Browser, app
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine
Words = Callable[..., str]


@pytest.fixture(scope="module")
def toolkit(site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> Words:
    """The command line of somebody on a laptop; gives what it prints."""
    folder = tmp_path_factory.mktemp("laptop")

    def run(*line: str, code: int = 0, user: str = "sela", cwd: Path = folder, stdin: str = "") -> str:
        done = site.cli(*line, user=user, stdin=stdin, timeout=120, cwd=cwd)
        assert done.returncode == code, f"{line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip() if code == 0 else done.stderr.strip()

    return run


@pytest.fixture(scope="module")
def session(toolkit: Words) -> Iterator[str]:
    """``start -t mysession python``."""
    shown = toolkit("start", "-t", "mysession", "-r", "cpu=1", "-r", "mem=1g", "python")
    lines = [line.split()[0] for line in shown.splitlines()]
    assert lines == ["name", "jupyter", "ttyd", "code-server", "sshd", "8080"]
    assert "toolkit app mysession jupyter" in shown
    yield "mysession"
    toolkit("job", "kill", "mysession")


def test_a_session_starts_without_running_any_code(toolkit: Words, session: str) -> None:
    job = json.loads(toolkit("session", "get", session, "--format", "json"))
    assert (job["image"], job["command"], job["interactive"], job["state"]) == ("toolkit-lab", [], True, "RUNNING")
    assert session in toolkit("ps")
    assert "command: []" in toolkit("job", "info", "--job-spec", session)


def test_its_jupyter_notebook(site: RunningSite, toolkit: Words, session: str) -> None:
    """``app -b 9900 mysession jupyter``, and then the browser."""
    with app(site, "-b", "0", session, "jupyter", user="sela") as local:
        assert local.line == f"{local.url}/"
        browser = Browser()
        first = browser.get(local.url)
        assert first.status_code == 303
        once = first.headers["Location"]
        lab_host = urlsplit(json.loads(toolkit("job", "get", session, "--format", "json"))["labUrl"]).netloc
        assert urlsplit(once).netloc == lab_host
        assert (first.headers["Cache-Control"], first.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
        url, page = browser.open(once)
        assert (page.status_code, urlsplit(url).netloc) == (200, lab_host)
        assert "JupyterLab" in page.text
        # A second browser comes too late with the same address.
        assert Browser().get(once).status_code == 403
        assert once.partition("code=")[2][:20] not in site.logs(2000)

        url, page = Browser().open(f"{local.url}/lab/tree/some%20folder?reset")
        assert url.endswith("/lab/tree/some%20folder?reset")
        assert local.interrupt() == 130


def test_programs_at_the_local_port(site: RunningSite, session: str) -> None:
    """As an editor does that was given the address of a Jupyter server."""
    with app(site, session, "jupyter", user="sela") as local:
        assert "python3" in local.ask("/api/kernelspecs").json()["kernelspecs"]
        big = {"type": "file", "format": "text", "content": "x" * 3_000_000}
        assert local.ask("/api/contents/big.txt", "PUT", json=big).status_code == 201
        assert len(local.ask("/api/contents/big.txt").json()["content"]) == 3_000_000
        kernel = local.ask("/api/kernels", "POST", json={"name": "python3"}).json()["id"]
        assert asyncio.run(_answer(f"{local.url}/api/kernels/{kernel}/channels")) == "42"
        assert local.ask(f"/api/kernels/{kernel}", "DELETE").status_code == 204


async def _answer(channels: str) -> str:
    """What the kernel says to 6*7."""
    header = {
        "msg_id": "1",
        "msg_type": "execute_request",
        "username": "",
        "session": "s",
        "date": "",
        "version": "5.3",
    }
    content = {"code": "6*7", "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    message = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
    async with aiohttp.ClientSession() as http, http.ws_connect(channels) as websocket, asyncio.timeout(60):
        await websocket.send_json(message)
        async for each in websocket:
            found = json.loads(each.data)
            if found["msg_type"] == "execute_result":
                return str(found["content"]["data"]["text/plain"])
    raise AssertionError("the kernel did not answer")


def test_the_web_terminal(site: RunningSite, session: str) -> None:
    """``app -b 9900 mysession ttyd``."""
    with app(site, "-b", "127.0.0.1:0", session, "ttyd", user="sela") as local:
        url, page = Browser().open(local.url)
        assert url.endswith("/ttyd/")
        assert "ttyd" in page.text


def test_the_keys(site: RunningSite, toolkit: Words, session: str, tmp_path: Path) -> None:
    """``session download mysess id_container``, then ``vfolder create .ssh`` and ``vfolder upload .ssh authorized_keys``."""
    toolkit("session", "download", session, "id_container", cwd=tmp_path)
    key = tmp_path / "id_container"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    own = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
    (tmp_path / "authorized_keys").write_text(own)
    toolkit("vfolder", "create", ".ssh")
    toolkit("vfolder", "upload", ".ssh", "authorized_keys", cwd=tmp_path)
    assert "authorized_keys" in toolkit("vfolder", "ls", ".ssh")


def test_a_shell_image(toolkit: Words) -> None:
    toolkit("job", "submit", "--", "bash", "-c", "while true; do sleep 60; done;")
    shown = toolkit("job", "exec", "--wait", "--last", "--", "bash", stdin="echo $((6*7)); exit\n")
    assert shown == "42"
    toolkit("job", "kill", "--last")


def test_visual_studio_code(site: RunningSite, toolkit: Words) -> None:
    toolkit("data", "new", "vscode")
    job = toolkit(
        "job",
        "submit",
        "--data",
        "acme.sela.vscode:/home/coder/.local/share/code-server",
        "--field",
        "id",
        "code-server",
        "--",
        "--host",
        "0.0.0.0",
        "--auth",
        "none",
    )
    site.wait_state(job, "RUNNING", user="sela")
    assert toolkit("job", "get", job, "--field", "command") == "[code-server --host 0.0.0.0 --auth none]"
    address = urlsplit(toolkit("job", "get", job, "--field", "accessUrl"))
    headers = {"Host": address.netloc, "Authorization": f"Bearer {site.token('sela')}"}

    def page() -> httpx.Response | None:
        with httpx.Client(trust_env=False, timeout=30, follow_redirects=False) as http:
            found = http.get(f"http://127.0.0.1:{address.port}/?folder=/home/coder", headers=headers)
        return found if found.status_code == 200 else None

    found = wait_until(page, "code-server's page", 60, lambda: site.log_of(job, "sela").decode())
    assert "code-server" in found.text
    toolkit("job", "kill", job)
