"""``toolkit job port-forward``."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

import click

from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_exec import running_job
from toolkit_client.cli.job_logs import INTERRUPTED
from toolkit_client.cli.job_place import JobPlace
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

if TYPE_CHECKING:
    from toolkit_client.exec.forward import Forward

__all__ = ["port_forward", "serve_sshd"]

#: What stands for the job's ssh server: alone both, behind a local port the first, where nothing of the job's own can listen.
SSH_PORTS = (22, 2222)
_SSH = SSH_PORTS[0]
_PORTS = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")


@click.command(
    "port-forward",
    epilog=examples(
        "toolkit job port-forward --last 8080",
        "toolkit job port-forward --last 2222    # then: ssh -p 2222 toolkit@localhost",
        "toolkit job port-forward train 6006:6006 8888:8080",
        "toolkit job port-forward train 0:5432",
    ),
)
@click.argument("words", metavar="ID [LOCAL:]PORT…", nargs=-1, shell_complete=complete_living_jobs)
@click.option("--last", is_flag=True, help="Of the newest job that you created; then there is no ID.")
@click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")
@click.option("--no-agent", is_flag=True, help="With 2222: do not pass your ssh agent on to the job.")
@click.pass_obj
def port_forward(state: State, words: tuple[str, ...], last: bool, wait: bool, no_agent: bool) -> int:
    """Reach TCP ports of a job at ports of this machine, as long as this command runs.

    In the job they may listen on loopback only, and need not be declared; the job's user is who speaks to them, so it needs
    `job:exec`. Here they are on 127.0.0.1, for your own processes only. LOCAL 0 takes a free port. The addresses are printed on
    stdout. Connections that are open survive restarts of hub, service, proxy and gate. Ctrl-C ends it.

    PORT 2222 (or 22, or LOCAL:22) is the job's ssh server, at local port 2222: `ssh -p 2222 toolkit@localhost` works as it is.
    Your keys, those of your ssh agent and of ~/.ssh/*.pub, may come in by this forwarding, and sessions have your agent without
    `-A`, as long as it lives.
    """
    rest = list(words)
    ref = None if last else (rest.pop(0) if rest else None)
    if ref is None and not last:
        raise click.UsageError("which job? Give its ID or name, or --last for the newest one that you created")
    if not rest:
        raise click.UsageError("which port? Write PORT, or LOCAL:PORT")
    pairs = [_pair(word) for word in rest]
    try:
        job = running_job(state, ref, last, wait=wait)
        return _serve(state, job, [("127.0.0.1", local, remote) for local, remote in pairs], agent=not no_agent)
    except KeyboardInterrupt:
        return INTERRUPTED


def _pair(word: str) -> tuple[int, int]:
    """Local and remote port; the remote one is `_SSH` for the job's ssh server."""
    found = _PORTS.fullmatch(word)
    remote = int(found[2]) if found else 0
    local = int(found[1]) if found and found[1] is not None else None
    if not 0 < remote < 65536 or (local or 0) > 65535:
        raise click.UsageError(f"a port is written PORT or LOCAL:PORT, from 1 to 65535, not {word[:40]!r}")
    if local is None and remote in SSH_PORTS:
        return SSH_PORTS[1], _SSH
    return remote if local is None else local, remote


def serve_sshd(state: State, job: dict[str, Any], listen_on: tuple[str, int], agent: bool) -> int:
    """Serve the job's ssh server at a host and port of this machine, until it ends; tells how it is used.

    Raises:
        ToolkitError: the port cannot be had, or the job or the right to it is gone.
    """
    return _serve(state, job, [(*listen_on, _SSH)], agent=agent)


def _serve(state: State, job: dict[str, Any], wanted: list[tuple[str, int, int]], *, agent: bool) -> int:
    """`wanted`: host, local port, remote port of each."""
    from toolkit_client.exec.forward import listen

    listeners = [(listen(local, host), remote) for host, local, remote in wanted]
    place = JobPlace(state, job)
    forwards = [_forward(state, place, listener, remote, agent) for listener, remote in listeners]
    for (listener, remote), forward in zip(listeners, forwards, strict=True):
        host, port = listener.getsockname()[:2]
        print(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", flush=True)
        print(_told(forward, port, remote, escape(job["name"] or job["id"])), file=sys.stderr)
    for forward in forwards[1:]:
        threading.Thread(target=_in_background, args=(forward, forwards[0]), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        forwards[0].serve()
    finally:
        for forward in forwards:
            forward.close()
    return 1


def _forward(state: State, place: JobPlace, listener: socket.socket, remote: int, agent: bool) -> Forward:
    token = state.signed_in().token
    if remote != _SSH:
        from toolkit_client.exec.forward import Forward

        return Forward(listener, place.of(f"tcp/{remote}"), token, _tell)
    from toolkit_client.exec.ssh import ssh_files
    from toolkit_client.exec.ssh_forward import SshForward

    files = ssh_files(state.signed_in().name)
    return SshForward(listener, place.of("ssh"), token, _tell, agent, files)


def _told(forward: Forward, port: int, remote: int, job: str) -> str:
    """What a person is told of a forwarding."""
    if forward.known_hosts is None:
        hint = f"; the job's ssh server is at {port}:{_SSH}" if remote == SSH_PORTS[1] else ""
        return f"leads to port {remote} of job {job}{hint}; Ctrl-C ends it"
    checked = f"-o UserKnownHostsFile={shlex.quote(str(forward.known_hosts))} -o StrictHostKeyChecking=yes"
    return (
        f"leads to the ssh server of job {job}; Ctrl-C ends it. With its host key checked:\n"
        f"ssh -p {port} {checked} toolkit@localhost"
    )


def _in_background(forward: Any, first: Any) -> None:
    from toolkit_client.errors import ToolkitError

    try:
        forward.serve()
    except ToolkitError as error:
        first.ended = error


def _tell(text: str) -> None:
    print(f"toolkit: {escape(text)}", file=sys.stderr)
