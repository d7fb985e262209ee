"""Uploads on the page of data that do not go well: broken connections, second thoughts, rights that go meanwhile."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from tests.browser.data_house import choose, known, make_data, opened, picture, row
from tests.browser.data_house import complaints as complaints
from tests.browser.data_house import house as house
from tests.support.running_site import RunningSite
from toolkit_client.access_models import NewPolicy
from toolkit_hub.domain import data, policies
from toolkit_hub.domain.access import actor_by_sign_in_name

pytestmark = [pytest.mark.browser, pytest.mark.engine]


def test_an_upload_goes_on_where_it_broke(
    house: RunningSite, context: BrowserContext, complaints: list[str], tmp_path: Path
) -> None:
    data_id, live = make_data(house)
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(20 * 2**20))
    context.add_init_script("window.later = 0; const now = Date.now; Date.now = () => now() + window.later;")
    page = opened(context, house, data_id)
    expect(page.get_by_role("button", name="Upload files")).to_be_visible()
    asked: list[int] = []
    page.route(re.compile("offset=8388608"), lambda route: route.abort("connectionreset"), times=1)
    page.on("request", lambda request: asked.append(offset_of(request.url)) if request.method == "PUT" else None)
    page.evaluate("window.later = 9 * 60 * 1000")  # the ticket is about to end
    with page.expect_response(re.compile("/ticket$")) as renewed:
        choose(page, "Upload files", large)
    assert renewed.value.ok
    expect(row(page, "large.bin")).to_be_visible()
    assert asked == [0, 8, 8, 16]
    assert (live / "large.bin").read_bytes() == large.read_bytes()


def offset_of(url: str) -> int:
    """In MiB."""
    return int(url.rpartition("offset=")[2]) >> 20


def test_an_upload_is_cancelled_and_taken_up_again(
    house: RunningSite, context: BrowserContext, complaints: list[str], tmp_path: Path
) -> None:
    data_id, live = make_data(house)
    files = [tmp_path / f"{number}.bin" for number in range(4)]
    for file in files:
        file.write_bytes(os.urandom(300_000))
    page = opened(context, house, data_id)
    waiting: list[Route] = []
    page.route(re.compile("/upload.*offset="), lambda route: waiting.append(route))
    choose(page, "Upload files", *files)
    expect(page.locator("#all-words")).to_contain_text("0 of 4 files, 0 bytes of 1.1 MiB")
    page.wait_for_function("document.querySelectorAll('#each li').length === 2")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#all-words")).to_have_text("Cancelled. 0 of 4 files are there.")
    picture(page, "cancelled")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(row(page, "3.bin")).to_be_visible()
    assert [(live / file.name).read_bytes() for file in files] == [file.read_bytes() for file in files]


def test_a_right_that_goes_while_the_page_is_open(
    house: RunningSite, context: BrowserContext, complaints: list[str], tmp_path: Path
) -> None:
    data_id, live = make_data(house, reader="reader", may="data:get+data:set")
    page = opened(context, house, data_id, "reader")
    store = house.store()
    with store.begin() as session:
        dana = known(actor_by_sign_in_name(session, "dana"))
        role = f"acme.dana.{data.get_data(session, dana, data_id).name}"
        [policy] = policies.list_policies(session, dana, "role", role)
        reading = NewPolicy(policy=policy.policy.replace("data:get+data:set", "data:get"))
        policies.add_policy(session, dana, "role", role, reading)
        policies.remove_policy(session, dana, "role", role, policy.id)
    store.close()
    files = [tmp_path / f"{number}.bin" for number in range(3)]
    for file in files:
        file.write_text("x")
    choose(page, "Upload files", *files)
    expect(page.locator("#all-words")).to_contain_text("data:set")
    expect(page.locator("#all-words")).to_contain_text("0 of 3 files are there.")
    assert list(live.iterdir()) == []
    page.reload()
    expect(page.get_by_text("You may read this data, and not change it")).to_be_visible()
