"""The images, the runtime folder, and PID 1 in real containers."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.docker.run_container import RunContainer, wait_for
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime import RuntimeBuildError
from toolkit_spawner.runtime import build as build_module
from toolkit_spawner.runtime import parts as parts_module
from toolkit_spawner.runtime.build import build_all
from toolkit_spawner.runtime.parts import RECIPES, assemble, runtime_parts
from toolkit_spawner.runtime.wheel import project

pytestmark = pytest.mark.engine
Start = Callable[..., RunContainer]

#: What an image may set that would break or take over a Python or a program of the host's libc.
HOSTILE = {
    "LD_PRELOAD": "/evil.so",
    "LD_LIBRARY_PATH": "/bin:/lib:/usr/lib/x86_64-linux-gnu",
    "LD_AUDIT": "/evil.so",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "PYTHONSTARTUP": "/evil.py",
    "PYTHONINSPECT": "1",
    "LC_ALL": "tlh_QX.unknown",
}


# --- building ---------------------------------------------------------------------------------------------------------


def test_second_build_does_nothing(engine: Engine, runtime_folder: Path) -> None:
    lines: list[str] = []
    before = (runtime_folder / "current").resolve()
    begin = time.monotonic()
    build_all(runtime_folder, engine, lines.append)
    assert time.monotonic() - begin < 5
    assert lines == []
    assert (runtime_folder / "current").resolve() == before


def test_runtime_folder_is_closed_to_changes(runtime_folder: Path) -> None:
    """No link leads out of it, either: it would lead into the image."""
    folder = (runtime_folder / "current").resolve()
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        assert status.st_uid == 0, path
        if stat.S_ISLNK(status.st_mode):
            assert not os.readlink(path).startswith("/"), path
            assert folder in path.resolve().parents, path
            continue
        assert not status.st_mode & 0o022, path
        assert status.st_mode & 0o044 == 0o044, path


def test_a_new_version_shares_the_parts_that_did_not_change(
    engine: Engine, runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (runtime_folder / "current").resolve()
    base, code, own = runtime_parts()
    files = own.files | {"changed": b"something"}
    version = assemble(engine, runtime_folder, [base, code, replace(own, files=files)])
    try:
        assert version != before
        for path in ("base/bin/python3", "code/bin/node"):
            assert (version / path).stat().st_ino == (before / path).stat().st_ino
        assert (version / "bin/toolkit").stat().st_ino != (before / "bin/toolkit").stat().st_ino
    finally:
        shutil.rmtree(version)


def test_the_runtimes_packages_are_what_the_project_asks_for() -> None:
    """The lock is for Linux and the runtime's own Python; it has what the job side needs, and neither slow package."""
    lines = (RECIPES / "packages.txt").read_text().splitlines()
    pinned = dict(line.split(" ")[0].split("==") for line in lines)
    assert all("--hash=sha256:" in line for line in lines)
    for text in (*project().requirements, "ipykernel"):
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[requirement.name]), text
    assert not {"rfc3987-syntax", "lark"} & set(pinned)


