"""The gate over HTTP: who gets in where, what passes, and what stays outside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import httpx
import jupyterhub
import pytest

from tests.hub.gate_house import BROWSER, NOBODYS_IP, House, eventually, read_head
from toolkit_hub.store.tables import Job


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("gate"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def job(house: House) -> str:
    """A running job of alice's."""
    return house.job()


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["message"]


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "evil.example:{port}", "{job}.evil.example", "{job}.localhost:1"])
def test_a_foreign_host_is_nobodys_even_with_a_good_token(house: House, job: str, host: str) -> None:
    host = host.format(port=house.site.jobs_port, job=job)
    assert house.ask(host, headers=house.token()).status_code == 404


def test_two_hosts_in_one_request_are_refused(house: House, job: str) -> None:
    host = house.host(job)
    with house.connect(f"GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n") as connection:
        assert read_head(connection)[0] in (400, 404)


@pytest.mark.parametrize("target", ["http://evil.example/", "*", "/a#b"])
def test_a_target_that_is_no_path_is_refused(house: House, job: str, target: str) -> None:
    with house.connect(f"GET {target} HTTP/1.1\r\nHost: {house.host(job)}\r\n\r\n") as connection:
        assert read_head(connection)[0] == 400


@pytest.mark.parametrize(
    "target", ["/a/../b", "/%2e%2e/x%2Fy?q=%41+b&c", "//evil.example/x", "/%zz", "/.%74oolkit/enter"]
)
def test_the_path_is_passed_on_as_it_was_sent(house: House, job: str, target: str) -> None:
    token = house.token()["Authorization"]
    request = f"GET {target} HTTP/1.1\r\nHost: {house.host(job)}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
    with house.connect(request) as connection:
        status, _, rest = read_head(connection)
        while piece := connection.recv(65536):
            rest += piece
    assert status == 200
    assert json.loads(rest)["target"] == target


def test_unknown_jobs_and_paths_of_the_gates_own_are_not_found(house: House, job: str) -> None:
    nobodys = "00000000-0000-4000-8000-000000000000"
    assert house.ask(house.host(nobodys), headers=house.token()).status_code == 404
    assert house.ask(house.host(job), "/.toolkit/other", headers=house.token()).status_code == 404


# --- tokens -------------------------------------------------------------------------------------------------------------


def test_a_token_lets_its_owner_in_and_stays_at_the_gate(house: House, job: str) -> None:
    forged = {
        "X-Toolkit-User": "root",
        "X-Forwarded-Host": "hub.example.org",
        "X-Toolkit-Run-Secret": "x",
        "X-Other": "1",
    }
    response = house.ask(house.host(job), "/page?x=1", headers={**house.token(), **forged})
    assert response.status_code == 200
    sent = {name.lower(): value for name, value in response.json()["headers"]}
    assert sent["x-toolkit-user"] == "alice"
    assert sent["host"] == sent["x-forwarded-host"] == house.host(job)
    assert sent["x-forwarded-proto"] == "http"
    assert sent["x-other"] == "1"
    assert not {"authorization", "cookie", "x-toolkit-run-secret"} & set(sent)


def test_a_key_leaves_authorization_to_the_app(house: House, job: str) -> None:
    token = house.token()["Authorization"].split()[1]
    response = house.ask(house.host(job), headers={"X-Toolkit-Key": token, "Authorization": "Basic YWJj"})
    sent = dict(response.json()["headers"])
    assert sent["Authorization"] == "Basic YWJj"
    assert token not in response.text
    wrong = house.ask(house.host(job), headers={**house.token(), "X-Toolkit-Key": "0" * 32})
    assert wrong.status_code == 401


def test_no_token_a_bad_one_and_one_without_the_scope_are_not_signed_in(house: House, job: str) -> None:
    host = house.host(job)
    for headers in (
        {},
        {"Authorization": "token 00000000000000000000"},
        {"Authorization": f"token {house.hub.token('alice', 'read:users!user=alice')}"},
        {"Authorization": f"token {house.hub.token('alice', 'access:services', kind='service')}"},
    ):
        status, message = error(house.ask(host, headers=headers))
        assert (status, message) == (401, "nobody is signed in here")


def test_others_do_not_see_the_job_and_administrators_do(house: House, job: str) -> None:
    assert house.ask(house.host(job), headers=house.token("bob")).status_code == 404
    assert house.ask(house.host(job, lab=True), headers=house.token("bob")).status_code == 404
    assert house.ask(house.host(job), headers=house.token("root")).status_code == 200
    stranger = {"Authorization": f"token {house.hub.token('mallory', 'access:servers')}"}
    assert house.ask(house.host(job), headers=stranger).status_code == 401


def test_on_a_users_own_server_nobody_else_runs_code(house: House) -> None:
    own = house.job(kind="server", carries_rights=True)
    status, message = error(house.ask(house.host(own, lab=True), "/", headers=house.token("root")))
    assert status == 403
    assert "job:exec" in message
    assert house.ask(house.host(own), headers=house.token("root")).status_code == 200


