"""``toolkit data push``, ``pull`` and ``upload``: content of data on its way."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from toolkit_client.cli.complete import complete_data
from toolkit_client.cli.data_places import PullPlace, PushPlace, pull_place, push_place
from toolkit_client.cli.data_ref import Content, content_of, entry_there, in_a_job, link_of, live_content, within_reach
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.state import State
from toolkit_client.cli.transfer_progress import Bar, DryRun, Lines, Watched, problem_lines, summary
from toolkit_client.transfer.compare import Options
from toolkit_client.transfer.link import DataLink
from toolkit_client.transfer.outcome import PAUSES, Outcome
from toolkit_client.transfer.pull import pull as pull_content
from toolkit_client.transfer.push import push as push_content

__all__ = [
    "Wishes",
    "commit_options",
    "pull",
    "pull_all",
    "push",
    "push_all",
    "told",
    "transfer_options",
    "upload",
    "watched",
]

#: Inside a job the site's data host is most likely out of reach for good.
PAUSES_IN_A_JOB = (0.2, 1.0)
INTERRUPTED = 130
Move = Callable[[DataLink, Any], Outcome]
Command = Callable[..., Any]
LinkT = TypeVar("LinkT")


@dataclass(frozen=True)
class Wishes:
    """How a transfer is wished for, and how it is told."""

    options: Options = field(default_factory=Options)
    quiet: bool = False
    as_json: bool = False
    #: Message of the version to make afterwards; None: none is made.
    commit: str | None = None
    #: What to do after Ctrl-C.
    interrupted: str = "run the same again: it goes on from there"


def transfer_options(verb: str, target: str) -> Callable[[Command], Command]:
    """Adds the options of a transfer; the command gets them as `wishes`."""

    def decorate(command: Command) -> Command:
        @click.option("--delete", is_flag=True, help=f"Remove from the {target} what the source does not have.")
        @click.option(
            "--exclude",
            metavar="PATTERN",
            multiple=True,
            help="Leave out names that match, as '*.pyc', or paths, as 'runs/*/tmp'; repeatable.",
        )
        @click.option("--checksum", is_flag=True, help="Compare files by their content, not by their size and time.")
        @click.option("-n", "--dry-run", is_flag=True, help=f"Only print what would be {verb}.")
        @click.option("-q", "--quiet", is_flag=True, help="Say nothing but what goes wrong.")
        @click.option(
            "--format",
            "form",
            type=click.Choice(["text", "json"]),
            default="text",
            help="With json, the sums are on stdout as one object. Default: text.",
        )
        @wraps(command)
        def with_wishes(
            *args: Any,
            delete: bool,
            exclude: tuple[str, ...],
            checksum: bool,
            dry_run: bool,
            quiet: bool,
            form: str,
            **rest: Any,
        ) -> Any:
            options = Options(checksum=checksum, delete=delete, dry_run=dry_run, exclude=exclude)
            wishes = Wishes(options, quiet, form == "json", _message(rest))
            return command(*args, wishes=wishes, **rest)

        return with_wishes

    return decorate


def _message(given: dict[str, Any]) -> str | None:
    """Takes the options of `commit_options` out of what a command was given."""
    commit, message = given.pop("commit", False), given.pop("message", None)
    return message or "" if commit or message is not None else None


def commit_options(command: Command) -> Command:
    """Adds --commit and --message; they stand above `transfer_options`, which takes them."""
    message = click.option("-m", "--message", metavar="TEXT", help="What is to be remembered of that version.")
    return click.option("--commit", is_flag=True, help="Then keep what the data holds as its next version.")(
        message(command)
    )


@click.command(
    epilog=examples(
        "toolkit data push images ./photos",
        "toolkit data push acme.joe.images ./photos:2024/june --exclude '*.tmp' --delete",
        "toolkit data push images labels.csv readme.md:docs/ -m 'with labels'",
    )
)
@click.argument("name", shell_complete=complete_data)
@click.argument("local", metavar="LOCAL[:REMOTE]…", nargs=-1, required=True, type=click.Path())
@commit_options
@transfer_options("sent", "data")
@click.pass_obj
def push(state: State, name: str, local: tuple[str, ...], wishes: Wishes) -> int:
    """Send files and folders to the data NAME.

    What is in a folder LOCAL goes into the folder REMOTE of the data, or into its root. A file LOCAL becomes the file REMOTE;
    with `REMOTE/` it goes into that folder, and without a REMOTE into the root. A colon in a name is written `\\:`.

    Only what differs is sent, by size and time. A push that was cut goes on where it was when it is run again. Each file is
    checked on arrival, and then takes its place at once: readers find the old one or the new one. What cannot be sent is named,
    and the rest is sent all the same; the exit code is then 1.

    Needs data:set.
    """
    return push_all(state, name, local, wishes)


@click.command(
    epilog=examples("toolkit data upload images ./photos", "toolkit data upload --id acme.joe.images ."),
)
@click.option("--id", "given", metavar="NAME", shell_complete=complete_data, help="The data, if not the first word.")
@click.argument("words", metavar="[NAME] LOCAL[:REMOTE]…", nargs=-1, required=True, type=click.Path())
@commit_options
@transfer_options("sent", "data")
@click.pass_obj
def upload(state: State, given: str | None, words: tuple[str, ...], wishes: Wishes) -> int:
    """Send files and folders to the data NAME: another name of `data push`.

    Needs data:set.
    """
    name, local = (given, words) if given is not None else (words[0], words[1:])
    if not local:
        raise click.UsageError(f"what is to be sent to {name!r}? Give files or folders")
    return push_all(state, name, local, wishes)


@click.command(
    epilog=examples(
        "toolkit data pull images ./remote .",
        "toolkit data pull images@3 2024/june:june /data --delete",
        "toolkit data pull images 2024/june/ .",
        "toolkit data pull images model.bin best.bin",
        "toolkit data pull images",
    )
)
@click.argument("name", metavar="NAME[@VERSION]", shell_complete=complete_data)
@click.argument("remote", metavar="[REMOTE[:LOCAL]]", required=False)
@click.argument("dest", required=False, type=click.Path())
@click.option("--links", is_flag=True, help="Also make links that point out of what is pulled.")
@transfer_options("fetched", "folder here")
@click.pass_obj
def pull(state: State, name: str, remote: str | None, dest: str | None, *, links: bool, wishes: Wishes) -> int:
    """Fetch files and folders of the data NAME, as they are now or in a version.

    Without REMOTE the whole content comes into DEST, which is `.` if it is not given; with `REMOTE/` what is in that folder.
    Otherwise the folder REMOTE comes into DEST under its own name. A file does too, or becomes DEST where that is no folder.
    `A:B` makes A into B, which is below DEST if that is given. A colon in a name is written `\\:`.

    Only what differs is fetched, by size and time. A pull that was cut goes on where it was when it is run again; until then a
    folder `.toolkit-pull` keeps the half-fetched files. What cannot be fetched is named, and the exit code is then 1.

    Needs data:get.
    """
    return pull_all(state, content_of(state, name), [(remote, dest)], wishes, links)


def push_all(state: State, name: str, local: Sequence[str], wishes: Wishes) -> int:
    """Send them all, commit if that is wished for, and tell; gives the exit code."""
    ref = live_content(state, name)
    places = [push_place(text) for text in local]

    def one(place: PushPlace) -> Move:
        return lambda link, shown: push_content(
            link, ref, Path(place.local), place.into, wishes.options, shown, _pauses()
        )

    done, seconds = watched(lambda: link_of(state), "pushing", [one(place) for place in places], wishes)
    version = None
    if wishes.commit is not None and not wishes.options.dry_run:
        version = _committed(state, name, wishes.commit, done)
    return told("pushed", done, seconds, wishes, version)


def pull_all(
    state: State, content: Content, wanted: Sequence[tuple[str | None, str | None]], wishes: Wishes, links: bool = False
) -> int:
    """Fetch each ``REMOTE[:LOCAL]`` to its DEST, and tell; gives the exit code."""

    def one(remote: str | None, dest: str | None) -> Move:
        def move(link: DataLink, shown: Any) -> Outcome:
            place = pull_place(remote, dest, lambda path: entry_there(link, content, path).kind)
            return _pulled(link, content, place, links, wishes.options, shown)

        return move

    done, seconds = watched(lambda: link_of(state), "pulling", [one(*words) for words in wanted], wishes)
    return told("pulled", done, seconds, wishes)


def _pulled(link: DataLink, content: Content, place: PullPlace, links: bool, options: Options, shown: Any) -> Outcome:
    return pull_content(
        link,
        content.ref,
        place.remote,
        Path(place.folder),
        version=content.version,
        name=place.name,
        all_links=links,
        options=options,
        progress=shown,
        pauses=_pauses(),
    )


def _pauses() -> tuple[float, ...]:
    return PAUSES_IN_A_JOB if in_a_job() else PAUSES


def watched(
    open_link: Callable[[], LinkT], doing: str, moves: Sequence[Callable[[LinkT, Any], Outcome]], wishes: Wishes
) -> tuple[Outcome, float]:
    """Run them one after the other; gives the sums, and the seconds that they took."""
    shown = _shown(doing, wishes)
    begin, done = time.monotonic(), Outcome()
    try:
        with within_reach():
            link = open_link()
            for move in moves:
                _add(done, move(link, shown))
    except KeyboardInterrupt:
        shown.close()
        print(f"interrupted; {wishes.interrupted}", file=sys.stderr)
        raise click.exceptions.Exit(INTERRUPTED) from None
    finally:
        shown.close()
    if isinstance(shown, DryRun):
        done.files, done.removed = shown.sent, shown.removed
    return done, time.monotonic() - begin


def _shown(doing: str, wishes: Wishes) -> Watched | DryRun:
    if wishes.options.dry_run:
        return DryRun(None if wishes.as_json else sys.stdout)
    if wishes.quiet:
        return Watched(doing)
    return Bar(doing) if sys.stderr.isatty() else Lines(doing)


def _add(total: Outcome, one: Outcome) -> None:
    total.files += one.files
    total.bytes += one.bytes
    total.removed += one.removed
    total.unchanged += one.unchanged
    total.problem_count += one.problem_count
    total.problems += one.problems
    total.changed += one.changed
    total.interruptions += one.interruptions
    total.moved += one.moved


def _committed(state: State, name: str, message: str, done: Outcome) -> dict[str, Any] | None:
    """The version that was made, or that there is; None where something could not be sent, and none is made."""
    if done.problem_count or done.changed:
        print("warning: no version was made, for not everything was sent", file=sys.stderr)
        return None
    # Kept apart, for it loads the API's client.
    from toolkit_client.cli.data_versions import commit_and_tell

    return commit_and_tell(state, name, message)


def told(did: str, done: Outcome, seconds: float, wishes: Wishes, version: dict[str, Any] | None = None) -> int:
    """Say what was done; gives the exit code."""
    dry_run = wishes.options.dry_run
    for line in problem_lines(done):
        print(line, file=sys.stderr)
    number = None if version is None else version["version"]
    if wishes.as_json:
        facts = {**asdict(done), "seconds": round(seconds, 3), "dryRun": dry_run, "version": number}
        facts["problemCount"] = facts.pop("problem_count")
        click.echo(json.dumps(facts, separators=(",", ":")))
    elif not wishes.quiet and not dry_run:
        print(summary(did, done, seconds), file=sys.stderr)
        if number is not None:
            print(f"version {number} has it", file=sys.stderr)
    return 1 if done.problem_count or done.changed else 0
