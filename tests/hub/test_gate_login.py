"""Log-in of a browser at a job host, and the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from tests.hub.gate_house import BROWSER, House
from toolkit_hub.domain.gate_sessions import create_code


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's."""
    return house.job()


def begin(house: House, job: str, target: str = "/page?x=1") -> tuple[str, str]:
    """A browser's first request: the state, and where it is to return to."""
    response = house.ask(house.host(job), target, headers=BROWSER)
    assert response.status_code == 302
    goal = urlsplit(response.headers["Location"])
    assert f"{goal.scheme}://{goal.netloc}{goal.path}" == f"{house.site.public_url}/services/toolkit/enter"
    query = parse_qs(goal.query)
    assert response.cookies["toolkit-gate-state"] == query["state"][0]
    return query["state"][0], query["next"][0]


def code(house: House, job: str, state: str, user: str = "alice") -> str:
    with house.store.begin() as session:
        return create_code(session, user_id=house.users[user], job_id=job, host=house.host(job), state=state)


def enter(house: House, host: str, code: str, state: str, address: str) -> httpx.Response:
    target = f"/.toolkit/enter?code={quote(code)}&next={quote(address, safe='')}"
    return house.ask(host, target, headers={**BROWSER, "Cookie": f"toolkit-gate-state={state}"})


def test_a_browser_logs_in_and_gets_a_cookie_for_that_host_alone(house: House, job: str) -> None:
    state, address = begin(house, job)
    assert address == f"http://{house.host(job)}/page?x=1"
    one_time = code(house, job, state)
    response = enter(house, house.host(job), one_time, state, address)
    assert (response.status_code, response.headers["Location"]) == (302, address)
    cookie = next(c for c in response.headers.get_list("Set-Cookie") if c.startswith("toolkit-gate="))
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Domain" not in cookie
    sent = {"Cookie": cookie.partition(";")[0]}
    page = house.ask(house.host(job), "/page", headers={**sent, **BROWSER})
    assert page.status_code == 200
    assert "toolkit-gate" not in page.text
    other = house.job()
    for host in (house.host(job, lab=True), house.host(other)):
        assert house.ask(host, headers=sent).status_code == 401
    again = enter(house, house.host(job), one_time, state, address)
    assert again.status_code == 403
    assert "used before" in again.text


def test_a_code_is_good_in_the_browser_and_at_the_host_that_it_was_made_for(house: House, job: str) -> None:
    state, address = begin(house, job)
    other = house.job()
    assert enter(house, house.host(job), code(house, job, state), "x" * 32, address).status_code == 403
    assert enter(house, house.host(job), code(house, job, state), "", address).status_code == 403
    elsewhere = enter(house, house.host(other), code(house, job, state), state, f"http://{house.host(other)}/")
    assert elsewhere.status_code == 403


@pytest.mark.parametrize(
    "address", ["http://evil.example/", "//evil.example/", "/x", "http://{host}.evil.example/", ""]
)
def test_a_log_in_leads_to_the_jobs_own_pages_only(house: House, job: str, address: str) -> None:
    state, _ = begin(house, job)
    response = enter(house, house.host(job), code(house, job, state), state, address.format(host=house.host(job)))
    assert response.status_code == 403
    assert "toolkit-gate=" not in response.headers.get("Set-Cookie", "")


def test_tabs_that_are_opened_at_once_share_one_log_in(house: House, job: str) -> None:
    state, _ = begin(house, job)
    second = house.ask(house.host(job), "/", headers={**BROWSER, "Cookie": f"toolkit-gate-state={state}"})
    assert f"state={state}&" in second.headers["Location"]


def test_only_a_person_opening_a_page_is_led_to_the_log_in(house: House, job: str) -> None:
    host = house.host(job)
    for headers in ({}, {"Accept": "text/html", "Sec-Fetch-Dest": "iframe"}, {"Accept": "application/json"}):
        assert house.ask(host, headers=headers).status_code == 401
    assert house.ask(host, method="POST", headers=BROWSER).status_code == 401


def test_with_tls_the_cookies_are_bound_to_host_and_transport(tmp_path: Path) -> None:
    house = House(tmp_path, jobs_url="https://jobs.example.org", public_url="https://hub.example.org")
    try:
        job = house.job()
        response = house.ask(house.host(job), headers=BROWSER)
        state_cookie = response.headers["Set-Cookie"]
        assert state_cookie.startswith("__Host-toolkit-gate-state=")
        assert "Secure" in state_cookie
        assert "Path=/;" in state_cookie
        goal = urlsplit(response.headers["Location"])
        assert goal.netloc == "hub.example.org"
        assert parse_qs(goal.query)["next"] == [f"https://{job}.jobs.example.org/"]
    finally:
        house.stop()


def test_log_out_ends_the_session(house: House, job: str) -> None:
    cookie, host = {"Cookie": house.cookie("alice", job)}, house.host(job)
    assert house.ask(host, "/.toolkit/logout", headers=cookie).status_code == 404
    foreign = {**cookie, "Origin": "http://evil.example"}
    assert house.ask(host, "/.toolkit/logout", "POST", headers=foreign).status_code == 403
    assert house.ask(host, headers=cookie).status_code == 200
    own = {**cookie, "Origin": f"http://{host}"}
    assert house.ask(host, "/.toolkit/logout", "POST", headers=own).status_code == 204
    assert house.ask(host, headers=cookie).status_code == 401
