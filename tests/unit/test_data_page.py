"""The pages of data: names that are any bytes, long folders, what is offered to whom, forms, and tickets."""

from __future__ import annotations

import asyncio
import html
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock
from urllib.parse import quote, unquote_to_bytes

import httpx
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from tests.unit.conftest import People
from toolkit_client.access_models import Data as WireData
from toolkit_client.access_models import NewData, NewMember, NewPolicy, NewRole
from toolkit_client.data_models import Commit, NewVersion
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain import data, data_usage, data_versions, members, policies, roles
from toolkit_hub.domain.data_tickets import TICKET_S, read_ticket
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.domain.data_versions import Made
from toolkit_hub.pages import data as pages
from toolkit_hub.pages.data import crumbs, data_specs
from toolkit_hub.pages.handlers import PageHandler, page_specs
from toolkit_hub.pages.shown import pieces, size_words, when_words
from toolkit_hub.store.tables import new_id
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.manifest import ManifestWriter
from toolkit_hub.volumes.usage import Measured

HOSTILE = [
    b"<img src=x onerror=alert(1)>.html",
    b"' onclick=alert(1) \" x=",
    b"line\nend\r\t",
    b"\xe2\x80\xaegpj.exe",
    b"\xff\xfe no text",
    b"{{ 7 * 7 }}%2e&amp;?#",
    b"n" * 255,
]


# --- words ------------------------------------------------------------------------------------------------------------


def test_what_is_no_letter_is_escaped_and_marked() -> None:
    assert pieces("ü b".encode()) == [("ü b", False)]
    shown = [("a", False), (r"\n\xff", True), (r"\n", False), (r"\u202e", True), ("b", False)]
    assert pieces(b"a\n\xff\\n\xe2\x80\xaeb") == shown
    assert pieces(b"") == []


def test_the_way_to_a_deep_folder_is_short() -> None:
    assert [crumb.address for crumb in crumbs(b"a/b \xff/c")] == ["a", "a/b%20%FF", "a/b%20%FF/c"]
    deep = crumbs(b"/".join([b"d"] * 2000))
    assert [crumb.address.count("/") + 1 if crumb.shown else 0 for crumb in deep] == [1, 2, 0, 1997, 1998, 1999, 2000]
    assert crumbs(b"") == []


def test_sizes_and_times_in_words() -> None:
    sizes = {0: "0 bytes", 1: "1 byte", 1023: "1023 bytes", 1024: "1.0 KiB", 10239: "10 KiB", 2**20 - 1: "1.0 MiB",
             20 * 2**20 + 17: "20 MiB", 2**60: "1024 PiB"}  # fmt: skip
    assert {size: size_words(size) for size in sizes} == sizes
    now = clock.now().replace(hour=10, minute=42)
    assert when_words(now) == "10:42 UTC"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d 10:42 UTC", when_words(now - timedelta(days=1)))


# --- the pages themselves -----------------------------------------------------------------------------------------------


