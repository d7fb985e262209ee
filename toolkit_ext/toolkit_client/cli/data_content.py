"""``toolkit data content``: list, read and change what data holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from toolkit_client.cli.complete import complete_data
from toolkit_client.cli.data_listing import CONTENT_COLUMNS, rows_of, tree_lines
from toolkit_client.cli.data_ref import Content, content_of, entry_there, link_of, live_content, within_reach
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import NotFound
from toolkit_client.transfer.link import DataLink, Interrupted, interruptions
from toolkit_client.transfer.paths import path_of_text, split_path, text_of_path
from toolkit_client.transfer.walk import FOLDER

__all__ = ["cat", "content", "ls", "make_folders", "move", "remove", "show_listing", "tree"]

_READ_SIZE = 1 << 20
#: Bytes of paths that go in one request.
_ASKED_AT_A_TIME = 256 * 1024


@click.command(
    epilog=examples(
        "toolkit data content ls acme.joe.images",
        "toolkit data content ls images@2 2024/june --fields name,size,mtime",
        "toolkit data content ls images --flat --format json",
    )
)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_data)
@click.argument("path", required=False)
@click.option("--flat", is_flag=True, help="Only what is in the folder itself, not what is in its folders.")
@output_options(CONTENT_COLUMNS)
@click.pass_obj
def ls(state: State, name: str, path: str | None, flat: bool, output: Output) -> int:
    """List what the data NAME holds, or its folder PATH, with all that is in its folders.

    Names are those from the data's root. The status is `new` for what the newest version does not have, `changed` for what it has
    otherwise, and `committed` for what is as it has it; of a version there is none. `target` is where a link points:
    `--fields name,status,kind,size,mtime,mode,target` shows all that is known.

    Needs data:get.
    """
    return show_listing(state, name, path, flat, output)


def show_listing(state: State, name: str, path: str | None, flat: bool, output: Output) -> int:
    """Prints it while it comes; gives the exit code."""
    content, problems = content_of(state, name), Problems()
    with within_reach():
        rows = rows_of(
            link_of(state), content, path_of_text(path or ""), flat=flat, fields=output.asked_for, problem=problems
        )
        output.stream(rows)
    return problems.exit_code()


class Problems:
    """What could not be read at the site; told at once, on stderr."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, path: bytes, why: str) -> None:
        self._count += 1
        if self._count <= 20:
            print(f"error: {escape(text_of_path(path))} cannot be read: {escape(why)}", file=sys.stderr)

    def exit_code(self) -> int:
        if self._count > 20:
            print(f"error: and {self._count - 20:,} more like these", file=sys.stderr)
        return 1 if self._count else 0


@click.command(epilog=examples("toolkit data content tree images", "toolkit data content tree images@2 2024 -L 2"))
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_data)
@click.argument("path", required=False)
@click.option("-L", "--level", metavar="N", type=click.IntRange(min=1), help="Go down at most so many folders.")
@click.pass_obj
def tree(state: State, name: str, path: str | None, level: int | None) -> int:
    """Draw what the data NAME holds, or its folder PATH, as a tree.

    Needs data:get.
    """
    content, problems = content_of(state, name), Problems()
    with within_reach():
        for line in tree_lines(link_of(state), content, path_of_text(path or ""), level, problems):
            sys.stdout.write(line)
    return problems.exit_code()


@click.command(
    epilog=examples("toolkit data content cat images labels.csv | head", "toolkit data content cat images@2 labels.csv")
)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_data)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.pass_obj
def cat(state: State, name: str, paths: tuple[str, ...]) -> None:
    """Print files of the data NAME, byte for byte, one after the other.

    Needs data:get.
    """
    content = content_of(state, name)
    with within_reach():
        link = link_of(state)
        for path in [path_of_text(text) for text in paths]:
            for block in _bytes_of(link, content.ref, path, content.version):
                sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


def _bytes_of(link: DataLink, ref: str, path: bytes, version: str) -> Iterator[bytes]:
    """Raises Interrupted when it breaks off."""
    with link.open("GET", ref, "file", query={"path": path, "version": version}) as answer:
        left = int(answer.headers.get("Content-Length") or 0)
        while left:
            with interruptions("the site"):
                block = answer.read(min(left, _READ_SIZE))
            if not block:
                raise Interrupted(
                    f"the connection broke {left} bytes before the end of {text_of_path(path)!r}", "try again"
                )
            left -= len(block)
            yield block