def test_failed_build_says_why(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for path in RECIPES.iterdir():
        if path.is_file():
            (recipes / path.name).write_bytes(path.read_bytes())
    (recipes / "Dockerfile.lab").write_text("FROM toolkit-base:bookworm\nRUN echo some words; exit 7\n")
    monkeypatch.setattr(parts_module, "RECIPES", recipes)
    monkeypatch.setattr(build_module, "LAB_IMAGE", "toolkit-test-broken:latest")
    with pytest.raises(
        RuntimeBuildError, match=r"(?s)toolkit-test-broken.*could not be built.*TOOLKIT_CA_BUNDLE.*some words"
    ):
        build_all(tmp_path / "runtime", engine, lambda line: None)
    assert not (tmp_path / "runtime" / "current").exists()


def test_default_image(start_run: Start) -> None:
    script = """
      id -u; id -g; whoami; getent passwd work; readlink -f /home/work; pwd; echo $PATH; which python3 pip git toolkit
      python3 -c 'import jupyterlab, ipykernel, toolkit_client, sys; print(sys.prefix)'
      python3 -c 'import toolkit_hub' 2>&1 | tail -1
      find / -xdev -type f -perm -0002 -not -path '/proc/*' -not -path '/tmp/*' 2>/dev/null || true
    """
    run = start_run(["bash", "-c", script])
    assert run.code() == 0
    lines = run.log().splitlines()
    assert lines[:4] == ["13011", "13011", "toolkit", "work:x:13011:13011::/home/toolkit:/bin/bash"]
    assert lines[4:6] == ["/home/toolkit", "/home/toolkit"]
    assert lines[6].startswith("/opt/lab/bin:")
    assert lines[7:11] == ["/opt/lab/bin/python3", "/opt/lab/bin/pip", "/usr/bin/git", "/opt/lab/bin/toolkit"]
    assert lines[11] == "/opt/lab"
    assert lines[12:] == ["ModuleNotFoundError: No module named 'toolkit_hub'"]


# --- PID 1 in any image -----------------------------------------------------------------------------------------------


def test_image_with_nothing_but_busybox(start_run: Start, scratch_image: str) -> None:
    run = start_run(["sh", "-c", "echo hello; ls /lib /usr 2>&1 | head -1; exit 3"], image=scratch_image, workdir="/")
    assert run.code() == 3
    assert run.log().startswith("hello\nls: /lib: No such file")


def test_missing_command_in_scratch(start_run: Start, scratch_image: str) -> None:
    run = start_run(["python3", "-V"], image=scratch_image, workdir="/")
    assert run.code() == 127
    assert run.log() == "toolkit: cannot run 'python3': no such file or directory in the image (PATH=/bin)\n"


def test_hostile_settings_of_an_image(start_run: Start, scratch_image: str) -> None:
    """They reach the command, untouched, and nothing else. The static busybox does not mind them."""
    run = start_run(["env"], image=scratch_image, env=HOSTILE, workdir="")
    assert run.code() == 0
    seen = dict(line.split("=", 1) for line in run.log().splitlines())
    assert {key: seen.get(key) for key in HOSTILE} == HOSTILE
    assert set(seen) == {*HOSTILE, "HOME", "PATH", "HOSTNAME"}
    assert run.engine_log() == ""


def test_preloaded_library_of_another_libc(start_run: Start) -> None:
    """A loader that heeds LD_PRELOAD would complain about this one, as the shell's does."""
    env = {"LD_PRELOAD": "/opt/lab/pyvenv.cfg", "LD_LIBRARY_PATH": "/tmp"}
    run = start_run(["/bin/sh", "-c", "exit 5"], env=env)
    assert run.code() == 5
    assert "LD_PRELOAD cannot be preloaded" in run.log()
    assert run.engine_log() == ""


def test_read_only_image(start_run: Start) -> None:
    run = start_run(["sh", "-c", "touch /tmp/x 2>&1; echo on"], host_config={"ReadonlyRootfs": True})
    assert run.code() == 0
    assert run.log().endswith("on\n")


# --- PID 1's duties ---------------------------------------------------------------------------------------------------


def test_orphans_are_reaped(start_run: Start) -> None:
    """Forty grandchildren lose their parents and end; none stays as a zombie."""
    script = "mkfifo never; for i in $(seq 40); do sh -c 'sleep 0.1 & exit'; done; echo made; read x < never"
    run = start_run(["bash", "-c", script])
    run.wait_log("made")

    def only_two() -> bool:
        return len(run.processes()) == 2

    wait_for("no process but PID 1 and the shell", only_two)
    assert run.state()["Running"]


def test_stop_is_passed_on(start_run: Start) -> None:
    run = start_run(["bash", "-c", "trap 'echo saved; exit 5' TERM; echo up; while :; do sleep 0.05; done"])
    run.wait_log("up")
    run.stop(10)
    assert run.code() == 5
    assert run.log().endswith("saved\n")


def test_all_is_killed_before_the_engine_would(start_run: Start) -> None:
    """Also what left the command's session; the exit code is the command's, and PID 1 was not killed itself."""
    stay = "trap '' TERM; echo {}; while :; do sleep 1; done"
    run = start_run(["bash", "-c", f'setsid sh -c "{stay.format("away")}" & {stay.format("up")}'], stop_grace=5)
    run.wait_log("up")
    run.wait_log("away")
    begin = time.monotonic()
    run.stop(30)  # the engine itself would wait far longer
    assert 2 < time.monotonic() - begin < 8
    assert run.code() == 137
    assert "killed" in run.engine_log()
    assert not run.state()["OOMKilled"]


def test_out_of_memory(start_run: Start) -> None:
    limit = {"Memory": 128 * 2**20, "MemorySwap": 128 * 2**20}
    run = start_run(["python3", "-c", "x = bytearray(400_000_000); print(len(x))"], host_config=limit)
    assert run.code() == 137
    assert run.state()["OOMKilled"]


def test_grandchildren_end_with_the_run(start_run: Start) -> None:
    begin = time.monotonic()
    run = start_run(["sh", "-c", "setsid sleep 300 & echo done"])
    assert run.code() == 0
    assert run.log() == "done\n"
    assert time.monotonic() - begin < 30


def test_a_log_that_takes_no_more(start_run: Start) -> None:
    """The command does not notice, and the engine's log says what is missing."""
    script = "head -c 8000000 /dev/zero | tr '\\0' a; until [ -e go ]; do sleep 0.05; done; echo after; exit 3"
    run = start_run(
        ["sh", "-c", script], host_config={"Ulimits": [{"Name": "fsize", "Soft": 1_000_000, "Hard": 1_000_000}]}
    )
    wait_for("a full log", lambda: len(run.log()) == 1_000_000)
    run.exec("touch", "/home/toolkit/go")
    assert run.code() == 3
    assert "7000006 bytes of output were lost: File too large" in run.engine_log()


def test_run_without_a_command(start_run: Start, scratch_image: str) -> None:
    """Without a command it lives until it is stopped; the job server needs nothing of the image."""
    run = start_run(None, image=scratch_image, workdir="")
    wait_for("the job server", lambda: run.ask_server()["state"] == "running")
    run.stop(10)
    assert run.code() == 0
