"""Cookies, XSRF tokens and log-out, as a browser would send them; here by hand, to leave parts out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from tests.support.running_site import PASSWORD, RunningSite

pytestmark = pytest.mark.engine

API = "/services/toolkit/api/v1"


@pytest.fixture
def browser(site: RunningSite) -> Iterator[httpx.Client]:
    """Signed in at the hub and, by its OAuth, at the service."""
    site.token("carol")
    with httpx.Client(base_url=site.url, follow_redirects=True, timeout=30) as client:
        page = client.get("/hub/login", headers=navigate())
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert token
        form = {"username": "carol", "password": PASSWORD, "_xsrf": token[1]}
        home = client.post("/hub/login?next=%2Fservices%2Ftoolkit%2F", data=form, headers=navigate())
        assert home.url.path == "/services/toolkit/", home.url
        assert "acme.carol" in home.text
        yield client


def navigate() -> dict[str, str]:
    return {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}


def fetch() -> dict[str, str]:
    return {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}


def xsrf_of(client: httpx.Client) -> str:
    found = re.search(r'name="xsrf-token" content="([^"]+)"', client.get("/services/toolkit/", headers=navigate()).text)
    assert found
    return found[1]


def test_a_cookie_alone_changes_nothing(site: RunningSite, browser: httpx.Client) -> None:
    body = {"command": ["true"]}
    assert browser.post(f"{API}/jobs", json=body, headers=fetch()).status_code == 401
    assert browser.get(f"{API}/jobs", headers=fetch()).status_code == 401
    wrong = {**fetch(), "X-XSRFToken": "0" * 32}
    assert browser.post(f"{API}/jobs", json=body, headers=wrong).status_code == 401
    assert browser.post("/services/toolkit/server", headers=navigate()).status_code == 401
    with site.client("carol") as client:
        assert client.jobs.list(limit=10) == []


def test_a_cookie_with_its_token_is_the_user(site: RunningSite, browser: httpx.Client) -> None:
    right = {**fetch(), "X-XSRFToken": xsrf_of(browser)}
    assert browser.get(f"{API}/me", headers=right).json()["name"] == "carol"


def test_wrong_passwords_and_unknown_users_get_the_same_answer(site: RunningSite) -> None:
    site.token("carol")
    texts = set()
    for name in ("carol", "nobody-here"):
        with httpx.Client(base_url=site.url, follow_redirects=True, timeout=30) as client:
            page = client.get("/hub/login", headers=navigate())
            token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
            assert token
            form = {"username": name, "password": "not the password", "_xsrf": token[1]}
            reply = client.post("/hub/login", data=form, headers=navigate())
            assert reply.status_code == 403
            texts.add(re.sub(r'value="[^"]*"|[0-9a-zA-Z+/=:|_.-]{24,}', "", reply.text))
    assert len(texts) == 1


def test_log_out_ends_what_the_service_showed(browser: httpx.Client) -> None:
    browser.get("/hub/logout", headers=navigate())
    reply = browser.get("/services/toolkit/", headers=navigate())
    assert reply.url.path == "/hub/login"


def test_the_hub_never_makes_an_administrator_of_its_own(site: RunningSite) -> None:
    reply = httpx.get(f"{site.url}/hub/api/user", headers={"Authorization": f"token {site.admin_token}"})
    assert reply.json()["admin"] is False
    assert not {"admin:users", "admin:servers", "tokens"} & set(reply.json()["scopes"])
