"""ssh into jobs by name: `toolkit ssh`, and after `toolkit ssh config` OpenSSH's own clients, with the host key checked."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hub.ssh_house import TOOLKIT, SshUser
from tests.support.echo import ECHO, free_port
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def sue(site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> SshUser:
    """With `toolkit ssh config` done."""
    user = SshUser(site, "sue", tmp_path_factory.mktemp("sue"))
    user.toolkit("ssh", "config", "--write")
    return user


@pytest.fixture(scope="module")
def job(sue: SshUser) -> Iterator[str]:
    """A running job, called `hull`, with an echo on port 5000 and on a unix socket."""
    made = sue.job(
        "bash", "-c", f"for at in 5000 /tmp/echo.sock; do python3 -c {shlex.quote(ECHO)} $at & done; wait", name="hull"
    )
    yield made
    sue.kill(made)


def asked(user: SshUser, job: str, forwarding: subprocess.Popen[bytes], family: int, address: object) -> bytes:
    """What the echo in the job says through a forwarding; a failure comes with the words of ssh and of the job."""
    seen: list[str] = []

    def ask() -> bytes | None:
        with socket.socket(family) as connection:
            try:
                connection.connect(address)
                connection.sendall(b"hello")
                return connection.recv(100)
            except OSError as error:  # the forwarding, or what answers in the job, is not there yet
                seen.append(str(error))
                return None

    def explain() -> str:
        look = "for at in /proc/[0-9]*; do tr '\\0' ' ' < $at/cmdline; echo; done; cat /proc/net/tcp; ls -l /tmp"
        inside = user.done(TOOLKIT, "job", "exec", job, "--", "sh", "-c", look).stdout.decode()
        log = user.done(TOOLKIT, "job", "logs", job).stdout
        forwarding.terminate()
        words = forwarding.communicate(timeout=10)
        return f"{seen[-1:]}\nssh: {forwarding.returncode} {words}\njob: {log!r}\n{inside}"

    return bytes(wait_until(ask, f"an answer at {address}", explain=explain))


@contextmanager
def in_background(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


# --- toolkit ssh ----------------------------------------------------------------------------------------------------------


def test_a_command_with_its_streams_and_exit_code(sue: SshUser, job: str) -> None:
    assert sue.toolkit("ssh", "hull", "true") == ""
    sue.toolkit("ssh", job, "false", code=1)
    sue.toolkit("ssh", "acme.sue.hull", "exit", "7", code=7)
    assert sue.toolkit("ssh", "--last", "--", "cat; echo $TOOLKIT_JOB_ID $USER", data=b"in ") == f"in {job} toolkit\n"
    assert sue.toolkit("ssh", "work@hull", "whoami") in ("work\n", "toolkit\n")
    done = sue.done(TOOLKIT, "ssh", "hull", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert list(Path("/tmp").glob("toolkit-ssh-*/socket")) == []


def test_no_token_is_on_a_command_line(sue: SshUser, job: str) -> None:
    with in_background(sue.start(TOOLKIT, "ssh", "hull", "echo on; sleep 100")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        seen = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        assert b"sleep 100" in seen
        assert sue.environment["TOOLKIT_TOKEN"].encode() not in seen


def test_options_of_ssh_pass_through(sue: SshUser, job: str) -> None:
    port = free_port()
    line = [TOOLKIT, "ssh", "-o", "ExitOnForwardFailure=yes", "-N", "-L", f"{port}:127.0.0.1:5000", "hull"]
    with in_background(sue.start(*line)) as ssh:
        assert asked(sue, job, ssh, socket.AF_INET, ("127.0.0.1", port)) == b"echo hello"
    assert "/dev/pts/" in sue.toolkit("ssh", "-tt", "hull", "tty")
    assert "Authenticated to hull.toolkit" in sue.done(TOOLKIT, "ssh", "-v", "hull", "true").stderr.decode()
    assert "no such option" in sue.refused("ssh", "--no-such", "hull", code=2).lower()


def test_tmux_is_found_again(sue: SshUser, job: str) -> None:
    """The session that the browser's terminal shows as well."""
    for text in ("first", "second"):
        terminal = {**sue.environment, "TERM": "xterm-256color"}
        process = sue.start(TOOLKIT, "ssh", "-tt", "--tmux=deck", "hull", stdin=subprocess.PIPE, env=terminal)
        with in_background(process):
            assert process.stdin is not None
            if text == "first":
                process.stdin.write(b"MARK=from-$((40 + 2)); clear; echo marked\n")
                process.stdin.flush()
                wait_until(
                    lambda: (
                        "marked" in sue.toolkit("ssh", "hull", "/opt/toolkit/bin/tmux capture-pane -p -t deck || true")
                    ),
                    "the terminal's session",
                )
                continue
            process.stdin.write(b"clear; echo it-is-$MARK\n")
            process.stdin.flush()
            wait_until(
                lambda: "it-is-from-42" in sue.toolkit("ssh", "hull", "/opt/toolkit/bin/tmux capture-pane -p -t deck"),
                "what was set before",
            )
    assert "letters, digits" in sue.refused("ssh", "--tmux=a;b", "hull", code=2)


