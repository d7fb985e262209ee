"""``toolkit job top``: what running jobs use now."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.job_args import one_job
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State
from toolkit_client.cli.transfer_progress import size_text
from toolkit_client.errors import ServiceUnavailable

__all__ = ["top"]

COLUMNS = ("id", "name", "cpu", "memory", "read", "write", "received", "sent", "gpu", "gpuMemory")
#: Bytes in one GiB, the unit of memory on the wire.
GIB = 2**30
#: A screen of its own, as pagers have, without a cursor; it goes with everything on it.
OPEN_SCREEN, CLOSE_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
#: What was drawn is drawn over, so that nothing flickers.
HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command(
    epilog=examples(
        "toolkit job top",
        "toolkit job top train",
        "toolkit job top --account acme.team --once",
        "toolkit job top train --field last.memory",
        "toolkit job top --format json",
    )
)
@one_job(complete_living_jobs)
@click.option("--account", metavar="A", help="Running jobs of this account, whoever submitted them.")
@click.option(
    "-d",
    "--delay",
    metavar="S",
    type=click.FloatRange(min=1),
    default=5,
    help="Seconds between two looks. Default: 5, which is also how often jobs are measured.",
)
@click.option("--once", is_flag=True, help="Look once, also on a terminal.")
@output_options(COLUMNS)
@click.pass_obj
def top(
    state: State, *, ref: str | None, last: bool, account: str | None, delay: float, once: bool, output: Output
) -> None:
    """Show what your running jobs use, or what one job uses: processors, memory, disks, network, GPUs.

    100% of CPU is one whole core; behind it stands how many the job may use, and behind its memory how much. What is not
    known is `-`. On a terminal the table is drawn again and again until Ctrl-C; piped, there is one.

    JSON has numbers: CPU in cores, memory in GiB, bytes a second, GPUs in percent; its fields can be asked for by --field.
    """
    ref = None if ref is None and not last else state.find_ref(ref, last)
    if once or not output.is_plain_table or not sys.stdout.isatty():
        output.show(_shown(_jobs(state, ref, account), output))
        return
    print(OPEN_SCREEN, end="", flush=True)
    try:
        while True:
            _draw(state, ref, account, output)
            time.sleep(delay)
    except KeyboardInterrupt:
        return  # the way to leave, as in other programs of this kind
    finally:
        print(CLOSE_SCREEN, end="", flush=True)


def _draw(state: State, ref: str | None, account: str | None, output: Output) -> None:
    from toolkit_client.cli.terminal import terminal_width

    width = terminal_width()
    try:
        jobs = _jobs(state, ref, account)
        lines = list(output.fitted_lines(_shown(jobs, output))) if jobs else ["no job of yours runs"]
    except ServiceUnavailable as problem:
        lines = [f"{problem.message}; trying again"]
    head = f"toolkit job top   {time.strftime('%H:%M:%S')}   Ctrl-C ends it"
    text = "".join(f"{line[:width]}{CLEAR_LINE}\n" for line in (head, "", *lines))
    print(f"{HOME}{text}{CLEAR_REST}", end="", flush=True)


def _jobs(state: State, ref: str | None, account: str | None) -> list[dict[str, Any]]:
    client = state.client()
    if ref is not None:
        return [_of_job(client.raw(calls.get_job(ref)))]
    account = account or state.account
    items: list[dict[str, Any]] = client.raw(calls.list_top(mine=not account, account=account))["items"]
    return items


def _of_job(job: dict[str, Any]) -> dict[str, Any]:
    """One job as `GET /top` gives it; of one that has ended, what it used last."""
    usage = job.get("usage") or {}
    told = {name: usage.get(name) for name in ("cpuLimit", "memoryLimit", "last")}
    head = {name: job[name] for name in ("id", "name", "account", "creator")}
    return {**head, "run": job["runs"][-1]["index"], **told, "devices": usage.get("devices") or []}


def _shown(jobs: list[dict[str, Any]], output: Output) -> list[dict[str, Any]]:
    """With the texts of the table's columns, unless all of the JSON is asked for."""
    return jobs if output.asked_for is None else [{**job, **_texts(job)} for job in jobs]


def _texts(job: dict[str, Any]) -> dict[str, str | None]:
    last, devices = job["last"] or {}, job["devices"]
    return {
        "cpu": _of(last.get("cpu"), job["cpuLimit"], lambda cores: f"{cores * 100:.0f}%", lambda cores: f"{cores:g}"),
        "memory": _of(last.get("memory"), job["memoryLimit"], _gib, _gib),
        "read": _rate(last.get("diskRead")),
        "write": _rate(last.get("diskWrite")),
        "received": _rate(last.get("netReceived")),
        "sent": _rate(last.get("netSent")),
        "gpu": _each(devices, "use", lambda percent: f"{percent:.0f}%"),
        "gpuMemory": _each(devices, "memory", _gib),
    }


def _of(value: float | None, limit: float | None, show: Any, show_limit: Any) -> str | None:
    if value is None:
        return None
    return str(show(value)) if limit is None else f"{show(value)} of {show_limit(limit)}"


def _each(devices: list[dict[str, Any]], name: str, show: Any) -> str | None:
    """One value for each device that the job holds."""
    return " ".join("?" if one.get(name) is None else show(one[name]) for one in devices) or None


def _gib(value: float) -> str:
    return size_text(value * GIB)


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{size_text(value)}/s"
