"""The pages of data: what there is, and of one piece its folders, its versions, and who may read and write it.

Rendered here and asked by plain links and forms. Content goes past this service: a form or our script sends it to the data host,
or gets it from there, with a ticket that stands in the page. Nothing that users have written is ever shown as a page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any
from urllib.parse import quote

from sqlalchemy.orm import Session

from toolkit_client.access_models import NewData
from toolkit_client.data_models import NewVersion
from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_client.transfer.paths import checked_path, text_of_path
from toolkit_client.transfer.walk import FILE, FOLDER, LINK, Entry
from toolkit_hub.api.context import Context, ServiceHandler
from toolkit_hub.api.routing import parse_body
from toolkit_hub.configure import SERVICE_PREFIX, Toolkit
from toolkit_hub.domain import data, data_overview
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.data_content import open_content
from toolkit_hub.domain.data_overview import DataView
from toolkit_hub.domain.data_tickets import TICKET_S, make_ticket
from toolkit_hub.pages.handlers import CONTENT_SECURITY_POLICY, PageHandler
from toolkit_hub.pages.shown import Piece, in_query, pieces, size_words, when_words
from toolkit_hub.store.tables import new_id
from toolkit_hub.volumes.browse import FolderPage, Spot, look
from toolkit_hub.volumes.layout import Volumes

__all__ = ["Crumb", "Row", "crumbs", "data_specs", "rows_of"]

#: Data of a page of the list, versions of a page, and names of those who may.
LISTED, VERSIONS, WHO = 500, 20, 12
#: Folders of a way that are shown, from its beginning and before its end. Folders may be nested by the thousand.
FIRST_CRUMBS, LAST_CRUMBS = 2, 4
#: They read names in folders. A folder may have a million, which takes a second, and holds up nobody else.
_readers = ThreadPoolExecutor(2, thread_name_prefix="browse")
_KINDS = {FILE: "file", FOLDER: "folder", LINK: "link"}


# --- what the templates show ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """An entry of a folder. `name` is for our script, `address` for addresses: neither is what people see."""

    kind: str
    shown: list[Piece]
    name: str
    address: str
    size: str
    exact: int
    time: datetime | None
    target: list[Piece] | None


@dataclass(frozen=True)
class Crumb:
    """A folder on the way to the one that is shown; with an empty name it stands for those that are left out."""

    shown: list[Piece]
    address: str


def rows_of(found: FolderPage) -> list[Row]:
    return [_row(entry) for entry in found.entries]


def _row(entry: Entry) -> Row:
    name = entry.path.rpartition(b"/")[2]
    is_file = entry.kind == FILE
    return Row(
        kind=_KINDS.get(entry.kind, "other"),
        shown=pieces(name),
        name=text_of_path(name),
        address=in_query(entry.path),
        size=size_words(entry.size) if is_file else "",
        exact=entry.size,
        time=_time(entry.mtime_ns),
        target=pieces(entry.target) if entry.kind == LINK else None,
    )


def _time(mtime_ns: int) -> datetime | None:
    """Users set the times of their files: some are of no calendar."""
    try:
        return datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def crumbs(path: bytes) -> list[Crumb]:
    """The way to `path`, without the data's own root."""
    names = path.split(b"/") if path else []
    depths = range(1, len(names) + 1)
    if len(names) <= FIRST_CRUMBS + LAST_CRUMBS + 1:
        return [_crumb(names, depth) for depth in depths]
    first, last = depths[:FIRST_CRUMBS], depths[-LAST_CRUMBS:]
    return [*(_crumb(names, depth) for depth in first), Crumb([], ""), *(_crumb(names, depth) for depth in last)]


def _crumb(names: Sequence[bytes], depth: int) -> Crumb:
    return Crumb(pieces(names[depth - 1]), in_query(b"/".join(names[:depth])))


# --- the list ---------------------------------------------------------------------------------------------------------


