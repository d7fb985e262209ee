"""Commands on several jobs, changes, retries, a user's own server, the queue, events, and signing out."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.unit.canned_service import CREATED, JOB_ID, PASSWORD, TOKEN, Service, make_job
from tests.unit.cli.conftest import Cli, process
from toolkit_client.errors import Conflict, InternalError
from toolkit_client.models import Event, JobState, Tag

OTHER_ID = "00d0c0c0-0b00-0fae-0000-d00beabf000a"
URN = f"o:account:a:job:{JOB_ID}"


def test_one_job_that_fails_does_not_stop_the_others(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="a"), make_job(id=OTHER_ID, name="b")]
    out = cli("job", "kill", "a", "none", "b", "a", "--no-header", code=5)
    assert [line[:36] for line in out.splitlines()] == [JOB_ID, OTHER_ID]
    assert cli.err.startswith("error: there is no job 'none'\nhint: ")
    service.faults = [Conflict("it has ended"), InternalError("broken")]
    assert cli("job", "kill", "a", "b", code=1) == ""
    assert cli.err == "error: it has ended\nerror: broken\n"
    cli("job", "get", "none", "nobody", code=5)
    assert cli("job", "get", "a", "b", "--field", "id").split() == [JOB_ID, OTHER_ID]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["--name", "new"], {"name": "new"}),
        (["--no-name"], {"name": None}),
        (["--bid", "-3", "--max-run-time", "90m"], {"bid": -3, "maxRunTime": 5400}),
        (["--max-run-time", "1d12h"], {"maxRunTime": 129600}),
        (["--max-run-time", "0"], {"maxRunTime": 0}),
        (["--tag", "b=2"], {"tags": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]}),
        (["--tag", "a"], {"tags": [{"key": "a"}]}),
        (["--remove-tag", "a", "--bid", "0"], {"bid": 0, "tags": []}),
    ],
)
def test_set_sends_what_was_given(service: Service, cli: Cli, words: list[str], body: dict[str, object]) -> None:
    service.jobs = [make_job(name="train", tags=[Tag(key="a", value="1")])]
    out = cli("job", "set", "train", *words)
    (asked,) = service.asked("PATCH", "/jobs/train")
    sent = asked.body
    sent.get("tags", [{}])[:1] = [{k: v for k, v in tag.items() if v is not None} for tag in sent.get("tags", [])[:1]]
    assert sent == body
    assert out.split()[:6] == ["id", "state", "name", "tags", "bid", "maxRunTime"]


def test_set_and_retry_take_several_jobs(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="a", tags=[Tag(key="x")]), make_job(id=OTHER_ID, name="b")]
    assert cli("job", "set", "a", "b", "--tag", "t=1", "--fields", "name,tags").splitlines()[1:] == [
        "a    [x t=1]",
        "b    [t=1]",
    ]
    out = cli("job", "retry", "a", "b", "--fields", "id,retryOf", "--no-header")
    assert out == f"{JOB_ID[:-1]}0 {JOB_ID}\n{OTHER_ID[:-1]}0 {OTHER_ID}\n"
    assert len({one.headers["Idempotency-Key"] for one in service.seen if one.path.endswith("/retry")}) == 2


def test_ls_by_tags(service: Service, cli: Cli) -> None:
    service.jobs = [
        make_job(tags=[Tag(key="sweep", value="7"), Tag(key="draft")]),
        make_job(id=OTHER_ID, tags=[Tag(key="sweep", value="7")]),
    ]
    assert len(cli("job", "ls", "--tag", "sweep=7", "--no-header").splitlines()) == 2
    assert (service.seen[-1].query["tag"], "since" in service.seen[-1].query) == ("sweep=7", False)
    assert cli("job", "ls", "--tag", "sweep", "--tag", "draft", "--field", "id") == f"{JOB_ID}\n"
    assert cli("job", "ls", "--tag", "sweep=8", "--no-header") == ""


@pytest.mark.parametrize(
    "words",
    [
        ("set", "a"),
        ("set", "a", "b", "--name", "n"),
        ("set", "a", "--name", "n", "--no-name"),
        ("set", "--name", "n"),
        ("set", "a", "--tag", "=x"),
        ("set", "a", "--bid", "much"),
        ("set", "a", "--max-run-time", "soon"),
        ("submit", "--port", "http"),
        ("submit", "--port", "0"),
        ("submit", "--port", "80:private"),
        ("submit", "--cuda-version", "new"),
        ("submit", "--gpu", "1.5"),
        ("get", "a", "--field", "id", "--fields", "id"),
        ("logs", "a", "--since", "yesterday"),
        ("logs", "a", "--since", "1h", "--tail", "1"),
        ("retry",),
    ],
)
def test_wrong_usage(service: Service, cli: Cli, words: tuple[str, ...]) -> None:
    cli("job", *words, code=2)
    assert not service.seen


def test_logs_of_a_run_and_since_a_time(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(state=JobState.SUCCEEDED, exit_codes=(None, 0))]
    service.earlier_logs, service.log = [b"first\n"], b"second\n"
    assert cli("job", "logs", JOB_ID, "--run", "0") == "first\n"
    cli("job", "logs", JOB_ID, "--since", "2026-01-31T12:00:00Z")
    assert service.seen[-1].query["since"] == "2026-01-31T12:00:00Z"
    cli("job", "logs", JOB_ID, "--since", "10m")
    assert service.seen[-1].query["since"].startswith(time.strftime("%Y-%m-%dT%H:", time.gmtime(time.time() - 600)))


# --- a user's own server, the queue -------------------------------------------------------------------------------------


def test_start_tells_why_it_waits_and_prints_the_address(service: Service, cli: Cli) -> None:
    server = make_job(state_info="waiting for 2 CPUs: 6 of 8 in use")
    service.jobs = [server]
    assert cli("start", "--no-wait") == f"{server.lab_url}\n"
    assert cli.err == ""

    def admit() -> None:
        service.jobs = [make_job(state_info="waiting for its turn")]
        time.sleep(0.4)
        service.jobs = [make_job(state=JobState.RUNNING)]

    threading.Timer(0.4, admit).start()
    assert cli("start") == f"{server.lab_url}\n"
    assert cli.err.splitlines() == [
        f"job {JOB_ID} QUEUING: waiting for 2 CPUs: 6 of 8 in use",
        f"job {JOB_ID} QUEUING: waiting for its turn",
    ]
    service.jobs = [make_job(state=JobState.FAILED, state_info="image not found: x")]
    assert cli("start", code=1) == ""
    assert "image not found: x" in cli.err


def test_queue(cli: Cli) -> None:
    lines = cli("queue").splitlines()
    assert lines[0].split() == ["position", "job", "name", "account", "class", "bid", "gpu", "cpu", "mem", "reason"]
    assert lines[1].split()[:6] == ["1", JOB_ID, "train", "acme.joe", "normal", "3"]
    assert lines[2].split()[:5] == ["2", "-", "-", "interactive", "0"], "one that the caller may not see"
    assert cli.err == "held: 1 of 2 GPUs, 6.5 of 8 CPUs, 4 of 32 GiB; 2 jobs run, 1 wait\n"
    assert cli("queue", "--total", "--field", "waiting") == "1\n"
    assert cli("queue", "--total").split()[:2] == ["gpuHeld", "gpuTotal"]


# --- events --------------------------------------------------------------------------------------------------------------


def make_events(count: int) -> list[Event]:
    data = {"name": "train", "by": None, "words": "\x1b[2J"}
    return [Event(seq=seq, time=CREATED, type="job.tested", urn=URN, data=data) for seq in range(1, count + 1)]


def test_events_of_a_job(service: Service, cli: Cli) -> None:
    service.jobs, service.events = [make_job(name="train", state=JobState.SUCCEEDED)], make_events(3)
    header, *rows = cli("events", "--job", "train").splitlines()
    assert header.split() == ["seq", "time", "type", "urn", "data"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    for name in ("time", "type", "urn", "data"):
        assert rows[0][header.index(name) - 1] == " "
    assert rows[0][header.index("urn") :].startswith(URN)
    assert "\x1b" not in cli.out
    events = [json.loads(line) for line in cli("events", "--last", "--format", "json", "--after", "1").splitlines()]
    assert [event["seq"] for event in events] == [2, 3]
    assert events[0]["data"]["words"] == "\x1b[2J"


def test_following_events_ends_with_ctrl_c(service: Service, cli: Cli) -> None:
    service.events = make_events(2)
    with process("events", "--no-header") as child:
        assert child.stdout is not None
        assert [child.stdout.readline()[:1], child.stdout.readline()[:1]] == [b"1", b"2"]
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"")


# --- signing out -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(service: Service, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """By name and password, so that the token is the command line's own."""
    monkeypatch.delenv("TOOLKIT_URL")
    monkeypatch.delenv("TOOLKIT_TOKEN")
    cli("login", "--url", service.url, "--username", "joe", "--password-stdin", stdin=f"{PASSWORD}\n")
    service.seen.clear()
    return cli


