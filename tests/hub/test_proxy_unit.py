"""The proxy unit with a real hub: routes at once, none lost by a restart, no token in the process list, a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from toolkit_hub.configure import Toolkit, load_settings
from toolkit_hub.host.ports import is_free
from toolkit_hub.host.processes import command_line, socket_owner

CONFIG = """\
from toolkit_hub.configure import configure
c = get_config()
configure(c)
"""


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    base = next(base for base in range(24000, 60000, 10) if all(is_free("127.0.0.1", base + n) for n in range(6)))
    (tmp_path / "jupyterhub_config.py").write_text(CONFIG)
    monkeypatch.setenv("TOOLKIT_CONFIG", str(tmp_path / "jupyterhub_config.py"))
    monkeypatch.setenv("TOOLKIT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TOOLKIT_PORT", str(base))
    site = load_settings()
    site.secret("proxy-token")
    return site


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    processes = []

    def start_one(*arguments: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{len(processes)}.log").open("wb")
        argv = [sys.executable, "-P", "-m", *arguments]
        processes.append(subprocess.Popen(argv, stdout=log, stderr=log, cwd=tmp_path))
        return processes[-1]

    yield start_one
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(30)


def routes(site: Toolkit) -> dict[str, object]:
    """The proxy's table; empty while it does not answer."""
    headers = {"Authorization": f"token {site.secret('proxy-token')}"}
    try:
        answer = httpx.get(f"{site.proxy_api_url}/api/routes", headers=headers, trust_env=False)
    except httpx.HTTPError:
        return {}
    assert answer.status_code == httpx.codes.OK
    return dict(answer.json())


def hub_answers(site: Toolkit) -> bool:
    try:
        return httpx.get(f"{site.public_url}/hub/api/", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def proxy_child(site: Toolkit) -> int:
    pid = socket_owner(site.base_port)
    assert pid is not None
    return pid


def test_restarted_proxy_has_its_routes_back_within_seconds(
    site: Toolkit, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    unit = start("toolkit_hub.proxy")
    wait_for(lambda: bool(routes(site)))
    start("toolkit_hub.hub", "-f", os.environ["TOOLKIT_CONFIG"])
    wait_for(lambda: "/services/toolkit" in routes(site))
    wait_for(lambda: hub_answers(site))
    unit.terminate()
    unit.wait(10)
    wait_for(lambda: is_free("127.0.0.1", site.base_port))
    start("toolkit_hub.proxy")
    assert wait_for(lambda: "/services/toolkit" in routes(site)) < 10


def test_its_api_asks_for_the_token_which_the_process_list_does_not_show(
    site: Toolkit, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    unit = start("toolkit_hub.proxy")
    wait_for(lambda: bool(routes(site)))
    assert httpx.get(f"{site.proxy_api_url}/api/routes", trust_env=False).status_code == httpx.codes.FORBIDDEN
    for pid in (unit.pid, proxy_child(site)):
        assert site.secret("proxy-token") not in Path(f"/proc/{pid}/cmdline").read_text()
    assert "configurable-http-proxy" in command_line(proxy_child(site))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_program_ends_with_the_unit(
    site: Toolkit, start: Callable[..., subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    unit = start("toolkit_hub.proxy")
    wait_for(lambda: bool(routes(site)))
    unit.send_signal(number)
    unit.wait(10)
    wait_for(lambda: is_free("127.0.0.1", site.base_port), 10)


def test_the_unit_ends_with_the_program(site: Toolkit, start: Callable[..., subprocess.Popen[bytes]]) -> None:
    unit = start("toolkit_hub.proxy")
    wait_for(lambda: bool(routes(site)))
    os.kill(proxy_child(site), signal.SIGKILL)
    assert unit.wait(10) == 128 + signal.SIGKILL
