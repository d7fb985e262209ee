"""The addresses that `toolkit app` gives to browsers: once, for one host; nobody becomes somebody else without being asked."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.hub.gate_house import BROWSER, House
from toolkit_hub.domain.gate_sessions import ANY_BROWSER, create_code

VISIT = "/.toolkit/visit"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's."""
    return house.job()


def code(house: House, job: str, user: str = "alice") -> str:
    with house.store.begin() as session:
        return create_code(session, user_id=house.users[user], job_id=job, host=house.host(job), state=ANY_BROWSER)


def visit(house: House, job: str, code: str, goal: str = "/page?x=1", **headers: str) -> httpx.Response:
    target = f"{VISIT}?code={quote(code)}&next={quote(goal, safe='')}"
    return house.ask(house.host(job), target, headers={**BROWSER, **headers})


def cookie(response: httpx.Response) -> str:
    return next(each for each in response.headers.get_list("Set-Cookie") if each.startswith("toolkit-gate=")).split(
        ";"
    )[0]


def test_a_visit_signs_in_once(house: House, job: str) -> None:
    made = code(house, job)
    response = visit(house, job, made)
    assert (response.status_code, response.headers["Location"]) == (302, f"http://{house.host(job)}/page?x=1")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    page = house.ask(house.host(job), "/page", headers={**BROWSER, "Cookie": cookie(response)})
    assert page.status_code == 200
    again = visit(house, job, made)
    assert again.status_code == 403
    assert "used before" in again.text


def test_only_at_its_own_host(house: House, job: str) -> None:
    made = code(house, job)
    other = house.job()
    assert visit(house, other, made).status_code == 403
    lab = house.ask(house.host(job, lab=True), f"{VISIT}?code={made}&next=/", headers=BROWSER)
    assert lab.status_code == 403
    assert visit(house, job, made).status_code == 302, "what was tried elsewhere is not used up by that"


def test_codes_of_the_two_kinds_do_not_stand_for_each_other(house: House, job: str) -> None:
    target = f"/.toolkit/enter?code={code(house, job)}&next={quote(f'http://{house.host(job)}/', safe='')}"
    for state in (ANY_BROWSER, "any", ""):
        headers = {**BROWSER, "Cookie": f'toolkit-gate-state="{state}"'}
        assert house.ask(house.host(job), target, headers=headers).status_code == 403
    with house.store.begin() as session:
        entered = create_code(session, user_id=house.users["alice"], job_id=job, host=house.host(job), state="s" * 32)
    assert visit(house, job, entered).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Dest": "empty", "Accept": "*/*"},
        {"Accept": "application/json"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
    ],
)
def test_what_is_no_person_uses_nothing_up(house: House, job: str, headers: dict[str, str]) -> None:
    made = code(house, job)
    assert visit(house, job, made, **headers).status_code == 403
    assert visit(house, job, made).status_code == 302


@pytest.mark.parametrize("goal", ["http://evil.example/", "//evil.example/", "", "/x y", "/x\r\nSet-Cookie: a=b"])
def test_a_visit_leads_to_its_own_host_only(house: House, job: str, goal: str) -> None:
    response = visit(house, job, code(house, job), goal)
    assert response.headers["Location"].startswith(f"http://{house.host(job)}/")
    assert len(response.headers.get_list("Set-Cookie")) == 1


def test_a_link_from_elsewhere_asks_first(house: House, job: str) -> None:
    for site in ("cross-site", "same-site", "same-origin"):
        made = code(house, job)
        asked = visit(house, job, made, **{"Sec-Fetch-Site": site})
        assert asked.status_code == 200
        assert "Set-Cookie" not in asked.headers
        assert "Go on as acme.alice?" in asked.text
        assert "form-action 'self'" in asked.headers["Content-Security-Policy"]
        assert confirm(house, job, made, Origin="http://evil.example").status_code == 403
        assert confirm(house, job, made, Origin="null").status_code == 403
        assert confirm(house, job, made).status_code == 403
        done = confirm(house, job, made, Origin=f"http://{house.host(job)}")
        assert (done.status_code, done.headers["Location"]) == (303, f"http://{house.host(job)}/page")
        assert cookie(done)


def test_nobody_becomes_somebody_else_without_being_asked(house: House, job: str) -> None:
    first = cookie(visit(house, job, code(house, job)))
    asked = visit(house, job, code(house, job, "bob"), Cookie=first)
    assert asked.status_code == 200
    assert "signed in at this job as acme.alice" in asked.text
    assert "Set-Cookie" not in asked.headers
    # The same user again is no question.
    assert visit(house, job, code(house, job), Cookie=first).status_code == 302


def confirm(house: House, job: str, made: str, **headers: str) -> httpx.Response:
    body = f"code={quote(made)}&next=%2Fpage".encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    return house.ask(house.host(job), VISIT, method="POST", headers={**BROWSER, **kind, **headers}, content=body)
