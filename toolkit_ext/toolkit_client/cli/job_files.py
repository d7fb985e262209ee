"""``toolkit job upload``, ``download`` and ``ls JOB``: files of a job that runs."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from toolkit_client.cli.complete import complete_living_jobs
from toolkit_client.cli.data_content import Problems
from toolkit_client.cli.data_listing import FIELDS
from toolkit_client.cli.data_places import pull_place
from toolkit_client.cli.data_transfer import Wishes, told, transfer_options, watched
from toolkit_client.cli.job_exec import running_job
from toolkit_client.cli.job_logs import INTERRUPTED
from toolkit_client.cli.job_place import JobPlace
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, ToolkitError
from toolkit_client.exec.channel import EXEC_PROTOCOL, open_channel
from toolkit_client.exec.files import JobLink
from toolkit_client.transfer.outcome import Outcome
from toolkit_client.transfer.paths import path_of_text, split_path
from toolkit_client.transfer.pull import pull as pull_content
from toolkit_client.transfer.push import Listing
from toolkit_client.transfer.push import push as push_content
from toolkit_client.transfer.walk import FOLDER

__all__ = ["download", "show_files", "upload"]

FILE_COLUMNS = ("name", "kind", "size", "mtime")
#: The key of the job's ssh server, which is made at the first use of that.
ID_CONTAINER = "id_container"
wait_option = click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")


@click.command(
    epilog=examples(
        "toolkit session upload mysession train.py",
        "toolkit session upload mysession ./src data.csv /work/",
        "toolkit job upload train ./src/ project --exclude '*.pyc'",
    )
)
@click.argument("ref", metavar="JOB", shell_complete=complete_living_jobs)
@click.argument("words", metavar="LOCAL… [DEST]", nargs=-1, required=True, type=click.Path())
@wait_option
@transfer_options("sent", "folder there")
@click.pass_obj
def upload(state: State, ref: str, words: tuple[str, ...], wait: bool, wishes: Wishes) -> int:
    """Send files and folders to a job that runs.

    They go into DEST, the last of several words; a DEST that does not begin with a slash is below the job's home, and one word
    alone goes right there. If DEST is no folder and ends in no slash, the one file or folder becomes DEST. Of `FOLDER/` only the
    content goes.

    Only what differs is sent, by size and time, and modes are kept. An upload that was cut goes on where it was when it is run
    again; until then a folder `.toolkit-push` in the job keeps the half-sent files.

    Needs job:exec.
    """
    local, dest = _locals_and_dest(words)
    place = _place(state, ref, wait)
    if place is None:
        return INTERRUPTED
    link = _link_of(state, place)
    moves = []
    for one in local:
        into = _upload_place(link, one, dest, several=len(local) > 1)
        moves.append(lambda link, shown, one=one, into=into: _pushed(link, one, into, wishes, shown))
    done, seconds = watched(lambda: link, "uploading", moves, wishes)
    return told("uploaded", done, seconds, wishes)


def _locals_and_dest(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    local, dest = (words[:-1], words[-1]) if len(words) > 1 else (words, "./")
    if len(words) > 1 and not dest.endswith("/") and dest not in (".", "..", "~") and os.path.lexists(dest):
        raise click.UsageError(
            f"{dest!r} is there on this machine: is it to be sent, or is it the place in the job? Write `./` behind it for "
            f"the job's home, or {dest + '/'!r} for a folder in the job"
        )
    for one in local:
        if not os.path.exists(one):
            raise InvalidRequest(f"there is no file or folder {one!r} here", "check the path")
    return local, dest


def _upload_place(link: JobLink, local: str, dest: str, *, several: bool) -> bytes:
    """The folder or file of the job that `local` becomes."""
    path, kind = _resolved(link, dest)
    name = os.fsencode(os.path.basename(os.path.abspath(local)))
    content = os.path.isdir(local) and (local.endswith("/") or name == b"")
    below = several or dest.endswith("/") or kind == FOLDER
    if content or not below:
        return path
    return path + b"/" + name if path else name


def _pushed(link: JobLink, local: str, into: bytes, wishes: Wishes, shown: Any) -> Outcome:
    done = push_content(link, "", Path(local), into, wishes.options, shown)
    if not wishes.options.dry_run and not done.problem_count:
        with contextlib.suppress(ToolkitError):  # it would only be in the way
            link.json("clean", path=into if os.path.isdir(local) else split_path(into)[0])
    return done


@click.command(
    epilog=examples(
        "toolkit session download mysession id_container",
        "toolkit job download train checkpoints/best.pt .",
        "toolkit job download train /data/results ./results-of-today/",
        "toolkit job download train runs/ ./runs --exclude '*.tmp'",
    )
)
@click.argument("ref", metavar="JOB", shell_complete=complete_living_jobs)
@click.argument("path")
@click.argument("dest", metavar="[DEST]", required=False, type=click.Path())
@click.option("--links", is_flag=True, help="Also make links that point out of what is fetched.")
@wait_option
@transfer_options("fetched", "folder here")
@click.pass_obj
def download(state: State, ref: str, path: str, dest: str | None, links: bool, wait: bool, wishes: Wishes) -> int:
    """Fetch a file or folder of a job that runs.

    A PATH that does not begin with a slash is below the job's home. It comes into DEST, which is `.` if it is not given, under
    its name; of `PATH/` only the content does. A file becomes DEST where that is no folder.

    Only what differs is fetched, by size and time, and modes are kept. A download that was cut goes on where it was when it is
    run again; until then a folder `.toolkit-pull` keeps the half-fetched files. Whatever the job holds, nothing is written
    outside of DEST.

    `id_container` is the key for the job's ssh server; it is made when it is not there yet.

    Needs job:exec.
    """
    place = _place(state, ref, wait)
    if place is None:
        return INTERRUPTED
    link = _link_of(state, place)
    if posixpath.normpath(path) == ID_CONTAINER:
        _make_keys(place, state.signed_in().token)
    remote, kind = _resolved(link, path)
    if not kind:
        raise NotFound(f"there is no {path!r} in the job", f"`toolkit job ls {ref} FOLDER` lists a folder of it")
    target = pull_place(_last_name(path), dest, lambda _: kind)

    def move(link: JobLink, shown: Any) -> Outcome:
        return pull_content(
            link,
            "",
            remote,
            Path(target.folder),
            name=target.name,
            all_links=links,
            options=wishes.options,
            progress=shown,
        )

    done, seconds = watched(lambda: link, "downloading", [move], wishes)
    return told("downloaded", done, seconds, wishes)


def _last_name(path: str) -> str:
    """What is fetched, as `pull_place` takes it: a name, and a slash behind it where only a folder's content is meant."""
    name = posixpath.basename(path.rstrip("/"))
    if name in ("", ".", "..", "~"):
        return "."
    return name.replace(":", "\\:") + ("/" if path.endswith("/") else "")


