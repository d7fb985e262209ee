"""Other ssh clients in jobs: paramiko, AsyncSSH, and what VS Code's Remote-SSH does first."""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.hub.ssh_house import TOOLKIT, SshUser
from tests.hub.test_ssh_site import asked, in_background
from tests.support.echo import ECHO, free_port
from tests.support.running_site import RunningSite

pytestmark = pytest.mark.engine

DATA = os.urandom(2_000_000)


@pytest.fixture(scope="module")
def pam(site: RunningSite, tmp_path_factory: pytest.TempPathFactory) -> SshUser:
    user = SshUser(site, "pam-ssh", tmp_path_factory.mktemp("pam"))
    user.toolkit("ssh", "config", "--write")
    return user


@pytest.fixture(scope="module")
def job(pam: SshUser) -> Iterator[str]:
    """Called `dock`; its host key is known after the first visit."""
    made = pam.job("python3", "-c", ECHO, "5000", name="dock")
    pam.ssh("dock.toolkit", "true")
    yield made
    pam.kill(made)


@pytest.fixture
def as_pam(pam: SshUser, monkeypatch: pytest.MonkeyPatch) -> None:
    """These clients start the ProxyCommand with this process's environment."""
    for name in ("HOME", "XDG_CONFIG_HOME", "TOOLKIT_URL", "TOOLKIT_TOKEN"):
        monkeypatch.setenv(name, pam.environment[name])
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def test_paramiko(pam: SshUser, job: str, as_pam: None, tmp_path: Path) -> None:
    """By the block that `toolkit ssh config` prints, whatever of it paramiko minds."""
    found = paramiko.SSHConfig.from_text(pam.toolkit("ssh", "config")).lookup("dock.toolkit")
    command = found["proxycommand"].replace("%n", "dock.toolkit")
    client = paramiko.SSHClient()
    client.load_host_keys(str(pam.files / "known_hosts/dock.toolkit"))
    hosts = client.get_host_keys()
    hosts.add("dock.toolkit", "ssh-ed25519", hosts["*"]["ssh-ed25519"])
    client.connect(
        "dock.toolkit",
        username=found["user"],
        key_filename=str(pam.files / "id_ed25519"),
        sock=paramiko.ProxyCommand(command),  # type: ignore[arg-type]
        allow_agent=False,
        look_for_keys=False,
    )
    with client:
        _, out, _ = client.exec_command("echo $USER; exit 3")
        assert out.read() == b"toolkit\n"
        assert out.channel.recv_exit_status() == 3
        (tmp_path / "here").write_bytes(DATA)
        sftp = client.open_sftp()
        sftp.put(str(tmp_path / "here"), "by-paramiko")
        sftp.get("by-paramiko", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == DATA


def test_asyncssh(pam: SshUser, job: str, as_pam: None, tmp_path: Path) -> None:
    async def talk() -> None:
        (tmp_path / "here").write_bytes(DATA)
        async with asyncssh.connect(
            "dock.toolkit",
            username="toolkit",
            client_keys=[str(pam.files / "id_ed25519")],
            known_hosts=str(pam.files / "known_hosts/dock.toolkit"),
            proxy_command=[TOOLKIT, "ssh", "--proxy", "dock.toolkit"],
            agent_path=None,
            config=None,
        ) as connection:
            done = await connection.run("cat; exit 4", input="text")
            assert (done.stdout, done.exit_status) == ("text", 4)
            async with connection.start_sftp_client() as sftp:
                await sftp.put(str(tmp_path / "here"), "by-asyncssh")
                await sftp.get("by-asyncssh", str(tmp_path / "back"))
            assert (tmp_path / "back").read_bytes() == DATA
            listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", 5000)
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
            writer.write(b"hello")
            assert await reader.read(100) == b"echo hello"
            writer.close()

    asyncio.run(asyncio.wait_for(talk(), 60))


#: What such an extension asks first, over one connection with a SOCKS port: who and where one is, then its server.
FIRST_SCRIPT = """
echo "begin $$"
uname -rsv; uname -m
command -v bash tar
printf 'home=%s shell=%s\\n' "$HOME" "$SHELL"
umask
mkdir -p "$HOME/.remote-editor/bin"
echo "end"
"""


def test_what_an_editor_does_first(pam: SshUser, job: str, tmp_path: Path) -> None:
    config = ["-F", str(pam.config)]
    said = pam.run(
        "ssh", *config, "-v", "-T", "-o", "ConnectTimeout=15", "dock.toolkit", "bash", data=FIRST_SCRIPT.encode()
    )
    assert "x86_64" in said
    assert "home=/home/toolkit shell=/" in said
    assert said.rstrip().endswith("end")
    (tmp_path / "server.py").write_text(ECHO)
    pam.run("scp", *config, f"{tmp_path}/server.py", "dock.toolkit:.remote-editor/bin/server.py")
    start = "cd ~/.remote-editor && (nohup python3 bin/server.py /tmp/editor.sock > log 2>&1 < /dev/null & echo $!)"
    assert pam.run("ssh", *config, "-T", "dock.toolkit", "bash", data=start.encode()).strip().isdigit()
    local, socks = free_port(), free_port()
    words = ["-N", "-L", f"127.0.0.1:{local}:/tmp/editor.sock", "-D", str(socks), "dock.toolkit"]
    with in_background(pam.start("ssh", *config, *words)) as ssh:
        assert asked(pam, job, ssh, socket.AF_INET, ("127.0.0.1", local)) == b"echo hello"
        assert through_socks(socks, 5000) == b"echo hello"
    line = f"{shlex.join(['ssh', *config])} -T dock.toolkit 'rm -r ~/.remote-editor'"
    subprocess.run(["bash", "-c", line], env=pam.environment, check=True, timeout=60)


def through_socks(proxy: int, port: int) -> bytes:
    """RFC 1928, without credentials, to 127.0.0.1 of the job."""
    with socket.create_connection(("127.0.0.1", proxy), 20) as connection:
        connection.sendall(b"\x05\x01\x00")
        assert connection.recv(2) == b"\x05\x00"
        connection.sendall(b"\x05\x01\x00\x01" + socket.inet_aton("127.0.0.1") + port.to_bytes(2, "big"))
        assert connection.recv(10)[:2] == b"\x05\x00"
        connection.sendall(b"hello")
        return connection.recv(100)
