"""How commands reach the content of data: by ``NAME[@VERSION]`` and paths in it.

Nothing here needs the API's client, which takes longer to load than most of these commands take to run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import click

from toolkit_client.cli.state import State
from toolkit_client.errors import NotFound, PermissionDenied, ServiceUnavailable, ToolkitError
from toolkit_client.transfer.link import DataLink, Interrupted
from toolkit_client.transfer.paths import split_path, text_of_path
from toolkit_client.transfer.push import Listing
from toolkit_client.transfer.walk import Entry

__all__ = ["Content", "content_of", "entry_there", "in_a_job", "link_of", "live_content", "within_reach"]


class Content(NamedTuple):
    """The content of data, as the gate is asked for it. An empty `version` means the live content."""

    ref: str
    version: str


def content_of(state: State, text: str) -> Content:
    """What ``NAME[@VERSION]`` means.

    Raises:
        click.UsageError: it is not well-formed.
    """
    name, at, version = text.partition("@")
    if "/" in name or not name:
        raise click.UsageError(f"{text!r} is no name of data: first say which data, then which path in it")
    if at and not version:
        raise click.UsageError(
            f"{text!r} names no version: write NAME@2, NAME@latest, or NAME alone for what it holds now"
        )
    return Content(state.full_ref(name), version)


def live_content(state: State, text: str) -> str:
    """The same for commands that change it.

    Raises:
        click.UsageError: it is not well-formed, or names a version.
    """
    found = content_of(state, text)
    if found.version:
        name = text.partition("@")[0]
        raise click.UsageError(
            f"a version never changes: change {name!r}, then `toolkit data commit {name}` makes the next"
        )
    return found.ref


def in_a_job() -> bool:
    return bool(os.environ.get("TOOLKIT_JOB_ID"))


def link_of(state: State) -> DataLink:
    """The connection to where content goes in and out.

    Raises:
        NotSignedIn: there is no token for the site.
        ServiceUnavailable: this is a job, and jobs do not reach it.
    """
    found = state.signed_in()
    link = DataLink(found.url, found.token)
    if in_a_job():
        try:
            _ = link.data_url
        except PermissionDenied:
            raise
        except ToolkitError as problem:
            raise _out_of_reach(problem) from problem
    return link


@contextlib.contextmanager
def within_reach() -> Iterator[None]:
    """A connection that breaks inside a job is told as what it is there."""
    try:
        yield
    except Interrupted as problem:
        if not in_a_job():
            raise
        raise _out_of_reach(problem) from problem


def _out_of_reach(problem: ToolkitError) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"from inside a job the content of data is not reached this way: {problem.message}",
        "mount it: `toolkit job submit --data NAME:/path …`, and its files are below /path",
    )


def entry_there(link: DataLink, content: Content, path: bytes) -> Entry:
    """The entry of one path in the content. Raises NotFound."""
    folder, name = split_path(path)
    listing = Listing(link, content.ref, path=folder, name=name, version=content.version)
    found = list(listing.entries())
    if not found:
        raise NotFound(f"there is no {text_of_path(path)!r} in it", "`toolkit data content ls` shows what there is")
    return found[0]
