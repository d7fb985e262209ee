"""``toolkit job tree``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import click

from toolkit_client.cli.complete import complete_jobs
from toolkit_client.cli.job_list import newest_first
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State

__all__ = ["tree", "tree_lines"]

Job = dict[str, Any]
#: Children by the id of their parent; of what has no parent here, by None.
Children = dict[str | None, list[Job]]


@click.command(epilog=examples("toolkit job tree", "toolkit job tree --last", "toolkit job tree train"))
@click.argument("ref", metavar="[ID]", required=False, shell_complete=complete_jobs)
@click.option("--last", is_flag=True, help="Of the newest job, or array, that you created.")
@click.pass_obj
def tree(state: State, ref: str | None, last: bool) -> None:
    """Show a job and the jobs that it has submitted, and those that these have, with their states.

    Without ID: your living jobs; of an array its jobs. Children end with their parent, but for those that are `detached`.
    The jobs of an array stand below a line of their own.
    """
    if ref is None and not last:
        wanted: Job = {"mine": True, "state": "alive"}
    else:
        job = state.job(ref, last)
        wanted = {"array" if job["kind"] == "array" else "family": job["id"], "state": "all"}
    for line in tree_lines(newest_first(state, None, wanted)):
        click.echo(line)


def tree_lines(jobs: Iterable[Job]) -> list[str]:
    """The lines, all of one line of text each. `jobs` come newest first and are shown oldest first."""
    found = list(jobs)[::-1]
    here = {job["id"] for job in found}
    children: Children = {}
    for job in found:
        parent = job["parentId"] if job["parentId"] in here else None
        children.setdefault(parent, []).append(job)
    lines = []
    for text, below in _nodes(children, None):
        lines += [text, *_branches(children, below, "")]
    return lines


#: A line, and what stands below it: the jobs of an array, or the id of the job whose children do.
Node = tuple[str, "list[Job] | str"]


def _nodes(children: Children, parent: str | None) -> Iterator[Node]:
    arrays: dict[str, list[Job]] = {}
    for job in children.get(parent, ()):
        if job["arrayId"] is None:
            yield _line(job), job["id"]
        elif job["arrayId"] not in arrays:
            arrays[job["arrayId"]] = same = [one for one in children[parent] if one["arrayId"] == job["arrayId"]]
            yield _array_line(job, same), same


def _branches(children: Children, below: list[Job] | str, indent: str) -> Iterator[str]:
    nodes = list(_nodes(children, below)) if isinstance(below, str) else [(_line(job), job["id"]) for job in below]
    for number, (text, lower) in enumerate(nodes, 1):
        last = number == len(nodes)
        yield f"{indent}{'└─' if last else '├─'} {text}"
        yield from _branches(children, lower, f"{indent}{'   ' if last else '│  '}")


def _line(job: Job) -> str:
    words = [job["id"], job["name"], job["state"], "detached" if job["detach"] else "", *(job["command"] or [])]
    return escape(" ".join(word for word in words if word))


def _array_line(first: Job, jobs: list[Job]) -> str:
    counts = Counter(str(job["state"]) for job in jobs)
    name = (first["name"] or "").rpartition("_")[0]
    words = [
        "array",
        first["arrayId"],
        name,
        f"{len(jobs)} jobs:",
        ", ".join(f"{n} {word}" for word, n in counts.items()),
    ]
    return escape(" ".join(word for word in words if word))