@click.command("rm", epilog=examples("toolkit data content rm images AAA", "toolkit data content rm acme.joe.images ."))
@click.argument("name", shell_complete=complete_data)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask, also on a terminal.")
@click.pass_obj
def remove(state: State, name: str, paths: tuple[str, ...], yes: bool) -> int:
    """Remove files and folders from the data NAME, folders with all that is in them; `.` is everything.

    What versions hold stays in them. On a terminal it asks first.

    Needs data:set.
    """
    ref = live_content(state, name)
    wanted = [path_of_text(text) for text in paths]
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        what = "everything" if b"" in wanted else ", ".join(escape(text_of_path(path)) for path in wanted[:5])
        more = f" and {len(wanted) - 5} more" if len(wanted) > 5 and b"" not in wanted else ""
        if not click.confirm(f"Remove {what}{more} from {name}?", err=True):
            print("nothing was removed", file=sys.stderr)
            return 1
    removed = 0
    with within_reach():
        link = link_of(state)
        for some in _portions([text_of_path(path) or "." for path in wanted]):
            removed += link.json("POST", ref, "remove", body={"paths": some})["removed"]
    print(f"removed {removed:,} {'file or folder' if removed == 1 else 'files and folders'}", file=sys.stderr)
    return 0


@click.command("mkdir", epilog=examples("toolkit data content mkdir images 2024/june 2024/july"))
@click.argument("name", shell_complete=complete_data)
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.pass_obj
def make_folders(state: State, name: str, paths: tuple[str, ...]) -> None:
    """Make folders in the data NAME, with those that they lie in. One that is there already is no mistake.

    Needs data:set.
    """
    ref = live_content(state, name)
    wanted = [text_of_path(path_of_text(text)) or "." for text in paths]
    with within_reach():
        link = link_of(state)
        for some in _portions(wanted):
            link.json("POST", ref, "mkdir", body={"paths": some})


@click.command(
    "mv",
    epilog=examples(
        "toolkit data content mv images draft.csv labels.csv", "toolkit data content mv images a.csv 2024/"
    ),
)
@click.argument("name", shell_complete=complete_data)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--force", is_flag=True, help="Overwrite a file, or an empty folder, that has the name already.")
@click.pass_obj
def move(state: State, name: str, source: str, target: str, force: bool) -> None:
    """Give a file or folder of the data NAME another name or place in it. If TO is a folder, it goes in there.

    Needs data:set.
    """
    ref = live_content(state, name)
    old, new = path_of_text(source), path_of_text(target)
    with within_reach():
        link = link_of(state)
        if _is_folder(link, ref, target, new):
            last = split_path(old)[1]
            new = new + b"/" + last if new else last
        body = {"from": text_of_path(old), "to": text_of_path(new), "overwrite": force}
        link.json("POST", ref, "move", body=body)


def _is_folder(link: DataLink, ref: str, text: str, path: bytes) -> bool:
    if not path or text.endswith(("/", "/.")):
        return True
    try:
        return entry_there(link, Content(ref, ""), path).kind == FOLDER
    except NotFound:
        return False


def _portions(paths: list[str]) -> Iterator[list[str]]:
    """All of them, so many at a time as a request may have."""
    some: list[str] = []
    size = 0
    for path in paths:
        some.append(path)
        size += len(path)
        if size > _ASKED_AT_A_TIME:
            yield some
            some, size = [], 0
    if some:
        yield some


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "cat": (cat, "Print files."),
    "ls": (ls, "List what data holds."),
    "mkdir": (make_folders, "Make folders."),
    "mv": (move, "Move or rename a file or folder."),
    "rm": (remove, "Remove files and folders."),
    "tree": (tree, "Draw what data holds as a tree."),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples("toolkit data content ls images", "toolkit data content rm images AAA"),
)
def content() -> None:
    """List, read and change what data holds.

    Paths are those from the data's root. NAME@2 or NAME@latest reads a version; without one it is what the data holds now.
    """
