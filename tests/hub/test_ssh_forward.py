"""The job's ssh server at a local port, as the how-tos have it: `ssh -p 2222 toolkit@localhost`, no key named, with the agent."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.hub.ssh_house import TOOLKIT, SshUser
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def fay(site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> SshUser:
    return SshUser(site, "fay", tmp_path_factory.mktemp("fay"))


@pytest.fixture(scope="module")
def job(fay: SshUser) -> Iterator[str]:
    made = fay.job(name="quay")
    yield made
    fay.kill(made)


def plain_ssh(port: int, *words: str, name: str = "toolkit", trust: bool = True) -> list[str]:
    """ssh as somebody has it who has configured nothing."""
    trusting = ["-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"]
    return [
        "ssh",
        "-F",
        "none",
        "-o",
        "BatchMode=yes",
        *(trusting if trust else []),
        "-p",
        str(port),
        f"{name}@localhost",
        *words,
    ]


def test_the_seeds_walk(fay: SshUser, job: str) -> None:
    """2222 is the ssh server; the keys of the agent may come in and no other, and its agent is there without -A."""
    with fay.agent(fay.key("github")) as place, fay.agent(fay.key("stranger")) as other:
        with fay.forward("quay", "2222", SSH_AUTH_SOCK=place) as (process, port, told):
            assert port == 2222
            assert "leads to the ssh server of job quay" in told
            said = fay.run(*plain_ssh(2222, "echo $USER $HOME; ssh-add -l"), SSH_AUTH_SOCK=place)
            assert said.startswith("toolkit /home/toolkit\n")
            assert "github-of-fay" in said
            fay.run(*plain_ssh(2222, "ssh-add -l", name="work"), SSH_AUTH_SOCK=place)
            done = fay.done(*plain_ssh(2222, "true"), SSH_AUTH_SOCK=other)
            assert (done.returncode, b"Permission denied" in done.stderr) == (255, True)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        assert "agent-" not in fay.toolkit("ssh", "quay", "ls /dev/shm/toolkit")


def test_the_agent_signs_and_is_not_changed(fay: SshUser, job: str) -> None:
    """A commit is signed in the job by a key that never leaves the machine; the job can take no key out of the agent."""
    with fay.agent(fay.key("signs")) as place, fay.forward("quay", "0:22", SSH_AUTH_SOCK=place) as (_, port, _told):
        script = (
            "ssh-add -L > key.pub && echo text > text && ssh-keygen -q -Y sign -f key.pub -n file text && cat text.sig;"
            " ssh-add -D; ssh-add -l"
        )
        said = fay.run(*plain_ssh(port, script), SSH_AUTH_SOCK=place)
        assert "BEGIN SSH SIGNATURE" in said
        assert "signs-of-fay" in said
        assert "signs-of-fay" in fay.run("ssh-add", "-l", SSH_AUTH_SOCK=place)
        many = [
            fay.start(*plain_ssh(port, "ssh-add -l"), env={**fay.environment, "SSH_AUTH_SOCK": place}) for _ in range(8)
        ]
        assert all(b"signs-of-fay" in process.communicate(timeout=60)[0] for process in many)


def test_without_an_agent(fay: SshUser, job: str) -> None:
    """A key file in ~/.ssh is enough; with --no-agent nothing is passed on, and -A is ssh's own."""
    (fay.home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    key = fay.key(".ssh/id_file")
    (fay.home / ".ssh/odd.pub").write_text("ssh-dss AAAA old\nssh-ed25519 not!a!key\nno key at all\n")
    with fay.forward("quay", "0:22") as (_, port, _told):
        line = plain_ssh(port, "echo in; ssh-add -l")
        line[1:1] = ["-i", str(key), "-o", "IdentitiesOnly=yes"]
        assert fay.run(*line, code=2) == "in\n"
    with fay.agent(key) as place, fay.forward("--no-agent", "quay", "0:22", SSH_AUTH_SOCK=place) as (_, port, _told):
        fay.run(*plain_ssh(port, "ssh-add -l"), SSH_AUTH_SOCK=place, code=2)
        line = plain_ssh(port, "ssh-add -l")
        line.insert(1, "-A")
        assert "id_file-of-fay" in fay.run(*line, SSH_AUTH_SOCK=place)


def test_the_line_that_is_told_checks_the_host_key(fay: SshUser, job: str) -> None:
    with fay.agent(fay.key("checks")) as place, fay.forward("quay", "0:22", SSH_AUTH_SOCK=place) as (_, port, told):
        words = shlex.split(told.splitlines()[1])
        assert words[0] == "ssh"
        line = ["ssh", "-F", "none", "-o", "BatchMode=yes", *words[1:], "echo checked"]
        assert fay.run(*line, SSH_AUTH_SOCK=place) == "checked\n"
        known = fay.files / "known_hosts" / f"port-{port}"
        kind, key = known.read_text().split()[1:]
        known.write_text(f"[localhost]:{port} {kind} {key[:-6]}AAAAAA\n")
        # Each connection brings the file up to date, so a wrong key is the server's, not the file's.
        assert fay.run(*line, SSH_AUTH_SOCK=place) == "checked\n"


def test_other_users_of_the_machine_do_not_ride_along(fay: SshUser, job: str) -> None:
    script = (
        "import os, socket, sys, encodings.idna; os.setuid(65534); "
        "c = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); print(c.recv(9))"
    )
    with fay.agent(fay.key("alone")) as place, fay.forward("quay", "0:22", SSH_AUTH_SOCK=place) as (_process, port, _):
        done = subprocess.run([sys.executable, "-c", script, str(port)], capture_output=True, text=True, check=False)
        assert "ConnectionResetError" in done.stderr or done.stdout == "b''\n"
        assert fay.run(*plain_ssh(port, "echo own"), SSH_AUTH_SOCK=place) == "own\n"


def test_what_cannot_be(fay: SshUser, job: str, site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> None:
    gus = SshUser(site, "gus-ssh", tmp_path_factory.mktemp("gus"))
    urn = fay.toolkit("job", "get", job, "--field", "urn").strip()
    fay.toolkit("role", "new", "acme.fay.looker", "--policy", f"job:get@{urn}")
    fay.toolkit("role", "member", "add", "acme.fay.looker", "--user", "acme.gus-ssh")
    assert "acme.gus-ssh may not do job:exec on" in gus.refused("job", "port-forward", job, "0:22", code=4)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = fay.refused("job", "port-forward", "quay", f"{taken.getsockname()[1]}:22", code=1)
        assert "cannot be had" in said


def test_it_ends_with_the_job(fay: SshUser) -> None:
    job = fay.job()
    with fay.agent(fay.key("ends")) as place, fay.forward(job, "0:22", SSH_AUTH_SOCK=place) as (process, port, _):
        session = fay.start(*plain_ssh(port, "echo on; sleep 1000"), env={**fay.environment, "SSH_AUTH_SOCK": place})
        assert session.stdout is not None
        assert session.stdout.readline() == b"on\n"
        fay.kill(job)
        assert session.wait(40) == 255

        def ended() -> bool:
            if process.poll() is None:
                fay.done(*plain_ssh(port, "true"))
            return process.poll() is not None

        wait_until(ended, "the forwarding to end", 30, interval=0.5)
        assert process.wait(10) != 0


def test_own_keys_by_the_data_ssh(site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`vfolder create .ssh`, `vfolder upload .ssh authorized_keys`: every interactive job of one's own has them, permissions
    put right, and the key of the laptop opens it by either name."""
    hal = SshUser(site, "hal-ssh", tmp_path_factory.mktemp("hal"))
    key = hal.key("id_container")
    (hal.home / "authorized_keys").write_text(key.with_suffix(".pub").read_text())
    (hal.home / "authorized_keys").chmod(0o666)
    hal.toolkit("vfolder", "create", ".ssh")
    hal.run(TOOLKIT, "vfolder", "upload", ".ssh", str(hal.home / "authorized_keys"))
    batch, session = hal.job(), hal.job(interactive=True)
    for job, target in ((batch, False), (session, True)):
        with site.client("hal-ssh") as client:
            mounts = client.jobs.get(job).mounts or []
        assert [mount.target for mount in mounts] == (["/home/toolkit/.ssh"] if target else [])
    with hal.forward("--no-agent", session, "0:22") as (_, port, _told):
        for name in ("work", "toolkit"):
            line = plain_ssh(port, "stat -c %a .ssh .ssh/authorized_keys; stat -c %U .ssh", name=name)
            line[1:1] = ["-i", str(key), "-o", "IdentitiesOnly=yes"]
            assert hal.run(*line).split()[:2] == ["700", "600"]
    for job in (batch, session):
        hal.kill(job)
