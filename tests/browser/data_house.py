"""What the tests of the data page share: people, data and its folder on the disk, and how the page is used."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Download, Locator, Page

from tests.browser.conftest import SCREENSHOTS, sign_in
from tests.support.running_site import PASSWORD, RunningSite
from toolkit_client.access_models import NewData, NewMember, NewPolicy, NewRole
from toolkit_hub.domain import data, members, policies, roles
from toolkit_hub.domain.access import Actor, actor_by_sign_in_name
from toolkit_hub.volumes.layout import Volumes


@pytest.fixture(scope="module")
def house(site: RunningSite) -> RunningSite:
    for name in ("dana", "reader"):
        site.token(name)
    return site


@pytest.fixture
def complaints(context: BrowserContext) -> Iterator[list[str]]:
    """What the browser says against a page, as of its content security policy: nothing. Refused requests are looked at by the
    tests themselves."""
    said: list[str] = []
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    context.on("weberror", lambda error: said.append(str(error.error)))
    yield said
    assert [text for text in said if "Failed to load resource" not in text] == []


def known(actor: Actor | None) -> Actor:
    assert actor is not None
    return actor


def make_data(site: RunningSite, reader: str = "", may: str = "data:get") -> tuple[str, Path]:
    """Data of dana with a new name, its id, and the folder of its live content; `reader` may read it, or what else is given."""
    store = site.store()
    with store.begin() as session:
        dana = known(actor_by_sign_in_name(session, "dana"))
        made, _ = data.create_data(session, dana, NewData(name=f"d{uuid.uuid4().hex[:12]}"))
        if reader:
            role = f"acme.dana.{made.name}"
            roles.create_role(session, dana, NewRole(name=role))
            policies.add_policy(session, dana, "role", role, NewPolicy(policy=f"{may}@{made.urn}"))
            members.add_member(session, dana, "role", role, NewMember(user=f"acme.{reader}"))
    store.close()
    volumes = Volumes(site.settings.data_root)
    volumes.ensure(made.id)
    return made.id, volumes.live(made.id)


def opened(context: BrowserContext, site: RunningSite, data_id: str, user: str = "dana") -> Page:
    page = context.new_page()
    sign_in(page, site, user, PASSWORD)
    page.goto(f"{site.url}/services/toolkit/data/{data_id}")
    return page


def row(page: Page, name: str) -> Locator:
    return page.locator("table.files tbody tr").filter(
        has=page.locator(".name", has_text=re.compile(f"^{re.escape(name)}$"))
    )


def choose(page: Page, button: str, *paths: Path) -> None:
    with page.expect_file_chooser() as waiting:
        page.get_by_role("button", name=button).click()
    waiting.value.set_files(paths)


def saved(page: Page, button: Locator) -> tuple[Download, bytes]:
    with page.expect_download() as waiting:
        button.click()
    return waiting.value, Path(waiting.value.path()).read_bytes()


def picture(page: Page, name: str) -> None:
    """To be looked at: wide and narrow; nothing may stick out."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=SCREENSHOTS / f"data-{name}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size({"width": 1280, "height": 800})