class DataPageHandler(PageHandler):
    """What these pages share: raw bytes of the query, and forms that lead to the data host."""

    async def prepare(self) -> None:
        policy = CONTENT_SECURITY_POLICY
        for kind in ("form-action", "connect-src"):
            policy = policy.replace(f"{kind} 'self'", f"{kind} 'self' {self.site.data_url}")
        self.set_header("Content-Security-Policy", policy)
        await super().prepare()

    @property
    def site(self) -> Toolkit:
        return self.context.settings

    def raw(self, name: str) -> bytes:
        """A value of the query, which may be no text: Tornado's own way in decodes it."""
        return self.request.query_arguments.get(name, [b""])[-1]

    def number(self, name: str) -> int | None:
        raw = self.raw(name)
        return int(raw) if raw.isdigit() and len(raw) <= 9 else None

    async def show_list(self, **values: Any) -> None:
        listed = await self.context.store.read(data_overview.list_with_sizes, self.actor)
        accounts = await self.context.store.read(data_overview.accounts_for_data, self.actor)
        start = min((self.number("page") or 1) - 1, max(len(listed) - 1, 0) // LISTED) * LISTED
        shown = listed[max(start, 0) : start + LISTED]
        groups = [(account, list(group)) for account, group in groupby(shown, key=lambda one: one.data.account)]
        fixed: dict[str, Any] = {"problem": None, "asked": {}, "key": new_id()}
        fixed |= {"size_words": size_words, "when_words": when_words}
        place = {"page": start // LISTED + 1, "more": start + LISTED < len(listed), "total": len(listed)}
        self.show("data_list.html", groups=groups, accounts=accounts, **place, **(fixed | values))


class DataListPage(DataPageHandler):
    """All data that the visitor may see, and a form for more."""

    action = "data:get"

    async def get(self) -> None:
        await self.show_list()


class CreateData(DataPageHandler):
    """The form's way in. Its `key` makes a second click harmless."""

    action = "data:new"

    async def get(self) -> None:
        self.redirect(f"{SERVICE_PREFIX}data")

    async def post(self) -> None:
        asked = {name: self.get_body_argument(name, "") for name in ("name", "account", "key")}
        try:
            wanted = {"name": asked["name"], **({"account": asked["account"]} if asked["account"] else {})}
            new = parse_body(NewData, json.dumps(wanted).encode())
            made, _ = await self.context.store.write(data.create_data, self.actor, new, _key(asked["key"]))
        except ToolkitError as error:
            # What was typed stays in the form, and the reason stands beside it.
            self.remember_refusal(error)
            self.set_status(error.status)
            await self.show_list(problem=error, asked=asked)
            return
        self.redirect(f"{SERVICE_PREFIX}data/{made.id}")


def _key(text: str) -> str:
    if not 8 <= len(text) <= 64 or not text.isascii() or not text.isprintable():
        raise InvalidRequest("the form has no key", "load the page again")
    return text


# --- one piece of data ------------------------------------------------------------------------------------------------


class DataPage(DataPageHandler):
    """A folder of it (`?path=`), at a version (`?version=`) or as it is now; `after` and `before` are pages of a long one."""

    action = "data:get"

    async def get(self, reference: str) -> None:
        path = checked_path(b"/".join(part for part in self.raw("path").split(b"/") if part not in (b"", b".")))
        label = self.raw("version").decode("utf-8", "replace")
        view = await self.context.store.read(
            partial(data_overview.data_view, versions=VERSIONS, below=self.number("below")),
            self.actor,
            reference,
            label,
            self.context.data_limits,
        )
        try:
            found = await self.read_folder(view, path)
        except ToolkitError as error:
            if not path:
                raise
            self.set_status(error.status)
            self.show_folder(view, path, FolderPage([], 0, 0, None, None), error)
            return
        self.show_folder(view, path, found, None)

    async def read_folder(self, view: DataView, path: bytes) -> FolderPage:
        place, volumes = view.place, Volumes(self.site.data_root)
        after, before = (Spot.parse(self.raw(name)) for name in ("after", "before"))
        work = partial(look, volumes, place.data_id, place.version_id, path, after=after, before=before)
        return await asyncio.get_running_loop().run_in_executor(_readers, work)

    def show_folder(self, view: DataView, path: bytes, found: FolderPage, problem: ToolkitError | None) -> None:
        place = view.place
        self.show(
            "data.html",
            view=view,
            problem=problem,
            folder=text_of_path(path),
            address=in_query(path),
            crumbs=crumbs(path),
            rows=rows_of(found),
            found=found,
            turn={name: in_query(bytes(spot)) for name in ("before", "after") if (spot := getattr(found, name))},
            version=place.version,
            at=f"version={in_query(place.version.encode())}" if place.version else "",
            host=f"{self.site.data_url}/v1/data/{place.data_id}",
            ticket=ticket_for(self.site, self.actor, place.data_id),
            ticket_s=TICKET_S,
            commit_key=new_id(),
            most_names=WHO,
            pieces=pieces,
            size_words=size_words,
            when_words=when_words,
        )


def ticket_for(site: Toolkit, actor: Actor, data_id: str) -> str:
    return make_ticket(site.secret("data-ticket-key"), actor.user_id, data_id)


class DataTicket(DataPageHandler):
    """A fresh ticket for a page that stays open for long.

    Asked by POST, so that it always takes the page's XSRF token; no page of another origin can send it, nor read the answer.
    """

    action = "data:get"

    async def post(self, reference: str) -> None:
        data_id = await self.context.store.read(_readable, self.actor, reference)
        self.finish({"ticket": ticket_for(self.site, self.actor, data_id), "seconds": TICKET_S})

    def write_toolkit_error(self, error: ToolkitError) -> None:
        ServiceHandler.write_toolkit_error(self, error)


def _readable(session: Session, actor: Actor, reference: str) -> str:
    return open_content(session, actor, "data:get", reference).data_id


class CommitData(DataPageHandler):
    """The commit form. A long commit shows how far it is, and asks again with the same key."""

    action = "data:set"

    async def get(self, reference: str) -> None:
        self.redirect(f"{SERVICE_PREFIX}data/{quote(reference, safe='')}")

    async def post(self, reference: str) -> None:
        asked = {name: self.get_body_argument(name, "") for name in ("message", "key")}
        new = parse_body(NewVersion, json.dumps({"message": asked["message"]}).encode())
        made = await self.context.commits.commit(self.actor, reference, new, _key(asked["key"]))
        data_id = await self.context.store.read(_readable, self.actor, reference)
        if made.state == "made" and not made.warnings:
            self.redirect(f"{SERVICE_PREFIX}data/{data_id}#versions")
            return
        self.show("data_commit.html", made=made, data_id=data_id, asked=asked, size_words=size_words, pieces=pieces)


def data_specs(context: Context) -> list[tuple[str, type[Any], dict[str, Any]]]:
    """The URL table of these pages."""
    own = {"context": context}
    return [
        (SERVICE_PREFIX + "data/?", DataListPage, own),
        (SERVICE_PREFIX + "new-data", CreateData, own),
        (SERVICE_PREFIX + r"data/([^/]+)", DataPage, own),
        (SERVICE_PREFIX + r"data/([^/]+)/ticket", DataTicket, own),
        (SERVICE_PREFIX + r"data/([^/]+)/commit", CommitData, own),
    ]
