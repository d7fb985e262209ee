"""supervisord's configuration, the units' environment, and what happens to units when their supervisor is killed."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from traitlets.config import Config

from toolkit_hub.configure import Toolkit
from toolkit_hub.host import site as site_module
from toolkit_hub.host.ports import is_free
from toolkit_hub.host.steps import SetupError
from toolkit_hub.host.supervision import (
    Supervisor,
    control_socket,
    log_file,
    start_supervisor,
    supervisor_config,
    write_config,
)
from toolkit_hub.host.unit import UNITS, unit_command


def site_in(state: Path, base: int = 23500) -> Toolkit:
    return Toolkit(config=Config({"Toolkit": {"base_port": base, "state_dir": str(state)}}))


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    parser.read_string(text)
    return parser


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_unit_restarts_rotates_its_log_and_names_no_secret(tmp_path: Path) -> None:
    site = site_in(tmp_path / "a folder")
    secrets = [site.secret(name) for name in ("proxy-token", "service-token", "internal-token", "proxy-check-token")]
    text = supervisor_config(site, tmp_path)
    config = parsed(text)
    for unit in UNITS:
        section = dict(config[f"program:{unit}"])
        assert section["autorestart"] == "true"
        assert section["stopasgroup"] == "false"
        assert section["killasgroup"] == "true"
        assert section["stdout_logfile"] == str(log_file(site, unit))
        assert section["stdout_logfile_backups"] == "3"
        assert shlex.split(section["command"])[0] == sys.executable
    assert not any(secret in text for secret in secrets)
    priorities = [int(config[f"program:{unit}"]["priority"]) for unit in UNITS]
    assert priorities == sorted(priorities)


def test_percent_signs_of_paths_are_escaped(tmp_path: Path) -> None:
    text = supervisor_config(site_in(tmp_path / "50%(x)s"), tmp_path)
    assert "50%%(x)s" in text
    assert "50%(x)s" not in text


def test_config_and_control_socket_are_private(tmp_path: Path) -> None:
    site = site_in(tmp_path / "state")
    path = write_config(site)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(control_socket(site).parent.stat().st_mode) == 0o700


def test_deep_state_folder_gets_a_short_private_socket_path(tmp_path: Path) -> None:
    site = site_in(tmp_path / ("deep" * 30))
    write_config(site)
    folder = control_socket(site).parent
    try:
        assert len(str(control_socket(site))) < 100
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()


def test_units_get_no_token_of_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "TOOLKIT_TOKEN",
        "TOOLKIT_RUN_SECRET",
        "JUPYTERHUB_API_TOKEN",
        "CONFIGPROXY_AUTH_TOKEN",
        "EAI_PROFILE",
    ):
        monkeypatch.setenv(name, "a-token")
    monkeypatch.setenv("TOOLKIT_CONFIG", "jupyterhub_config.py")
    monkeypatch.setenv("DOCKER_HOST", "unix:///somewhere")
    environment = site_module.unit_environment(site_in(tmp_path))
    assert "a-token" not in environment.values()
    assert environment["DOCKER_HOST"] == "unix:///somewhere"
    assert environment["TOOLKIT_STATE"] == str(tmp_path)
    assert environment["TOOLKIT_PORT"] == "23500"
    assert Path(environment["TOOLKIT_CONFIG"]).is_absolute()


def test_hub_reads_the_sites_config() -> None:
    assert unit_command("hub", "/etc/site.py")[-3:] == ["toolkit_hub.hub", "-f", "/etc/site.py"]
    assert unit_command("gate", "/etc/site.py")[-2:] == ["-m", "toolkit_hub.host.gate_keeper"]


def test_without_units_the_way_to_start_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        Supervisor(site_in(tmp_path)).states()
    assert "make run" in caught.value.hint


@pytest.mark.parametrize("port", ["http", "0", "70000", "-1"])
def test_bad_port_is_refused_with_the_range(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, port: str) -> None:
    (tmp_path / "jupyterhub_config.py").write_text("c = get_config()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOOLKIT_CONFIG", raising=False)
    monkeypatch.setenv("TOOLKIT_PORT", port)
    with pytest.raises(SetupError, match="from 1 to 65530"):
        site_module.load_site()


def test_paths_hold_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jupyterhub_config.py").write_text("c = get_config()\nc.Toolkit.organization = 'zeta'\n")
    monkeypatch.chdir(tmp_path)
    for name in ("TOOLKIT_CONFIG", "TOOLKIT_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOOLKIT_STATE", "here")
    site = site_module.load_site()
    assert site.organization == "zeta"
    assert site.state_dir == os.environ["TOOLKIT_STATE"] == str(tmp_path / "here")
    assert os.environ["TOOLKIT_CONFIG"] == str(tmp_path / "jupyterhub_config.py")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Toolkit, int]]:
    """A supervisord of its own with the proxy unit started; the pid of supervisord."""
    (tmp_path / "jupyterhub_config.py").write_text("c = get_config()\n")
    monkeypatch.setenv("TOOLKIT_CONFIG", str(tmp_path / "jupyterhub_config.py"))
    base = next(base for base in range(23600, 60000, 10) if all(is_free("127.0.0.1", base + n) for n in range(6)))
    site = site_in(tmp_path / "state", base)
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    process = start_supervisor(site, lock)
    os.close(lock)
    Supervisor(site).start("proxy")
    wait_for(lambda: not is_free("127.0.0.1", base))
    yield site, process.pid
    process.terminate()
    process.wait(30)
    assert is_free("127.0.0.1", base), "the unit outlived its supervisor"


def test_killed_unit_comes_back_and_leaves_nothing_behind(running: tuple[Toolkit, int]) -> None:
    site, _ = running
    supervisor = Supervisor(site)
    before = supervisor.states()["proxy"].pid
    wait_for(lambda: supervisor.states()["proxy"].state == "RUNNING")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: supervisor.states()["proxy"].pid not in (0, before))
    wait_for(lambda: not is_free("127.0.0.1", site.base_port))
    supervisor.stop("proxy")
    assert is_free("127.0.0.1", site.base_port)
    assert supervisor.states()["proxy"].state == "STOPPED"


def test_units_end_with_a_killed_supervisor(running: tuple[Toolkit, int]) -> None:
    site, pid = running
    unit = Supervisor(site).states()["proxy"].pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(unit))
    wait_for(lambda: is_free("127.0.0.1", site.base_port))
