"""Whose request it is: shapes of tokens, scopes, and requests that another origin's page makes a browser send."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from toolkit_hub.gate.identity import Claim, Identities, TokenOwner, bearer_token, foreign, session_cookie

ORIGIN = "http://id.localhost:8001"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("HEAD", {}),
        ("GET", {"Sec-Fetch-Site": "none", **NAVIGATION}),
        ("GET", {"Sec-Fetch-Site": "cross-site", **NAVIGATION}),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
        ("POST", {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}),
        ("GET", {"Upgrade": "websocket", "Origin": ORIGIN}),
        ("GET", {"Referer": f"{ORIGIN}/page"}),
    ],
)
def test_what_the_hosts_own_pages_and_people_send_is_let_in(method: str, headers: dict[str, str]) -> None:
    assert not foreign(method, CIMultiDict(headers), ORIGIN)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Origin": "http://evil.example"}),
        ("GET", {"Origin": "null"}),
        ("GET", {"Origin": f"{ORIGIN}0"}),
        ("POST", {"Origin": "http://other.localhost:8001"}),
        ("POST", {}),
        ("DELETE", {"Referer": f"{ORIGIN}/page"}),
        ("GET", {"Upgrade": "websocket"}),
        ("GET", {"Upgrade": "websocket", "Sec-Fetch-Site": "same-origin"}),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        ("GET", {"Sec-Fetch-Site": "cross-site"}),
        ("GET", {"Sec-Fetch-Site": "something-new"}),
        ("POST", {"Sec-Fetch-Site": "cross-site", **NAVIGATION}),
        ("GET", {"Referer": "http://id.localhost:80010/page"}),
        ("GET", {"Referer": "http://evil.example/"}),
    ],
)
def test_what_a_page_of_another_origin_makes_a_browser_send_is_refused(method: str, headers: dict[str, str]) -> None:
    assert foreign(method, CIMultiDict(headers), ORIGIN)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"Authorization": "token 0123456789abcdef"}, "0123456789abcdef"),
        ({"Authorization": "Bearer  0123456789abcdef"}, "0123456789abcdef"),
        ({"Authorization": "Basic 0123456789abcdef"}, None),
        ({"Authorization": "token"}, None),
        ({"Authorization": "token a b c d e f g h"}, None),
        ({"Authorization": "token " + "x" * 600}, None),
        ({"Authorization": "token 0123456789abcdef", "X-Toolkit-Key": "fedcba9876543210"}, "fedcba9876543210"),
        ({"Authorization": "token 0123456789abcdef", "X-Toolkit-Key": ""}, None),
        ({}, None),
    ],
)
def test_only_what_has_the_shape_of_a_hub_token_is_one(headers: dict[str, str], token: str | None) -> None:
    assert bearer_token(CIMultiDict(headers)) == token


@pytest.mark.parametrize(
    ("scope", "reaches"),
    [
        ("access:servers", True),
        ("access:servers!user=alice", True),
        ("access:servers!server=alice/jabc", True),
        ("access:services!service=toolkit", True),
        ("access:servers!user=bob", False),
        ("access:servers!server=alice/jabcd", False),
        ("access:services!service=other", False),
        ("read:users!user=alice", False),
        ("self", False),
    ],
)
def test_a_token_opens_what_its_scopes_reach(scope: str, reaches: bool) -> None:
    assert TokenOwner("alice", frozenset({scope})).reaches("alice", "jabc") is reaches


def test_a_token_for_one_server_opens_no_job_that_has_none() -> None:
    assert not TokenOwner("alice", frozenset({"access:servers!server=alice/None"})).reaches("alice", None)


def test_a_session_counts_at_a_host_only() -> None:
    headers = CIMultiDict({"Cookie": f"toolkit-gate={'k' * 40}"})
    identities = Identities(None, secure=False)  # type: ignore[arg-type]
    assert [claim.is_cookie for claim in identities.cookie_claims(headers, "h.localhost")] == [True]
    assert identities.cookie_claims(headers, "") == []
    assert not Claim("tkr_0123456789").is_cookie


def test_claims_do_not_show_their_secret() -> None:
    assert "hush" not in repr(Claim("hush", host="h"))
    assert session_cookie(True).startswith("__Host-")
