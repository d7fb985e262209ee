"""The client library against a server that answers, breaks off, or is not there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.unit.canned_service import CREATED, JOB_ID, TOKEN, Service, make_job, running_service
from toolkit_client import AsyncClient, Client, Event, JobPatch, JobSpec, JobState
from toolkit_client.calls import gap_notice, submit_job
from toolkit_client.errors import Conflict, InternalError, NotFound, NotSignedIn, PermissionDenied, ServiceUnavailable
from toolkit_client.trails import EventTrail

PAUSES = (0.01, 0.02)


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, TOKEN, retry_pauses=PAUSES) as open_client:
        yield open_client


def test_submit_sends_only_what_was_set(service: Service, client: Client) -> None:
    job = client.jobs.submit(JobSpec(name="train", command=["ls", "-l"]))
    assert (job.id, job.name, job.state) == (JOB_ID, "train", JobState.QUEUING)
    assert service.seen[0].body == {"name": "train", "command": ["ls", "-l"]}


@pytest.mark.parametrize("fault", [502, 503, 504, None])
def test_submit_is_retried_with_one_key(service: Service, client: Client, fault: int | None) -> None:
    service.faults = [fault, fault]
    client.jobs.submit({"command": ["true"]})
    keys = [one.headers["Idempotency-Key"] for one in service.asked("POST", "/jobs")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    client.jobs.submit({"command": ["true"]}, idempotency_key="mine")
    assert service.seen[-1].headers["Idempotency-Key"] == "mine" != keys[0]


def test_retries_are_bounded(service: Service, client: Client) -> None:
    service.faults = [503] * 9
    with pytest.raises(ServiceUnavailable, match="HTTP 503"):
        client.jobs.get(JOB_ID)
    assert len(service.seen) == 1 + len(PAUSES)


@pytest.mark.parametrize("fault", [503, None])
def test_what_creates_without_a_key_is_sent_once(service: Service, client: Client, fault: int | None) -> None:
    service.faults = [fault]
    with pytest.raises(ServiceUnavailable):
        client.raw(submit_job({"command": ["true"]})._replace(idempotency_key=None))
    assert len(service.seen) == 1


@pytest.mark.parametrize("fault", [503, None])
def test_all_else_that_creates_is_retried_with_one_key(service: Service, client: Client, fault: int | None) -> None:
    service.jobs = [make_job(state=JobState.FAILED)]
    for act, path in (
        (lambda: client.users.new({"name": "alice", "password": "long enough", "admin": False}), "/users"),
        (lambda: client.jobs.retry(JOB_ID), f"/jobs/{JOB_ID}/retry"),
        (client.servers.start, "/servers"),
    ):
        service.faults = [fault, fault]
        act()
        keys = {one.headers["Idempotency-Key"] for one in service.asked("POST", path)}
        assert (len(service.asked("POST", path)), len(keys)) == (3, 1)


def test_change_sends_only_what_was_set(service: Service, client: Client) -> None:
    service.jobs, service.faults = [make_job()], [503]
    assert client.jobs.change(JOB_ID, JobPatch(name=None, bid=3)).bid == 3
    client.jobs.change(JOB_ID, {"maxRunTime": 60})
    bodies = [one.body for one in service.asked("PATCH", f"/jobs/{JOB_ID}")]
    assert bodies == [{"name": None, "bid": 3}, {"name": None, "bid": 3}, {"maxRunTime": 60}]


def make_events(count: int) -> list[Event]:
    urn = f"o:account:a:job:{JOB_ID}"
    return [Event(seq=seq, time=CREATED, type="job.tested", urn=urn, data={"n": seq}) for seq in range(1, count + 1)]


def test_events_come_once_each_over_many_connections(service: Service, client: Client) -> None:
    service.jobs, service.events = [make_job(state=JobState.SUCCEEDED)], make_events(5)
    assert [event.seq for event in client.events(JOB_ID)] == [1, 2, 3, 4, 5]
    asked = [one.headers.get("Last-Event-ID") for one in service.asked("GET", f"/jobs/{JOB_ID}/events")]
    assert asked == [None, "1", "2", "3", "4", "5"]
    assert [event.data for event in client.events(JOB_ID, after=4)] == [{"n": 5}]


def test_all_events_go_on_after_the_streams_end(service: Service, client: Client) -> None:
    service.events = make_events(2)
    stream = client.events()
    assert [next(stream).seq, next(stream).seq] == [1, 2]
    service.faults = [200, 503]
    service.events += make_events(3)[2:]
    with pytest.raises(InternalError, match="cannot be read"):
        list(EventTrail(client.site, None, after=None).received(b"data: {}\n\n"))
    assert next(stream).seq == 3


def test_an_outage_is_told_after_two_seconds_and_so_is_its_end(service: Service, client: Client) -> None:
    """In real time: what is tested is when somebody is told."""
    service.jobs, service.log, service.log_cuts = [make_job(state=JobState.SUCCEEDED)], LOG, [10]
    service.faults = []
    said: list[tuple[float, str]] = []
    begin = time.monotonic()
    stream = client.jobs.logs(JOB_ID, follow=True, notice=lambda words: said.append((time.monotonic() - begin, words)))
    read = next(stream)
    service.faults = [503] * 4
    assert read + b"".join(stream) == LOG
    (told, away), (back, again) = said
    assert "HTTP 503" in away
    assert 1.0 < told < back < 6
    assert again.startswith("back after ")


def test_no_connection_names_the_address_and_the_way_out() -> None:
    with running_service() as gone:
        url = gone.url
    with Client(url, TOKEN, retry_pauses=PAUSES) as client, pytest.raises(ServiceUnavailable) as caught:
        client.me()
    assert url in caught.value.message
    assert "make run" in caught.value.hint
    assert "TOOLKIT_URL" in caught.value.hint


def test_a_follow_that_never_began_gives_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit_client.trails.RETRY_PAUSES", PAUSES)
    with running_service() as gone:
        url = gone.url
    with Client(url, TOKEN, retry_pauses=PAUSES) as client, pytest.raises(ServiceUnavailable, match=url):
        list(client.jobs.logs(JOB_ID, follow=True))


def test_errors_come_back_as_their_classes(service: Service, client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.jobs.get("acme.joe.none")
    assert caught.value.hint
    for error in (PermissionDenied("you may not", "ask"), Conflict("it has ended")):
        service.faults = [error]
        with pytest.raises(type(error), match=error.message):
            client.jobs.kill(JOB_ID)
    with Client(service.url, "wrong") as stranger, pytest.raises(NotSignedIn):
        stranger.me()


def test_something_else_at_the_address_is_no_missing_job(service: Service, client: Client) -> None:
    service.faults = [404]
    with pytest.raises(ServiceUnavailable, match="not as a Toolkit site"):
        client.jobs.get(JOB_ID)
    service.faults = [200]
    with pytest.raises(ServiceUnavailable, match="not as a Toolkit site"):
        client.jobs.get(JOB_ID)


def test_a_newer_service_may_say_more(client: Client) -> None:
    assert client.me().full_name == "acme.joe"


def test_list_goes_over_pages(service: Service, client: Client) -> None:
    service.jobs = [make_job(id=f"{index:036d}") for index in range(230)]
    assert [job.id for job in client.jobs.list(state="all")] == [job.id for job in service.jobs]
    assert len(client.jobs.list(limit=120)) == 120


def test_names_are_one_path_segment(service: Service, client: Client) -> None:
    with pytest.raises(NotFound):
        client.jobs.get("../me?x=1")
    assert service.seen[-1].path == "/jobs/..%2Fme%3Fx%3D1"


def test_wait(service: Service, client: Client) -> None:
    service.jobs = [make_job(state=JobState.RUNNING)]
    with pytest.raises(TimeoutError, match=JOB_ID):
        client.jobs.wait(JOB_ID, timeout=0.3)
    service.jobs = [make_job(state=JobState.FAILED, exit_codes=(3,))]
    assert client.jobs.wait(JOB_ID).runs[-1].exit_code == 3


LOG = bytes(range(256)) * 40


@pytest.mark.parametrize("clean", [False, True])
def test_a_followed_log_goes_on_where_it_was_cut(service: Service, client: Client, clean: bool) -> None:
    service.jobs = [make_job(state=JobState.SUCCEEDED, exit_codes=(0,))]
    service.log, service.log_cuts, service.clean_cuts = LOG, [0, 1000, 1, 4096], clean
    if clean:
        service.log_cuts = [1000, 1, 4096]
    assert b"".join(client.jobs.logs(JOB_ID, follow=True)) == LOG
    offsets = [int(one.query.get("offset", 0)) for one in service.asked("GET", f"/jobs/{JOB_ID}/logs")]
    assert sorted(set(offsets)) == [0, 1000, 1001, 5097, len(LOG)]


def test_a_log_without_follow_survives_a_cut_too(service: Service, client: Client) -> None:
    service.jobs, service.log, service.log_cuts = [make_job()], LOG, [7]
    assert b"".join(client.jobs.logs(JOB_ID)) == LOG


def test_a_tail_goes_on_where_it_was_cut(service: Service, client: Client) -> None:
    service.jobs = [make_job(state=JobState.SUCCEEDED)]
    service.log, service.log_cuts = b"1\n22\n333\n4444\n", [3]
    assert b"".join(client.jobs.logs(JOB_ID, follow=True, tail=2)) == b"333\n4444\n"


def test_a_new_run_is_read_from_its_start(service: Service, client: Client) -> None:
    service.jobs = [make_job(state=JobState.RUNNING)]
    service.log = b"first run\n"

    def start_anew() -> None:
        service.earlier_logs = [service.log + b"its last words\n"]
        service.log, service.log_sent = b"second run, longer than the first\n", lambda: None
        service.jobs = [make_job(state=JobState.SUCCEEDED, exit_codes=(None, 0))]

    service.log_sent = start_anew
    said: list[str] = []
    first, second = b"first run\nits last words\n", b"second run, longer than the first\n"
    assert b"".join(client.jobs.logs(JOB_ID, follow=True, notice=said.append)) == first + second
    assert said == ["run 0 has ended; what follows is the output of run 1"]
    assert b"".join(client.jobs.logs(JOB_ID, follow=True, run=0)) == first
    assert b"".join(client.jobs.logs(JOB_ID)) == second


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("cuts", [[], [100, 0, 50, 1, 4000]])
def test_what_is_not_kept_is_said_in_its_place(service: Service, client: Client, follow: bool, cuts: list[int]) -> None:
    service.jobs = [make_job(state=JobState.SUCCEEDED)]
    service.log, service.log_gap, service.log_cuts, service.clean_cuts = LOG, (130, 5250), cuts, bool(cuts)
    kept = LOG[:130] + "\n[… 5.0 KiB (5120 bytes) of output are not kept here …]\n".encode() + LOG[5250:]
    assert b"".join(client.jobs.logs(JOB_ID, follow=follow)) == kept
    service.log_cuts = []
    from_within = b"".join(client.jobs.logs(JOB_ID, follow=follow, offset=5130))
    assert from_within == gap_notice(120) + LOG[5250:]
    assert b"".join(client.jobs.logs(JOB_ID, follow=follow, tail=1)).endswith(LOG[-10:])


def test_async_client_does_the_same(service: Service) -> None:
    async def use() -> tuple[str, bytes, str]:
        async with AsyncClient(service.url, TOKEN, retry_pauses=PAUSES) as client:
            service.faults = [503, None]
            job = await client.jobs.submit(JobSpec(command=["true"]))
            service.jobs = [make_job(state=JobState.SUCCEEDED)]
            service.log, service.log_cuts = LOG, [100, 200]
            log = b"".join([chunk async for chunk in client.jobs.logs(job.id, follow=True)])
            with pytest.raises(NotFound):
                await client.jobs.get("none")
            return (await client.me()).name, log, (await client.jobs.wait(job.id)).state

    assert asyncio.run(use()) == ("joe", LOG, "SUCCEEDED")
    assert len({one.headers["Idempotency-Key"] for one in service.asked("POST", "/jobs")}) == 1


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, json, toolkit_client; print(json.dumps([m for m in ('httpx', 'pydantic') if m in sys.modules]))"
    assert json.loads(subprocess.check_output([sys.executable, "-c", code])) == []