def _make_keys(place: JobPlace, token: str) -> None:
    """Have the keys of the job's ssh server made, with the pair `id_container` in the home."""
    from toolkit_client.exec.ask import ask_run

    ask_run(place.of("sshd/host-key")(), token)


def show_files(state: State, ref: str, path: str | None, recursive: bool, output: Output) -> int:
    """Prints what a folder of a job that runs holds, while it comes; gives the exit code."""
    place = _place(state, ref, False)
    if place is None:
        return INTERRUPTED
    link, problems = _link_of(state, place), Problems()
    place_there, kind = _resolved(link, path or ".")
    if not kind:
        raise NotFound(f"there is no {path!r} in the job", "check the path")
    rows = _rows(link, place_there, kind == FOLDER, recursive, problems)
    output.with_columns(FILE_COLUMNS).stream(rows)
    return problems.exit_code()


def _resolved(link: JobLink, path: str) -> tuple[bytes, str]:
    """Where a path of the user's leads in the job, and what is there: empty for nothing."""
    found = link.json("resolve", path=path)
    if not isinstance(found, dict) or not isinstance(found.get("path"), str):
        raise Conflict(
            "the job's end of the transfer gives no answer that makes sense", "something else answers in its place"
        )
    return path_of_text(found["path"]), str(found.get("kind") or "")


def _rows(link: JobLink, path: bytes, is_folder: bool, recursive: bool, problems: Problems) -> Iterator[dict[str, Any]]:
    folder, name = (path, None) if is_folder else split_path(path)
    for entry, mark in Listing(link, "", problem=problems, path=folder, name=name, flat=not recursive).marked():
        yield {field: make(entry, mark) for field, make in FIELDS.items() if field != "status"}


def _place(state: State, ref: str, wait: bool) -> JobPlace | None:
    """The job, when it runs; None after a Ctrl-C while it was waited for."""
    try:
        return JobPlace(state, running_job(state, state.full_ref(ref), False, wait=wait))
    except KeyboardInterrupt:
        return None


def _link_of(state: State, place: JobPlace) -> JobLink:
    token, where = state.signed_in().token, place.of("exec")
    return JobLink(lambda: open_channel(where(), token, EXEC_PROTOCOL))
