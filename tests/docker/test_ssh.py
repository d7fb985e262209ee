"""What OpenSSH's own clients do with a job's ssh server, in an image that has neither."""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docker.run_container import wait_for
from tests.support.echo import ECHO, free_port
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime.selftest import DATA, IMAGES, ensure_images
from toolkit_spawner.runtime.trial import Trial, TrialFailed

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def trial(engine: Engine, runtime_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A bare Debian, and an app in it that listens on a port of loopback and one that listens on a unix socket."""
    ensure_images(engine, runtime_folder, print)
    folder = tmp_path_factory.mktemp("trial") / "ssh"
    environment = {"GREETING": "good 'morning' \"all\"", "TOOLKIT_JOB_ID": "some-job"}
    with Trial(engine, runtime_folder / "current", IMAGES["bookworm"], folder, environment) as trial:
        trial.start_job_server()
        (trial.home / "echo.py").write_text(ECHO)
        for place in ("5000", "/tmp/echo.sock"):
            trial.ssh(f"nohup /opt/toolkit/base/bin/python3 -I echo.py {place} > /dev/null 2>&1 < /dev/null &")
        yield trial


@contextmanager
def forwarded(trial: Trial, *words: str) -> Iterator[None]:
    command = [
        *trial.program("ssh"),
        *trial.ssh_options(),
        "-o",
        "ExitOnForwardFailure=yes",
        "-N",
        *words,
        "toolkit@job",
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def asked(family: int, address: object) -> bytes:
    def ask() -> bytes | None:
        with socket.socket(family) as connection:
            try:
                connection.connect(address)
            except OSError:
                return None
            connection.sendall(b"hello")
            return connection.recv(100)

    return bytes(wait_for("the forward", ask))


def test_both_names_and_no_other(trial: Trial) -> None:
    for name in ("work", "toolkit"):
        said = trial.client("ssh", [*trial.ssh_options(), f"{name}@job", "id -u; echo $USER $HOME"]).decode()
        assert said == f"13011\n{name} /home/toolkit\n"
    with pytest.raises(TrialFailed, match="Permission denied"):
        trial.client("ssh", [*trial.ssh_options(), "root@job", "true"])


def test_another_key_is_refused(trial: Trial, tmp_path: Path) -> None:
    options = trial.ssh_options()
    trial.client("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")])
    options[options.index("-o", options.index("IdentitiesOnly=yes")) + 1] = f"IdentityFile={tmp_path}/other"
    with pytest.raises(TrialFailed, match="Permission denied"):
        trial.client("ssh", [*options, "work@job", "true"])


def test_the_session_has_the_jobs_environment(trial: Trial) -> None:
    said = trial.ssh('printf "%s|" "$GREETING" "$TOOLKIT_JOB_ID"; env')
    text = said.decode()
    assert text.startswith("good 'morning' \"all\"|some-job|")
    assert "SECRET" not in text
    assert "\nPATH=/usr/bin:/bin:/opt/toolkit/bin\n" in text


def test_a_terminal_with_its_size(trial: Trial) -> None:
    said = trial.client(
        "ssh", [*trial.ssh_options(), "-tt", "work@job", "tty; echo $TERM"], TERM="xterm-256color"
    ).decode()
    assert said.splitlines()[0].startswith("/dev/pts/")
    assert said.splitlines()[1] == "xterm-256color"


def test_scp_both_ways(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(DATA)
    options = ["-S", str(trial.ssh_program()), *trial.ssh_options()]
    trial.client("scp", [*options, str(tmp_path / "here"), "work@job:there dir"])
    trial.client("scp", [*options, "work@job:there dir", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == DATA


def test_rsync_both_ways(trial: Trial, tmp_path: Path) -> None:
    """The image has no rsync; the runtime's is last on the job's PATH."""
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_bytes(DATA)
    remote = shlex.join([str(trial.ssh_program()), *trial.ssh_options()])
    trial.client("rsync", ["-a", "-e", remote, f"{tmp_path}/tree", "work@job:"])
    trial.client("rsync", ["-a", "-e", remote, "work@job:tree/", f"{tmp_path}/back"])
    assert (tmp_path / "back/sub/file").read_bytes() == DATA


def test_a_port_is_forwarded(trial: Trial) -> None:
    port = free_port()
    with forwarded(trial, "-L", f"{port}:127.0.0.1:5000"):
        assert asked(socket.AF_INET, ("127.0.0.1", port)) == b"echo hello"


def test_a_unix_socket_is_forwarded(trial: Trial, tmp_path: Path) -> None:
    with forwarded(trial, "-L", f"{tmp_path}/sock:/tmp/echo.sock"):
        assert asked(socket.AF_UNIX, f"{tmp_path}/sock") == b"echo hello"


def test_a_port_is_forwarded_backwards(trial: Trial) -> None:
    ask = "import socket; s = socket.create_connection(('127.0.0.1', 5001)); print(s.recv(9))"
    script = f'until /opt/toolkit/base/bin/python3 -I -c "{ask}" 2>/dev/null; do sleep 0.1; done'
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    with listener, forwarded(trial, "-R", f"5001:127.0.0.1:{listener.getsockname()[1]}"):
        process = subprocess.Popen(
            [*trial.program("ssh"), *trial.ssh_options(), "work@job", script], stdout=subprocess.PIPE
        )
        listener.accept()[0].sendall(b"backwards")
        assert process.communicate(timeout=20)[0] == b"b'backwards'\n"


def test_the_agent_is_forwarded(trial: Trial, tmp_path: Path) -> None:
    trial.client("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "of-the-agent", "-f", str(tmp_path / "key")])
    agent = subprocess.Popen([*trial.program("ssh-agent"), "-D", "-a", f"{tmp_path}/agent"], stdout=subprocess.DEVNULL)
    try:
        wait_for("the agent", (tmp_path / "agent").exists)
        place = {"SSH_AUTH_SOCK": f"{tmp_path}/agent"}
        trial.client("ssh-add", ["-q", str(tmp_path / "key")], **place)
        said = trial.client("ssh", [*trial.ssh_options(), "-A", "work@job", "ssh-add -l"], **place).decode()
        assert "of-the-agent (ED25519)" in said
    finally:
        agent.terminate()
        agent.wait(10)


def test_a_terminal_ends_with_its_client(trial: Trial) -> None:
    """Nothing is left of a session whose client went away."""
    process = subprocess.Popen(
        [*trial.program("ssh"), *trial.ssh_options(), "-tt", "work@job", "echo on; exec sleep 4321"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\r\n"
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while b"4321" in trial.ssh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 432[1]' || true"):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_thirty_at_once(trial: Trial) -> None:
    command = [*trial.program("ssh"), *trial.ssh_options(), "work@job"]
    running = [subprocess.Popen([*command, f"echo {n}"], stdout=subprocess.PIPE) for n in range(30)]
    assert [process.communicate(timeout=60)[0] for process in running] == [b"%d\n" % n for n in range(30)]