def test_the_hub_is_asked_once_for_many_requests_and_not_trusted_for_ever(house: House, job: str) -> None:
    headers = house.token()
    house.ask(house.host(job), headers=headers)
    asked = house.hub.asked
    for _ in range(5):
        assert house.ask(house.host(job), headers=headers).status_code == 200
    assert house.hub.asked == asked
    del house.hub.tokens[headers["Authorization"].split()[1]]
    eventually(lambda: house.ask(house.host(job), headers=headers).status_code == 401, 7)


def test_a_hub_that_is_away_is_said_so(house: House, job: str) -> None:
    house.hub.status = 503
    try:
        status, message = error(house.ask(house.host(job), headers=house.token()))
    finally:
        house.hub.status = 0
    assert status == 503
    assert "hub" in message


# --- cookies and other origins ------------------------------------------------------------------------------------------


def test_requests_of_other_origins_pages_are_refused(house: House, job: str) -> None:
    host, cookie = house.host(job), {"Cookie": house.cookie("alice", job)}
    fetch = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    for method, headers in (
        ("GET", {"Origin": "http://evil.example"}),
        ("GET", fetch),
        ("POST", {"Origin": f"http://{house.host(house.job())}"}),
        ("POST", {"Origin": "null"}),
        ("PUT", {}),
    ):
        status, message = error(house.ask(host, method=method, headers={**cookie, **headers}))
        assert status == 403
        assert "another origin" in message
    assert house.ask(host, method="POST", headers={**cookie, "Origin": f"http://{host}"}).status_code == 200
    assert house.ask(host, headers={**cookie, **BROWSER, "Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_a_token_is_good_from_anywhere(house: House, job: str) -> None:
    headers = {**house.token(), "Origin": "http://elsewhere.example"}
    assert house.ask(house.host(job), method="POST", headers=headers).status_code == 200


def test_an_authorization_of_the_apps_own_does_not_spoil_the_cookie(house: House, job: str) -> None:
    headers = {"Cookie": house.cookie("alice", job), "Authorization": "Bearer an-apps-own-token"}
    response = house.ask(house.host(job), headers=headers)
    assert response.status_code == 200
    assert "an-apps-own-token" not in response.text


def test_what_a_job_tells_the_browser_stays_within_its_host(house: House, job: str) -> None:
    response = house.ask(house.host(job), "/nasty", headers=house.token())
    assert response.text == "nasty"
    assert response.headers.get_list("Set-Cookie") == ["fine=1; Path=/"]
    for name in ("Clear-Site-Data", "Service-Worker-Allowed", "Access-Control-Allow-Origin", "X-Toolkit-User"):
        assert name not in response.headers
    assert "Strict-Transport-Security" not in response.headers


# --- streams ------------------------------------------------------------------------------------------------------------


def test_bodies_of_any_size_pass_both_forms_of_length(house: House, job: str) -> None:
    body = bytes(range(256)) * 40_000
    known = house.ask(house.host(job), "/up", "PUT", content=body, headers=house.token()).json()
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    chunked = house.ask(house.host(job), "/up", "PUT", content=pieces, headers=house.token()).json()
    digest = hashlib.sha256(body).hexdigest()
    for echo in (known, chunked):
        assert (echo["size"], echo["sha256"]) == (len(body), digest)


def test_a_caller_that_asks_first_is_told_to_go_on_when_it_is_let_in(house: House, job: str) -> None:
    lines = [
        "POST /up HTTP/1.1",
        f"Host: {house.host(job)}",
        "Content-Length: 5",
        "Expect: 100-continue",
        f"Authorization: {house.token()['Authorization']}",
    ]
    with house.connect("\r\n".join([*lines, "", ""])) as connection:
        assert read_head(connection)[0] == 100
        connection.sendall(b"hello")
        status, _, rest = read_head(connection)
    assert (status, json.loads(rest)["size"]) == (200, 5)


def test_head_and_empty_answers_keep_their_form(house: House, job: str) -> None:
    head = house.ask(house.host(job), "/x", "HEAD", headers=house.token())
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) > 0


def test_an_answer_that_breaks_off_does_not_look_whole(house: House, job: str) -> None:
    with pytest.raises(httpx.HTTPError):
        house.ask(house.host(job), "/broken", headers=house.token())


def test_a_visitor_who_goes_ends_what_is_streamed_to_him(house: House, job: str) -> None:
    url, headers = f"http://127.0.0.1:{house.site.jobs_port}/stream", {"Host": house.host(job), **house.token()}
    with httpx.stream("GET", url, headers=headers) as response:
        assert next(response.iter_raw()).startswith(b"data")
        assert house.app.open_streams == 1
    eventually(lambda: house.app.open_streams == 0)


def test_nothing_listening_is_said_in_words(house: House) -> None:
    job = house.job(ip=NOBODYS_IP)
    status, message = error(house.ask(house.host(job), headers=house.token()))
    assert status == 502
    assert "port 8080" in message
    assert "refused" in message
    page = house.ask(house.host(job), headers={**house.token(), **BROWSER})
    assert page.status_code == 502
    assert page.headers["Content-Type"].startswith("text/html")


# --- jobs that do not run -----------------------------------------------------------------------------------------------


def test_a_waiting_job_shows_its_state_and_reloads(house: House) -> None:
    job = house.job(state="QUEUING", ip=None, state_info="needs 4 CPUs; <b>2</b> are free")
    page = house.ask(house.host(job), headers={**house.token(), **BROWSER})
    assert page.status_code == 503
    assert "http-equiv=refresh" in page.text
    assert "QUEUING: needs 4 CPUs; &lt;b&gt;2&lt;/b&gt; are free" in page.text
    assert f"{house.site.public_url}/services/toolkit/jobs/{job}" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    status, message = error(house.ask(house.host(job, lab=True), headers=house.token()))
    assert status == 503
    assert "QUEUING" in message


def test_an_ended_job_says_how_it_ended(house: House) -> None:
    job = house.job(state="FAILED", state_info="exit code 3")
    for lab in (False, True):
        status, message = error(house.ask(house.host(job, lab), headers=house.token()))
        assert status == 409
        assert "FAILED: exit code 3" in message
    assert "exit code 3" in house.ask(house.host(job), headers={**house.token(), **BROWSER}).text


# --- the side for the proxy ---------------------------------------------------------------------------------------------


def test_the_hubs_readiness_check_is_answered_for_runs_that_exist(house: House) -> None:
    for job in (house.job(), house.job(state="FAILED"), house.job(state="QUEUED", ip=None)):
        response = house.ask_proxy_side(f"/user/alice/{house.server_name(job)}/api")
        assert response.status_code == 200
        assert response.headers["X-JupyterHub-Version"] == jupyterhub.__version__
    name = house.server_name(house.job())
    assert house.ask_proxy_side(f"/user/bob/{name}/api").status_code == 404
    assert house.ask_proxy_side("/user/alice/jnever/api").status_code == 404
    through_proxy = house.ask_proxy_side(f"/user/alice/{name}/api", headers={"X-Forwarded-For": "127.0.0.1"})
    assert through_proxy.status_code == 403


def test_on_the_hubs_origin_a_browser_is_led_away_and_never_served(house: House, job: str) -> None:
    path = f"/user/alice/{house.server_name(job)}/lab/tree/a%2Fb?x=1"
    response = house.ask_proxy_side(path, headers=BROWSER)
    assert response.status_code == 302
    assert response.headers["Location"] == f"http://{house.host(job, lab=True)}{path}"
    cookie = {"Cookie": house.cookie("alice", job, lab=True), "X-Forwarded-For": "127.0.0.1"}
    basic = {**BROWSER, "Authorization": "Basic YWxpY2U6eA=="}
    assert house.ask_proxy_side(path, headers=basic).status_code == 302
    for headers in (
        cookie,
        {**cookie, "Accept": "application/json"},
        {**BROWSER, **cookie, "Sec-Fetch-Dest": "iframe"},
    ):
        assert house.ask_proxy_side(path, headers=headers).status_code == 403
    assert house.ask_proxy_side(path, "POST", headers={**BROWSER, **cookie}).status_code == 403


def test_on_the_hubs_origin_tokens_are_checked_like_everywhere(house: House, job: str) -> None:
    path = f"/user/alice/{house.server_name(job)}/api/status"
    assert house.ask_proxy_side(path, headers={"Authorization": "token 0000000000000000"}).status_code == 401
    assert house.ask_proxy_side(path, headers=house.token("bob")).status_code == 404
    own = house.job(kind="server", carries_rights=True)
    path = f"/user/alice/{house.server_name(own)}/api/status"
    assert house.ask_proxy_side(path, headers=house.token("root")).status_code == 403
    assert house.ask_proxy_side("/hub/home", headers=house.token()).status_code == 404


def test_the_gate_tells_its_supervisor_that_it_lives(house: House) -> None:
    assert house.ask_proxy_side("/.toolkit/health").json()["status"] == "ok"


# --- rights are asked at each request -------------------------------------------------------------------------------------


def test_a_right_that_is_taken_away_counts_at_the_next_request(house: House) -> None:
    job, cookie = house.job(), None
    cookie = {"Cookie": house.cookie("root", job)}
    assert house.ask(house.host(job), headers=cookie).status_code == 200
    house.administrator("root", False)
    try:
        assert house.ask(house.host(job), headers=cookie).status_code == 404
    finally:
        house.administrator("root", True)
    assert house.ask(house.host(job), headers=cookie).status_code == 200
    with house.store.begin() as session:
        session.get_one(Job, job).state = "SUCCEEDED"
    assert house.ask(house.host(job), headers=cookie).status_code == 409
