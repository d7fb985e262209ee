"""``toolkit job port-forward``."""

from __future__ import annotations

import re
import socket
import sys
import threading
from typing import Any

import click

from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_exec import running_job
from toolkit_client.cli.job_logs import INTERRUPTED
from toolkit_client.cli.job_place import JobPlace
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["port_forward"]

_PORTS = re.compile(r"(?:([0-9]{1,5}):)?([0-9]{1,5})")


@click.command(
    "port-forward",
    epilog=examples(
        "toolkit job port-forward --last 8080",
        "toolkit job port-forward train 6006:6006 8888:8080",
        "toolkit job port-forward train 0:5432",
    ),
)
@click.argument("words", metavar="ID [LOCAL:]PORT…", nargs=-1, shell_complete=complete_living_jobs)
@click.option("--last", is_flag=True, help="Of the newest job that you created; then there is no ID.")
@click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")
@click.pass_obj
def port_forward(state: State, words: tuple[str, ...], last: bool, wait: bool) -> int:
    """Reach TCP ports of a job at ports of this machine, as long as this command runs.

    In the job they may listen on loopback only, and need not be declared; the job's user is who speaks to them, so it needs
    `job:exec`. Here they are on 127.0.0.1, for your own processes only. LOCAL 0 takes a free port. The addresses are printed on
    stdout. Connections that are open survive restarts of hub, service and proxy; new ones also that of the gate. Ctrl-C ends it.
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
        return _serve(state, job, pairs)
    except KeyboardInterrupt:
        return INTERRUPTED


def _pair(word: str) -> tuple[int, int]:
    """Local and remote port."""
    found = _PORTS.fullmatch(word)
    remote = int(found[2]) if found else 0
    local = int(found[1]) if found and found[1] is not None else remote
    if not 0 < remote < 65536 or local > 65535:
        raise click.UsageError(f"a port is written PORT or LOCAL:PORT, from 1 to 65535, not {word[:40]!r}")
    return local, remote


def _serve(state: State, job: dict[str, Any], pairs: list[tuple[int, int]]) -> int:
    from toolkit_client.exec.forward import Forward, listen

    listeners = [(listen(local), remote) for local, remote in pairs]
    place = JobPlace(state, job)
    forwards = [
        Forward(listener, place.of(f"tcp/{remote}"), state.signed_in().token, _tell) for listener, remote in listeners
    ]
    for listener, remote in listeners:
        print(f"127.0.0.1:{_port(listener)}", flush=True)
        print(f"leads to port {remote} of job {escape(job['name'] or job['id'])}; Ctrl-C ends it", file=sys.stderr)
    for forward in forwards[1:]:
        threading.Thread(target=_in_background, args=(forward, forwards[0]), daemon=True).start()
    forwards[0].serve()
    return 1


def _in_background(forward: Any, first: Any) -> None:
    from toolkit_client.errors import ToolkitError

    try:
        forward.serve()
    except ToolkitError as error:
        first.ended = error


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _tell(text: str) -> None:
    print(f"toolkit: {escape(text)}", file=sys.stderr)
