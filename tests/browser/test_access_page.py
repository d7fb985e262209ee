"""The page of access: what is mine, who may do what, and why; by keyboard alone, and saying what the policy's own answer is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.conftest import sign_in
from tests.support.running_site import PASSWORD, RunningSite
from toolkit_client.access_models import NewAccount, NewMember, NewTeam
from toolkit_hub.domain import accounts, members, rules, teams
from toolkit_hub.domain.access import Actor, actor_by_sign_in_name

pytestmark = [pytest.mark.browser, pytest.mark.engine]


@pytest.fixture(scope="module")
def house(site: RunningSite) -> RunningSite:
    """ann owns `acme.ann.boat`, which ben may use as a member of the team `acme.crew`."""
    for name in ("ann", "ben"):
        site.token(name)
    store = site.store()
    with store.begin() as session:
        ann, admin = known(actor_by_sign_in_name(session, "ann")), known(actor_by_sign_in_name(session, "admin"))
        accounts.create_account(session, ann, NewAccount(name="acme.ann.boat"))
        teams.create_team(session, admin, NewTeam(name="acme.crew"))
        members.add_member(session, admin, "team", "acme.crew", NewMember(user="acme.ben"))
        members.add_member(session, ann, "role", "acme.ann.boat.user", NewMember(team="acme.crew"))
    store.close()
    return site


def known(actor: Actor | None) -> Actor:
    assert actor is not None
    return actor


@pytest.fixture
def complaints(context: BrowserContext) -> Iterator[list[str]]:
    """What the browser says against a page, as of its content security policy: nothing, in every test."""
    said: list[str] = []
    context.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    yield said
    assert [text for text in said if "Content Security Policy" in text or "Error" in text] == []


def signed_in(context: BrowserContext, site: RunningSite, user: str) -> Page:
    page = context.new_page()
    sign_in(page, site, user, PASSWORD if user != "admin" else site.admin_password)
    return page


def open_access(page: Page, site: RunningSite, **query: str) -> None:
    page.goto(f"{site.url}/services/toolkit/access")
    if query:
        page.get_by_label("Resource").fill(query["thing"])
        if "action" in query:
            page.get_by_label("Action").select_option(query["action"])
        page.get_by_label("For").fill(query.get("user", ""))
        page.get_by_role("button", name="Ask").click()


def answer(page: Page) -> Locator:
    return page.locator("#answer")


def test_by_keyboard_alone(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "ann")

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent.trim()"))

    def tab_to(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if focused() == text:
                return
        raise AssertionError(f"the Tab key does not reach {text!r}")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    tab_to("Access")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Where I belong")).to_be_visible()
    expect(page.get_by_label("Resource")).to_be_focused()
    page.keyboard.type("acme.ann")
    page.keyboard.press("Escape")  # the list of names to choose from
    page.keyboard.press("Enter")
    expect(answer(page)).to_contain_text("Which one is meant by “acme.ann”?")
    tab_to("acme.ann")
    page.keyboard.press("Enter")
    expect(page.locator("dl")).to_contain_text(":account:")
    tab_to("job:new")
    page.keyboard.press("Enter")
    expect(answer(page).get_by_role("heading", level=2)).to_have_text("Allowed acme.ann may do job:new on acme.ann")
    page.keyboard.press("Tab")  # goes on behind the address's #answer: at the first link of the answer
    assert focused() == "acme.ann"


def test_what_is_mine(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "ben")
    open_access(page, house)
    boat = page.locator("table", has=page.get_by_role("row", name="user yes")).filter(has_text="acme.crew").first
    expect(page.get_by_role("link", name="acme.ann.boat", exact=True)).to_be_visible()
    expect(boat).to_contain_text("team acme.crew")
    expect(page.get_by_text("Teams: acme.crew")).to_be_visible()
    store = house.store()
    with store.begin(write=False) as session:
        held = rules.list_rules(session, known(actor_by_sign_in_name(session, "ben")))
    store.close()
    shown = page.locator("section", has=page.get_by_role("heading", name="What I hold")).locator("tbody tr")
    expect(shown).to_have_count(len(held))
    expect(shown.first).to_contain_text("user:set")


def test_a_yes_shows_the_whole_way(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "ben")
    open_access(page, house, thing="acme.ann.boat", action="job:new")
    expect(answer(page).get_by_role("heading", level=2)).to_have_text(
        "Allowed acme.ben may do job:new on acme.ann.boat"
    )
    tree = answer(page).locator(".tree").first
    steps = ["acme.ben", "acme.crew", "acme.ann.boat.user"]
    for depth, step in enumerate(steps):
        link = tree.get_by_role("link", name=step, exact=True)
        assert link.evaluate("element => { let n = -1; for (; element; element = element.parentElement)"
                             " n += element.tagName === 'LI'; return n; }") == depth  # fmt: skip
    expect(tree).to_contain_text("job:new")
    who = answer(page).get_by_role("row")
    for name, group in (("acme.ann", "acme.ann.boat.admin"), ("acme.ben", "acme.crew"), ("acme.admin", "acme.admin")):
        row = who.filter(has=page.get_by_role("link", name=name, exact=True))
        expect(row).to_have_count(1)
        expect(row).to_contain_text(group)
    table = page.locator("section", has=page.get_by_role("heading", name="Who may do what"))
    expect(table.get_by_role("row", name="account:set")).to_contain_text("no")


def test_a_no_says_what_is_missing(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "ben")
    open_access(page, house, thing="acme.ann.boat", action="account:set")
    expect(answer(page).get_by_role("heading", level=2)).to_contain_text("Denied")
    expect(answer(page)).to_contain_text("acme.ann")
    expect(answer(page).get_by_role("heading", name="What would do")).to_be_visible()
    expect(answer(page)).to_contain_text("account:set@")
    open_access(page, house, thing="acme.admin", action="account:get")  # the administrator's home account
    expect(answer(page)).to_have_role("alert")
    expect(page.get_by_label("Resource")).to_have_value("acme.admin")
    open_access(page, house, thing="acme.ann.boat", action="account:set", user="acme.ann")
    expect(answer(page)).to_contain_text("user:policy")


def test_an_administrator_asks_for_another(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "admin")
    expect(page.get_by_text("administrator", exact=True)).to_be_visible()
    open_access(page, house, thing="acme.ann.boat", action="account:get", user="acme.ben")
    expect(answer(page).get_by_role("heading", level=2)).to_contain_text("Allowed acme.ben may")
    store = house.store()
    with store.begin() as session:
        ann = known(actor_by_sign_in_name(session, "ann"))
        members.remove_member(session, ann, "role", "acme.ann.boat.user", "team", "acme.crew")
    page.reload()
    expect(answer(page).get_by_role("heading", level=2)).to_contain_text("Denied acme.ben may not")
    with store.begin() as session:
        ann = known(actor_by_sign_in_name(session, "ann"))
        members.add_member(session, ann, "role", "acme.ann.boat.user", NewMember(team="acme.crew"))
    store.close()


def test_what_is_typed_is_text(house: RunningSite, context: BrowserContext, complaints: list[str]) -> None:
    page = signed_in(context, house, "ben")
    for thing in (
        "<script>alert(1)</script>",
        "acme:account:*",
        '"><img src=x onerror=alert(1)>',
        "acme.nobody",
        "x" * 1200,
    ):
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        open_access(page, house, thing=thing)
        expect(answer(page)).to_have_role("alert")
        expect(page.get_by_label("Resource")).to_have_value(thing)
    open_access(page, house, thing="acme.ben", action="role:member")
    expect(answer(page)).to_contain_text("is asked of role")


def test_a_narrow_window_does_not_scroll_sideways(
    house: RunningSite, context: BrowserContext, complaints: list[str]
) -> None:
    page = signed_in(context, house, "ann")
    page.set_viewport_size({"width": 390, "height": 800})
    for query in ({}, {"thing": "acme.ann.boat", "action": "account:get"}):
        open_access(page, house, **query)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
