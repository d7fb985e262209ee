"""Which job an address means, and which form of address means none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit_hub.gate.places import JobHosts, RunPlace, ServerPath, server_path

ID = "0b0e2f8a-55b1-4b57-9a1d-0a3c7f1f9a10"


def test_a_job_has_a_host_and_a_second_one_for_its_job_server() -> None:
    hosts = JobHosts("http", "localhost:8001")
    app, lab = hosts.find(f"{ID}.localhost:8001"), hosts.find(f"{ID.upper()}-LAB.localhost:8001")
    assert app is not None
    assert lab is not None
    assert (app.job_id, app.lab, app.origin) == (ID, False, f"http://{ID}.localhost:8001")
    assert (lab.job_id, lab.lab, lab.origin) == (ID, True, f"http://{ID}-lab.localhost:8001")
    assert hosts.lab(ID) == lab
    port = hosts.find(f"{ID}-9090.localhost:8001")
    assert port is not None
    assert (app.port, port.job_id, port.lab, port.port) == (8080, ID, False, 9090)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost:8001",
        ID,
        f"{ID}.localhost",
        f"{ID}.localhost:80",
        f"{ID}.localhost:8001.evil.example",
        f"{ID}.evil.example:8001",
        f"{ID}.x.localhost:8001",
        f"x.{ID}.localhost:8001",
        f"{ID}-09090.localhost:8001",
        f"{ID}-909090.localhost:8001",
        f"{ID}-9090-lab.localhost:8001",
        f"{ID}-lab-lab.localhost:8001",
        f"{ID[:-1]}.localhost:8001",
        f"{ID}.localhost:8001/",
        f"user@{ID}.localhost:8001",
        f"{ID}\n.localhost:8001",
    ],
)
def test_any_other_host_is_nobodys(host: str) -> None:
    assert JobHosts("http", "localhost:8001").find(host) is None


@pytest.mark.parametrize(("scheme", "port"), [("https", ":443"), ("http", ":80")])
def test_the_schemes_own_port_may_be_written_or_not(scheme: str, port: str) -> None:
    for domain in ("jobs.example.org", f"jobs.example.org{port}"):
        hosts = JobHosts(scheme, domain)
        found = hosts.find(f"{ID}.jobs.example.org{port}")
        assert found is not None
        assert found == hosts.find(f"{ID}.jobs.example.org")
        assert hosts.find(f"{ID}.jobs.example.org:8443") is None


def test_a_server_path_is_split_without_being_decoded() -> None:
    assert server_path("/user/alice/jabc/lab/tree/a%2Fb?x=/user/b/c") == ServerPath(
        "alice", "jabc", "/lab/tree/a%2Fb?x=/user/b/c"
    )
    assert server_path("/user/alice/jabc") == ServerPath("alice", "jabc", "")
    assert server_path("/user/alice/jabc?x=1") == ServerPath("alice", "jabc", "?x=1")
    assert server_path("/user/%61lice/jabc/") == ServerPath("%61lice", "jabc", "/")


@pytest.mark.parametrize(
    "target", ["/", "/user", "/user/alice", "/user/alice/", "//user/alice/j/", "/User/a/j/", "/user/a/J%61/"]
)
def test_other_paths_name_no_server(target: str) -> None:
    assert server_path(target) is None


@given(st.text())
def test_no_text_breaks_the_reading_of_addresses(text: str) -> None:
    JobHosts("https", "jobs.example.org").find(text)
    path = server_path(text)
    assert path is None or text == f"/user/{path.owner}/{path.server_name}{path.rest}"


def test_a_run_is_reachable_when_it_lives_and_has_an_address() -> None:
    def run(ip: str | None, state: str) -> RunPlace:
        return RunPlace("id", "jabc", "alice", "the-secret", ip, state, "")

    assert run("172.18.0.2", "RUNNING").reachable
    assert not run(None, "RUNNING").reachable
    assert not run("172.18.0.2", "FAILED").reachable
    assert run(None, "QUEUED").base == "/user/alice/jabc/"
    assert "the-secret" not in repr(run(None, "QUEUED"))
