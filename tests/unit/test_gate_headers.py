"""What passes between visitor and job, header by header."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from toolkit_hub.gate.headers import Passage, cookie_values, inbound, outbound, plain_name
from toolkit_hub.gate.within import as_local, from_local

HOST = Passage("alice", "http", "ID.localhost:8001")
LAB = Passage("alice", "http", "ID-lab.localhost:8001", "the-secret")
HUB_ORIGIN = Passage("alice", "https", "hub.example.org", "the-secret", cookies=False)

names = st.one_of(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,20}", fullmatch=True),
    st.sampled_from(["Authorization", "Cookie", "Connection", "Host", "Upgrade", "TE", "Forwarded", "X-Real-IP"]),
    st.sampled_from(["X-Toolkit-User", "x_toolkit_run_secret", "X-TOOLKIT-Key", "X-Forwarded-For", "X_Forwarded_Host"]),
    st.sampled_from(["Proxy-Authorization", "Set-Cookie", "Clear-Site-Data", "Accept", "Content-Length"]),
)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
headers = st.lists(st.tuples(names, values), max_size=12).map(CIMultiDict)

ONLY_THE_GATES = {"x-forwarded-host": HOST.host, "x-forwarded-proto": "http", "x-toolkit-user": "alice"}


@given(headers)
def test_nothing_of_a_visitor_speaks_for_the_gate_or_proves_who_he_is(given_headers: CIMultiDict[str]) -> None:
    out = inbound(given_headers, HOST)
    for name, value in out.items():
        plain = plain_name(name)
        if plain.startswith(("x-toolkit-", "x-forwarded-")):
            assert ONLY_THE_GATES[plain] == value
        assert plain not in ("proxy-authorization", "forwarded", "x-real-ip", "te", "upgrade", "connection")
        assert plain != "authorization"
    assert out.getall("X-Toolkit-User") == ["alice"]
    assert out.getall("Host") == [HOST.host]
    assert "X-Toolkit-Run-Secret" not in out


@given(headers)
def test_the_secret_goes_to_the_job_server_only(given_headers: CIMultiDict[str]) -> None:
    assert inbound(given_headers, LAB).getall("X-Toolkit-Run-Secret") == ["the-secret"]
    assert "the-secret" not in repr(LAB)


@given(headers, st.booleans())
def test_nothing_of_a_job_reaches_beyond_its_host(given_headers: CIMultiDict[str], cookies: bool) -> None:
    out = outbound(given_headers, HOST if cookies else HUB_ORIGIN)
    assert not {plain_name(name) for name in out} & {"clear-site-data", "connection", "upgrade", "te"}
    assert not any(plain_name(name).startswith(("x-toolkit-", "access-control-")) for name in out)
    if not cookies:
        assert "Set-Cookie" not in out
        assert out["Content-Security-Policy"] == "sandbox"


def test_authorization_is_kept_where_it_is_the_apps() -> None:
    plain = CIMultiDict({"Authorization": "Basic abc", "X-Toolkit-Key": "k"})
    assert "Authorization" not in inbound(plain, HOST)
    out = inbound(plain, replace(HOST, authorization=True))
    assert out["Authorization"] == "Basic abc"
    assert "X-Toolkit-Key" not in out


def test_at_a_public_port_the_app_says_which_origins_may_read() -> None:
    given_headers = CIMultiDict({"Access-Control-Allow-Origin": "*", "X-Toolkit-User": "root", "Clear-Site-Data": "*"})
    assert "Access-Control-Allow-Origin" not in outbound(given_headers, HOST)
    assert set(outbound(given_headers, replace(HOST, public=True))) == {"Access-Control-Allow-Origin", "Server"}


def test_from_within_a_request_is_that_of_a_visitor_on_the_same_machine() -> None:
    own = "http://ID.localhost:8001"
    out = CIMultiDict({"Host": "ID.localhost:8001", "Origin": own, "Referer": f"{own}/a?b"})
    as_local(out, HOST, 8080)
    local = "http://localhost:8080"
    assert dict(out) == {"Host": "localhost:8080", "Origin": local, "Referer": f"{local}/a?b"}
    for foreign in ("http://evil.example", "http://ID.localhost:80012", "null"):
        out = CIMultiDict({"Origin": foreign})
        as_local(out, HOST, 8080)
        assert out["Origin"] == foreign
    for sent, seen in (
        (f"{local}/x", f"{own}/x"),
        ("http://127.0.0.1:8080/x", f"{own}/x"),
        ("/x", "/x"),
        ("http://localhost:80801/x", "http://localhost:80801/x"),
    ):
        back = CIMultiDict({"Location": sent})
        from_local(back, HOST, 8080)
        assert back["Location"] == seen


def test_the_apps_cookies_pass_and_those_of_gate_and_hub_stay() -> None:
    given_headers = CIMultiDict(
        [
            ("Cookie", "toolkit-gate=k; app=1;__Host-toolkit-gate-state=s; _xsrf=x"),
            ("Cookie", "TOOLKIT_GATE=z; jupyterhub-session-id=h; b=2"),
        ]
    )
    assert inbound(given_headers, HOST).getall("Cookie") == ["app=1; _xsrf=x; b=2"]
    assert "Cookie" not in inbound(given_headers, HUB_ORIGIN)
    assert cookie_values(given_headers, "toolkit-gate") == ["k"]


def test_the_xsrf_header_is_the_apps_on_its_own_host_and_the_hubs_elsewhere() -> None:
    given_headers = CIMultiDict({"X-XSRFToken": "t"})
    assert "X-XSRFToken" in inbound(given_headers, HOST)
    assert "X-XSRFToken" not in inbound(given_headers, HUB_ORIGIN)


def test_a_header_named_by_connection_ends_here_except_the_length() -> None:
    given_headers = CIMultiDict({"Connection": "close, X-Hop, Content-Length", "X-Hop": "1", "Content-Length": "3"})
    out = inbound(given_headers, HOST)
    assert "X-Hop" not in out
    assert out["Content-Length"] == "3"


def test_cookies_for_a_domain_or_with_the_gates_name_are_dropped() -> None:
    cookies = (
        "good=1; Path=/; HttpOnly",
        "wide=1; domain =localhost",
        "toolkit-gate=forged",
        "__HOST-Toolkit_Gate=forged",
        "=toolkit-gate=forged",
        "nameless",
    )
    out = outbound(CIMultiDict([("Set-Cookie", cookie) for cookie in cookies]), HOST)
    assert out.getall("Set-Cookie") == ["good=1; Path=/; HttpOnly"]