def test_logout_revokes_the_token_that_login_made(service: Service, signed_in: Cli, config: Path) -> None:
    assert signed_in("logout") == f"signed out of {service.url}\n"
    assert signed_in.err == "the token was revoked\n"
    assert [(one.method, one.path) for one in service.seen] == [
        ("GET", "/hub/api/user"),
        ("DELETE", "/hub/api/users/joe/tokens/a7"),
    ]
    assert TOKEN not in config.read_text()
    assert "nothing was stored" in signed_in("logout")


@pytest.mark.parametrize("faults", [[503], [None], [200], [404]])
def test_logout_forgets_the_token_whatever_happens(
    service: Service, signed_in: Cli, config: Path, faults: list[int | None]
) -> None:
    service.faults = list(faults)
    signed_in("logout")
    assert "the token was not revoked: " in signed_in.err
    assert f"{service.url}/hub/token ends it" in signed_in.err
    assert TOKEN not in config.read_text()


def test_logout_leaves_a_token_that_was_given(
    service: Service, cli: Cli, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TOOLKIT_URL")
    monkeypatch.delenv("TOOLKIT_TOKEN")
    for words, revoked in (((), False), (("--revoke",), True)):
        cli("login", "--url", service.url, "--token", TOKEN)
        cli("logout", *words)
        assert bool(service.asked("DELETE", "/hub/api/users/joe/tokens/a7")) == revoked
        assert ("stays valid" in cli.err) != revoked
        assert TOKEN not in config.read_text()
    config.write_text(json.dumps({"profiles": {"default": {"url": service.url, "token": "ended", "madeHere": True}}}))
    cli("logout")
    assert cli.err == "the token had ended already\n"