class House:
    """alice's data `acme.alice.photos`, which bob may read; and the pages, asked as somebody."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people = people
        self.site = Toolkit(state_dir=str(folder))
        self.volumes = Volumes(self.site.data_root)
        with people.store.begin() as session:
            alice = people.actor(session, "alice")
            self.photos, _ = data.create_data(session, alice, NewData(name="photos"))
            self.private, _ = data.create_data(session, alice, NewData(name=".ssh"))
            roles.create_role(session, alice, NewRole(name="acme.alice.viewer"))
            policy = NewPolicy(policy=f"data:get@{self.photos.urn}")
            policies.add_policy(session, alice, "role", "acme.alice.viewer", policy)
            members.add_member(session, alice, "role", "acme.alice.viewer", NewMember(user="acme.bob"))
        self.volumes.ensure(self.photos.id)
        self.live = self.volumes.live(self.photos.id)
        self.commits = Mock(commit=AsyncMock(return_value=Commit(state="unchanged")))
        self.context = Mock(
            settings=self.site,
            site=people.site,
            store=people.store,
            data_limits=DataLimits(bytes=2**30),
            commits=self.commits,
            hub_auth=Mock(base_url="/services/toolkit/"),
        )

    def ask(self, user: str, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        return asyncio.run(self._ask(user, path, form))

    async def _ask(self, user: str, path: str, form: dict[str, str] | None) -> httpx.Response:
        [listening] = bind_sockets(0, "127.0.0.1")
        specs: list[Any] = [*data_specs(self.context), *page_specs(self.context)]
        server = HTTPServer(Application(specs, cookie_secret="x" * 32, log_function=lambda handler: None))
        server.add_sockets([listening])
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/services/toolkit/{path}"
        async with httpx.AsyncClient() as client:
            headers = {"X-Test-User": user}
            reply = await client.request("GET" if form is None else "POST", address, headers=headers, data=form)
        server.stop()
        return reply

    def page(self, user: str, query: str = "", data: WireData | None = None) -> httpx.Response:
        return self.ask(user, f"data/{(data or self.photos).id}{query}")


@pytest.fixture
def backend() -> str:
    """One database will do: it is the pages that are looked at."""
    return "sqlite"


@pytest.fixture
def house(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(people, tmp_path / "site")

    async def identify(handler: PageHandler) -> object:
        name = handler.request.headers["X-Test-User"]
        handler.caller = await people.store.read(people.actor, name)
        return handler.caller

    monkeypatch.setattr(PageHandler, "identify", identify)
    return made


def test_hostile_names_are_text(house: House) -> None:
    for name in HOSTILE:
        (house.live / os.fsdecode(name)).mkdir()
        (house.live / os.fsdecode(b"f " + name[:200])).touch()
    (house.live / "link").symlink_to(os.fsdecode(HOSTILE[0]))
    reply = house.page("alice")
    assert reply.status_code == 200
    assert "<img" not in reply.text
    assert not re.search(r"<[^>]* onclick=", re.sub(r"'[^']*'|\"[^\"]*\"", "", reply.text))
    assert "\u202e" not in reply.text
    assert html.escape("<img src=x onerror=alert(1)>.html") in reply.text
    assert "&lt;img src=x onerror=alert(1)&gt;.html</bdi> (link, not followed)" in reply.text
    assert 'line<span class="escaped">\\n</span>end<span class="escaped">\\r\\t</span>' in reply.text
    addresses = re.findall(r'<a href="/services/toolkit/data/[^"?]*\?path=([^"]*)"', reply.text)
    assert {unquote_to_bytes(address) for address in addresses} == set(HOSTILE)
    for name in HOSTILE:
        inside = house.page("alice", f"?path={quote(name)}")
        assert inside.status_code == 200
        assert "This folder is empty." in inside.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?path=../..", 400),
        ("?path=%00", 400),
        ("?path=" + "a" * 256, 400),
        ("?path=nothing", 404),
        ("?path=" + "d/" * 3000, 400),
        ("?path=folder&version=1", 404),
        ("?version=one", 400),
        ("?version=%ff%22%3E", 400),
        ("?version=empty", 200),
        ("?path=/folder//./&after=what&before=%ff&below=x", 200),
        ("?after=fzzz", 200),
    ],
)
def test_bad_addresses(house: House, query: str, status: int) -> None:
    (house.live / "folder").mkdir()
    reply = house.page("alice", query)
    assert reply.status_code == status
    assert "<h1>" in reply.text


def test_a_long_folder_comes_in_pages(house: House) -> None:
    for number in range(1203):
        (house.live / f"{number:04}").touch()
    first = house.page("alice")
    assert first.text.count("<tr data-name") == 500
    assert len(first.content) < 600_000
    assert "1 to 500 of 1,203" in first.text
    following = html.unescape(re.search(r'rel="next" href="[^"]*(\?[^"]*)"', first.text)[1])  # type: ignore[index]
    second = house.page("alice", following)
    assert "501 to 1,000 of 1,203" in second.text
    back = html.unescape(re.search(r'rel="prev" href="[^"]*(\?[^"]*)"', second.text)[1])  # type: ignore[index]
    assert "1 to 500 of 1,203" in house.page("alice", back).text


def test_what_is_offered_to_whom(house: House) -> None:
    (house.live / "file").touch()
    owner, reader = house.page("alice").text, house.page("bob").text
    for mark in ('data-act="mkdir"', 'data-act="move"', 'data-act="remove"', "data-choose", 'class="commit"'):
        assert mark in owner
        assert mark not in reader
    assert "that needs <code>data:set</code>" in reader
    assert "file/save?path=file" in reader
    assert "has 1.0 GiB left of 1.0 GiB" in owner
    assert "left of" not in reader  # who reads one thing need not know of the account
    made = Made(new_id(), 1, 1, 1, 1)
    house.volumes.version(house.photos.id, made.version_id).mkdir()
    with house.volumes.manifest(house.photos.id, made.version_id).open("wb") as file:
        ManifestWriter(file, 0).end()
    add_version(house, made)
    version = house.page("alice", "?version=1").text
    assert "A version never changes." in version
    assert not re.search("data-act|data-choose|class=.commit", version)
    assert "&lt;b&gt;first" in version


def add_version(house: House, made: Made) -> None:
    with house.people.store.begin() as session:
        alice = house.people.actor(session, "alice")
        new = NewVersion(message="<b>first")
        data_versions.add_version(session, alice, house.photos.id, new, made, None)


def test_what_one_may_not_see_is_not_there(house: House) -> None:
    for user, thing in (("bob", house.private.id), ("alice", new_id())):
        for path, form in (("", None), ("?path=x", None), ("/ticket", {}), ("?version=1", None)):
            assert house.ask(user, f"data/{thing}{path}", form).status_code == 404
    listed = house.ask("bob", "data").text
    assert house.photos.id in listed
    assert house.private.id not in listed
    assert house.private.id in house.ask("alice", "data").text


def test_tickets(house: House) -> None:
    reply = house.ask("bob", f"data/{house.photos.id}/ticket", {})
    ticket = read_ticket(house.site.secret("data-ticket-key"), reply.json()["ticket"])
    with house.people.store.begin(write=False) as session:
        bob = house.people.actor(session, "bob").user_id
    assert ticket == (bob, house.photos.id)
    assert reply.json()["seconds"] == TICKET_S
    assert reply.headers["Cache-Control"] == "no-store"
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]
    assert house.ask("bob", f"data/{house.photos.id}/ticket").status_code >= 400  # by POST only
    assert house.ask("bob", f"data/{house.private.id}/ticket", {}).json()["error"]["status"] == 404
    page = house.page("bob").text
    assert read_ticket(house.site.secret("data-ticket-key"), re.search('name="ticket" value="([^"]*)"', page)[1]) == ticket  # type: ignore[index]  # fmt: skip
    assert not re.search(r"(href|action|src)=\"[^\"]*tkd_", page)


def test_forms_and_scripts_reach_this_host_and_the_data_host(house: House) -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in house.page("alice").headers["Content-Security-Policy"].split(";")
    )
    assert policy["form-action"] == policy["connect-src"] == f"'self' {house.site.data_url}"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"


def test_new_data_by_the_form(house: House) -> None:
    form = {"name": "results", "account": "acme.alice", "key": "a key of the form"}
    made = [house.ask("alice", "new-data", form) for _ in range(2)]
    assert [reply.status_code for reply in made] == [302, 302]
    assert made[0].headers["Location"] == made[1].headers["Location"]
    refused = {
        409: {**form, "key": "another key"},
        400: {**form, "name": "<b>Bad name"},
        404: {**form, "account": "acme.admin", "key": "a third key"},
    }
    for status, asked in refused.items():
        reply = house.ask("alice", "new-data", asked)
        assert reply.status_code == status
        assert 'role="alert"' in reply.text
        assert f'value="{html.escape(asked["name"])}"' in reply.text
    for key in ("", "x" * 65, "ü" * 10):
        assert house.ask("alice", "new-data", {**form, "name": "other", "key": key}).status_code == 400
    with house.people.store.begin(write=False) as session:
        found = data.list_data(session, house.people.actor(session, "alice"))
    assert [one.name for one in found if one.name not in ("home", ".ssh", "photos")] == ["results"]


def test_the_list_has_sizes_and_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.people.store.begin() as session:
        data_usage.store_usage(session, house.photos.id, Measured(5000, 8192, 2, 3), (0, 0))
    add_version(house, Made(new_id(), 2, 5000, 8192, 3))
    listed = house.ask("alice", "data").text
    row = re.search(rf"<tr>(?:(?!</tr>).)*{house.photos.id}.*?</tr>", listed, re.DOTALL)[0]  # type: ignore[index]
    assert re.search(r"16 KiB <span[^>]*>as of <time[^>]*>\d\d:\d\d UTC", row)
    assert "<td>1</td>" in row
    assert "not measured yet" in listed
    monkeypatch.setattr(pages, "LISTED", 1)
    whole = [house.ask("alice", f"data?page={number}").text for number in (1, 2, 99)]
    assert [text.count('scope="row"') for text in whole] == [1, 1, 1]
    assert "data?page=2" in whole[0]
    assert "Next" not in whole[2]


def test_commits(house: House) -> None:
    form = {"message": "<i>why</i>", "key": "a key of the form"}
    path = f"data/{house.photos.id}/commit"
    assert "Nothing has changed" in house.ask("alice", path, form).text
    house.commits.commit.return_value = Commit(state="running", files=1234, bytes=2**31)
    running = house.ask("alice", path, form).text
    assert "1,234 files and 2.0 GiB so far" in running
    assert 'value="a key of the form"' in running
    assert 'value="&lt;i&gt;why&lt;/i&gt;"' in running
    assert house.ask("alice", path, {"message": "x" * 4001, "key": form["key"]}).status_code == 400
    actor, reference, new, key = house.commits.commit.call_args.args
    assert (actor.full_name, reference, new.message, key) == ("acme.alice", house.photos.id, "<i>why</i>", form["key"])


def test_a_job_leads_to_its_data(house: House) -> None:
    job = house.people.submit("alice", data=["photos@empty:/photos", ".ssh:/keys:rw"])
    page = house.ask("alice", f"jobs/{job.id}").text
    assert f'<a href="/services/toolkit/data/{house.photos.id}?version=empty">acme.alice.photos@empty</a>' in page
    assert f'<a href="/services/toolkit/data/{house.private.id}">acme.alice..ssh</a>' in page
    assert "<code>/keys</code>" in page