def test_an_idle_session_survives_a_restart_of_the_gate(sue: SshUser, job: str, site: RunningSite) -> None:
    with in_background(sue.start(TOOLKIT, "ssh", "hull", "echo on; cat", stdin=subprocess.PIPE)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"on\n"
        site.unit("restart", "gate")
        assert sue.toolkit("ssh", "hull", "echo new") == "new\n"
        process.stdin.write(b"still here\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"still here\n"
        process.stdin.close()
        assert process.wait(20) == 0


def test_ssh_is_missing_on_this_machine(sue: SshUser, job: str, tmp_path: Path) -> None:
    done = sue.done(TOOLKIT, "ssh", "hull", "true", PATH=str(tmp_path))
    assert done.returncode == 127
    assert b"`ssh` cannot be run on this machine" in done.stderr
    assert b"openssh-client" in done.stderr


# --- after `toolkit ssh config` -------------------------------------------------------------------------------------------


def test_the_configuration_is_put_in_place_and_harms_nothing(site: RunningSite, tmp_path: Path) -> None:
    user = SshUser(site, "sue", tmp_path)
    printed = user.toolkit("ssh", "config")
    assert printed.startswith("Host *.toolkit\n")
    assert not user.config.exists()
    real = tmp_path / "dotfiles-config"
    real.write_bytes(b"# caf\xe9\nHost other\n    Port 2200\n")
    real.chmod(0o640)
    user.config.parent.mkdir(mode=0o700)
    user.config.symlink_to(real)
    for _ in range(2):
        user.toolkit("ssh", "config", "--write")
    text = real.read_bytes()
    assert user.config.is_symlink()
    assert text.endswith(b"\n\n# caf\xe9\nHost other\n    Port 2200\n")
    assert text.count(b"Include") == 1
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert stat.S_IMODE((user.files / "id_ed25519").stat().st_mode) == 0o600
    assert "port 2200" in user.ssh("-G", "other")
    assert "stricthostkeychecking true" in user.ssh("-G", "a.toolkit")
    with_profile = user.toolkit("--profile", "lab", "ssh", "config")
    assert with_profile.startswith("Host *.lab.toolkit\n")
    assert "--profile lab" in with_profile


def test_ssh_scp_sftp_and_rsync_by_name(sue: SshUser, job: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/here").write_bytes(data)
    config = ("-F", str(sue.config))
    assert sue.ssh("hull.toolkit", "echo $HOME; exit 5", code=5) == "/home/toolkit\n"
    assert sue.ssh(f"{job}.toolkit", "echo by id") == "by id\n"
    sue.run("scp", *config, f"{tmp_path}/tree/here", "hull.toolkit:there dir")
    sue.run("scp", *config, "hull.toolkit:there dir", f"{tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == data
    batch = f"put {tmp_path}/tree/here sent\nget sent {tmp_path}/got\n".encode()
    sue.run("sftp", *config, "-b", "-", "hull.toolkit", data=batch)
    assert (tmp_path / "got").read_bytes() == data
    remote = shlex.join(["ssh", *config])
    sue.run("rsync", "-a", "-e", remote, f"{tmp_path}/tree", "hull.toolkit:")
    sue.run("rsync", "-a", "-e", remote, "hull.toolkit:tree/", f"{tmp_path}/again")
    assert (tmp_path / "again/here").read_bytes() == data


def test_ports_and_sockets_are_forwarded_both_ways(sue: SshUser, job: str, tmp_path: Path) -> None:
    port = free_port()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)
    words = [
        "-o",
        "ExitOnForwardFailure=yes",
        "-N",
        "-L",
        f"{port}:127.0.0.1:5000",
        "-L",
        f"{tmp_path}/s:/tmp/echo.sock",
    ]
    words += ["-R", f"5001:127.0.0.1:{listener.getsockname()[1]}", "hull.toolkit"]
    ask = "import socket; s = socket.create_connection(('127.0.0.1', 5001)); print(s.recv(9))"
    with listener, in_background(sue.start("ssh", "-F", str(sue.config), *words)) as ssh:
        assert asked(sue, job, ssh, socket.AF_INET, ("127.0.0.1", port)) == b"echo hello"
        assert asked(sue, job, ssh, socket.AF_UNIX, f"{tmp_path}/s") == b"echo hello"
        with in_background(sue.start(TOOLKIT, "ssh", "hull", f'python3 -c "{ask}"')) as process:
            listener.accept()[0].sendall(b"backwards")
            assert process.stdout is not None
            assert process.stdout.readline() == b"b'backwards'\n"


def test_the_agent_is_forwarded(sue: SshUser, job: str) -> None:
    with sue.agent(sue.key("forwarded")) as place:
        assert "forwarded-of-sue" in sue.toolkit("ssh", "-A", "hull", "ssh-add -l", SSH_AUTH_SOCK=place)
        assert "forwarded-of-sue" in sue.ssh("-A", "hull.toolkit", "ssh-add -l", SSH_AUTH_SOCK=place)
        sue.toolkit("ssh", "hull", "ssh-add -l", SSH_AUTH_SOCK=place, code=2)


# --- who may, and to whom -------------------------------------------------------------------------------------------------


def test_another_servers_host_key_is_refused(sue: SshUser) -> None:
    """The job's user puts an sshd with a key of its own in the place of the job's."""
    job = sue.job(name="trap")
    assert sue.ssh("trap.toolkit", "echo mine") == "mine\n"
    sue.toolkit(
        "job",
        "exec",
        job,
        "--",
        "bash",
        "-c",
        "cd /dev/shm/toolkit/ssh && /opt/toolkit/bin/ssh-keygen -q -t ed25519 -N '' -f other"
        " && sed -i 's:/host_key$:/other:' sshd_config",
    )
    for line in (["ssh", "-F", str(sue.config), "trap.toolkit", "true"], [TOOLKIT, "ssh", "trap", "true"]):
        done = sue.done(*line)
        assert done.returncode == 255
        assert b"Host key verification failed" in done.stderr
    sue.kill(job)


def test_who_may_not_come_in(sue: SshUser, job: str, site: RunningSite, tmp_path: Path) -> None:
    tom = SshUser(site, "tom-ssh", tmp_path)
    assert tom.refused("ssh", job, "true", code=5).startswith("error: no such job")
    urn = sue.toolkit("job", "get", job, "--field", "urn").strip()
    sue.toolkit("role", "new", "acme.sue.looker", "--policy", f"job:get@{urn}")
    sue.toolkit("role", "member", "add", "acme.sue.looker", "--user", "acme.tom-ssh")
    said = tom.refused("ssh", job, "true", code=4)
    assert "acme.tom-ssh may not do job:exec on" in said
    assert urn in said or "hull" in said
    tom.toolkit("ssh", "config", "--write")
    done = tom.done("ssh", "-F", str(tom.config), f"{job}.toolkit", "true")
    assert done.returncode == 255
    assert b"acme.tom-ssh may not do job:exec on" in done.stderr


def test_a_right_that_is_taken_away_cuts_the_session(sue: SshUser, job: str, site: RunningSite, tmp_path: Path) -> None:
    una = SshUser(site, "una-ssh", tmp_path)
    urn = sue.toolkit("job", "get", job, "--field", "urn").strip()
    sue.toolkit("role", "new", "acme.sue.mate", "--policy", f"job:get+job:exec@{urn}")
    sue.toolkit("role", "member", "add", "acme.sue.mate", "--user", "acme.una-ssh")
    with in_background(una.start(TOOLKIT, "ssh", job, "echo on; exec sleep 1000")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        sue.toolkit("role", "member", "rm", "acme.sue.mate", "--user", "acme.una-ssh")
        assert process.wait(15) == 255


def test_jobs_that_do_not_run(sue: SshUser, site: RunningSite) -> None:
    assert sue.refused("ssh", "no-such-job", "true", code=5).startswith("error: no such job")
    waiting = site.submit("sleep", "60", user="sue", resources={"cpu": 16}).id
    done = sue.done(TOOLKIT, "ssh", waiting, "true")
    if done.returncode != 0:  # it may have had its turn already
        assert done.returncode == 1
        assert b"nothing can be run in it yet" in done.stderr
        assert b"--wait" in done.stderr
    sue.kill(waiting)
    with site.client("sue") as client:
        client.jobs.wait(waiting)
    assert "it has ended" in sue.refused("ssh", waiting, "true", code=1)
    fresh = site.submit("sleep", "60", user="sue").id
    assert sue.toolkit("ssh", "--wait", fresh, "echo runs") == "runs\n"
    with in_background(sue.start(TOOLKIT, "ssh", fresh, "echo on; exec sleep 1000")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        sue.kill(fresh)
        assert process.wait(40) == 255


def test_a_client_that_says_nothing_or_nonsense(sue: SshUser, job: str) -> None:
    """On the stream itself; the others go on."""
    from toolkit_client.exec.channel import SSH_PROTOCOL, open_channel

    with sue.site.client("sue") as client:
        url = client.jobs.get(job).lab_url.removesuffix("lab") + "ssh"
    token = sue.environment["TOOLKIT_TOKEN"]
    for line, words in (
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"problem"),
        (b'{"keys": ["command=\\"evil\\" ssh-ed25519 AAAA"]}\n', b"not a public key"),
        (b'{"keys": [], "agent": "../../etc"}\n', b"not the name of an agent"),
        (b"[" * 5000 + b"\n", b""),
    ):
        channel = open_channel(url, token, SSH_PROTOCOL)
        try:
            assert words in channel.exchange(line, 20)
        except ConnectionResetError:
            assert not words
        finally:
            channel.close()
    silent = open_channel(url, token, SSH_PROTOCOL)
    assert sue.toolkit("ssh", "hull", "echo alive") == "alive\n"
    silent.close()


def test_a_person_interrupts(sue: SshUser, job: str) -> None:
    with in_background(sue.start(TOOLKIT, "ssh", "-N", "hull", start_new_session=True)) as process:
        wait_until(lambda: re.search(rb"sshd-session: toolkit", _processes(sue)), "the session")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) in (-signal.SIGINT, 130, 255)


def _processes(sue: SshUser) -> bytes:
    line = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    return sue.toolkit("job", "exec", "hull", "--", "sh", "-c", line).encode()
