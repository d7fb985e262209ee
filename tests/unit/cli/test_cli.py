"""The command line against a server at the other end of a socket: what is printed, byte for byte, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from tests.unit.canned_service import JOB_ID, PASSWORD, TOKEN, Service, make_job, running_service
from tests.unit.cli.conftest import Cli, process
from toolkit_client.cli.app import toolkit
from toolkit_client.cli.safe_text import escape
from toolkit_client.errors import Conflict, InvalidRequest, PermissionDenied
from toolkit_client.models import JobSpec, JobState

OTHER_ID = "00d0c0c0-0b00-0fae-0000-d00beabf000a"


# --- what is printed ---------------------------------------------------------------------------------------------------


def test_submit_prints_the_six_columns(cli: Cli) -> None:
    assert cli("job", "submit", "code-server", "--", "--host", "0.0.0.0", "--auth", "none") == (
        "id                                   state   name created              command"
        "                                  runs.exitCode\n"
        "5c5bce9b-4657-4836-89d9-01ec780f57db QUEUING      2019-12-06T20:49:41Z"
        " [code-server --host 0.0.0.0 --auth none] -\n"
    )


def test_ls_prints_the_nine_columns(service: Service, cli: Cli) -> None:
    service.jobs = [
        make_job(name="train", state=JobState.FAILED, exit_codes=(None, 3), command=["false"]),
        make_job(id=OTHER_ID, state=JobState.RUNNING, command=["sleep", "9"], account="acme.team"),
    ]
    assert cli("job", "ls").split("\n") == [
        "id                                   state   name  account   creator  created              command  "
        " runs.exitCode accessUrl",
        f"{JOB_ID} FAILED  train acme.joe  acme.joe 2019-12-06T20:49:41Z [false]   3            "
        f" http://{JOB_ID}.localhost:8001/",
        f"{OTHER_ID} RUNNING -     acme.team acme.joe 2019-12-06T20:49:41Z [sleep 9] -            "
        f" http://{OTHER_ID}.localhost:8001/",
        "",
    ]
    lines = cli("session", "ls", "-r", "--no-header").splitlines()
    assert [line[:36] for line in lines] == [OTHER_ID, JOB_ID]


def test_fields_and_formats(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train", exit_codes=(1, 0))]
    assert cli("job", "get", JOB_ID, "--field", "urn") == f"o:account:a:job:{JOB_ID}\n"
    assert cli("job", "get", "--field", "runs.exitCode", "train") == "0\n"
    assert cli("job", "get", "--last", "--field", "stateInfo") == "-\n"
    assert cli("job", "ls", "--fields", "name,resources.cpu") == "name  resources.cpu\ntrain 1\n"
    assert cli("job", "ls", "--fields", "name,interactive", "--no-header") == "train false\n"
    assert list(csv.reader(io.StringIO(cli("job", "ls", "--fields", "name,command", "--format", "csv")))) == [
        ["name", "command"],
        ["train", "[code-server --host 0.0.0.0 --auth none]"],
    ]
    assert json.loads(cli("job", "ls", "--format", "json"))["runs"][1]["exitCode"] == 0
    assert json.loads(cli("job", "ls", "--format", "json", "--fields", "name,runs.exitCode")) == {
        "name": "train",
        "runs.exitCode": 0,
    }
    cli("job", "ls", "--fields", "nmae", code=2)
    assert "no field 'nmae'" in cli.err
    assert "name" in cli.err


def test_an_empty_list_has_a_header_only(cli: Cli) -> None:
    columns = ["id", "state", "name", "account", "creator", "created", "command", "runs.exitCode", "accessUrl"]
    assert cli("job", "ls") == " ".join(columns) + "\n"
    assert cli("job", "ls", "--format", "json") == ""


HOSTILE = ["echo", "\x1b]0;owned\x07", "a\nb\r\x9b31m", "\u202egnp.exe", "\ud800"]


def test_a_job_cannot_write_to_another_users_terminal(service: Service, cli: Cli) -> None:
    words = [word for word in HOSTILE if word != "\ud800"]
    service.jobs = [make_job(command=words, state_info="\x1b[2J")]
    for line in (
        ("job", "ls"),
        ("job", "get", JOB_ID, "--field", "command"),
        ("job", "ls", "--format", "csv"),
        ("job", "ls", "--format", "json"),
        ("job", "info", JOB_ID),
        ("job", "logs", "-f", JOB_ID),
    ):
        if line[1] == "logs":
            service.jobs = [make_job(state=JobState.FAILED, state_info="\x1b[2J")]
        out = cli(*line) + cli.err
        assert re.fullmatch(r"[\x20-\x7e\n]*", out), line
    assert "\\x1b[2J" in cli.err
    service.jobs = [make_job(command=words)]
    assert cli("job", "ls", "--no-header").count("\n") == 1
    service.faults = [PermissionDenied("no\x1b[2J", "ask\nerror: forged")]
    cli("job", "get", JOB_ID, code=4)
    assert cli.err == "error: no\\x1b[2J\nhint: ask\\nerror: forged\n"


def test_escape() -> None:
    assert escape("plain ünï") == "plain ünï"
    assert escape("".join(HOSTILE)) == r"echo\x1b]0;owned\x07a\nb\r\x9b31m\u202egnp.exe\ud800"


def test_info_is_yaml_that_can_be_submitted_again(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train", workdir="/tmp", environment_vars=["A=é"])]
    assert yaml.safe_load(cli("job", "info", "--last"))["urn"].endswith(JOB_ID)
    spec = JobSpec.model_validate(yaml.safe_load(cli("job", "info", "--job-spec", "train")))
    assert (spec.name, spec.workdir, spec.environment_vars) == ("train", "/tmp", ["A=é"])


# --- submitting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (["--", "bash", "-c", "exit 3"], {"command": ["bash", "-c", "exit 3"]}),
        (["python", "train.py", "--name", "x", "-h"], {"command": ["python", "train.py", "--name", "x", "-h"]}),
        (["--name", "n", "grep", "--", "-x"], {"name": "n", "command": ["grep", "-x"]}),
        (["--name", "n", "--", "grep", "--", "-x"], {"name": "n", "command": ["grep", "--", "-x"]}),
        (["--", "a", "b", "--", "c"], {"command": ["a", "b", "--", "c"]}),
        (["a", "b", "--", "c"], {"command": ["a", "b", "--", "c"]}),
        ([], {}),
        (["-i", "python", "-e", "A=1", "-e", "B=x=y"], {"image": "python", "environmentVars": ["A=1", "B=x=y"]}),
        (["--cpu", "0.5", "--mem", "2"], {"resources": {"cpu": 0.5, "mem": 2}}),
        (["--mem", "512m"], {"resources": {"mem": 0.5}}),
        (["--mem", "4G"], {"resources": {"mem": 4}}),
        (["--mem", "1.5GiB"], {"resources": {"mem": 1.5}}),
        (["-I", "--workdir", "/w", "--account", "acme.t"], {"interactive": True, "workdir": "/w", "account": "acme.t"}),
    ],
)
def test_submit_flags(service: Service, cli: Cli, words: list[str], spec: dict[str, object]) -> None:
    cli("job", "new", *words)
    assert service.asked("POST", "/jobs")[0].body == spec


def test_the_global_account_is_for_specs_lists_and_bare_names(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train", account="acme.team")]
    cli("--account", "acme.team", "job", "submit", "true")
    assert service.seen[-1].body["account"] == "acme.team"
    cli("--account", "acme.team", "job", "get", "train")
    assert service.seen[-1].path == "/jobs/acme.team.train"
    cli("--account", "acme.team", "job", "get", JOB_ID)
    assert service.seen[-1].path == f"/jobs/{JOB_ID}"
    cli("--account", "acme.team", "job", "ls")
    assert (service.seen[-1].query["account"], service.seen[-1].query["mine"]) == ("acme.team", "false")


def test_ls_asks_for_mine_of_a_day_unless_told(service: Service, cli: Cli) -> None:
    cli("job", "ls")
    asked = service.seen[-1].query
    assert (asked["mine"], asked["state"]) == ("true", "all")
    day_ago = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 24 * 3600))
    assert asked["since"].startswith(day_ago[:13])
    cli("job", "ls", "--state", "queued,running", "-N", "train", "--account", "acme.team", "--me")
    asked = service.seen[-1].query
    assert (asked["state"], asked["name"], asked["account"]) == ("queued,running", "train", "acme.team")
    assert asked["mine"] == "true"
    assert "since" not in asked
    service.jobs = [make_job(id=f"{index:036d}") for index in range(150)]
    assert len(cli("job", "ls", "--no-header").splitlines()) == 150
    assert len(cli("job", "ls", "-n", "120", "--no-header").splitlines()) == 120


def test_a_lost_answer_does_not_submit_twice(service: Service, cli: Cli) -> None:
    service.faults = [None, 502]
    cli("job", "submit", "true")
    keys = {one.headers["Idempotency-Key"] for one in service.asked("POST", "/jobs")}
    assert len(service.asked("POST", "/jobs")) == 3
    assert len(keys) == 1


def test_last_is_the_newest_that_i_created(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(id=OTHER_ID), make_job()]
    assert cli("job", "get", "--last", "--field", "id") == f"{OTHER_ID}\n"
    assert service.asked("GET", "/jobs")[-1].query == {"limit": "1", "mine": "true", "state": "all"}
    assert OTHER_ID in cli("job", "kill", "--last")
    assert service.asked("DELETE", f"/jobs/{OTHER_ID}")
    service.jobs = []
    cli("job", "get", "--last", code=5)
    assert "job submit" in cli.err


# --- logs --------------------------------------------------------------------------------------------------------------


def test_logs_are_raw_bytes_and_follow_goes_on_after_a_cut(service: Service, cli: Cli) -> None:
    service.log = bytes(range(256)) + b"no line end"
    service.jobs = [make_job(state=JobState.FAILED, exit_codes=(3,), state_info="the command failed")]
    cli("job", "log", JOB_ID)
    assert cli.raw == service.log
    cli("job", "logs", JOB_ID, "--tail", "1")
    assert cli.raw == b"".join(service.log.splitlines(keepends=True)[-1:])
    service.log_cuts = [100, 0, 50]
    cli("job", "logs", "-f")
    assert cli.raw == service.log
    assert cli.err == f"job {JOB_ID} FAILED, exit code 3: the command failed\n"
    cli("job", "logs", "-f", "--exit-code", code=3)
    service.jobs = [make_job(state=JobState.CANCELLED)]
    cli("job", "logs", "-f", "--exit-code", code=1)


def test_who_follows_a_waiting_job_learns_why(service: Service, cli: Cli) -> None:
    def end() -> None:
        service.jobs = [make_job(state=JobState.FAILED, state_info="no such image")]

    service.jobs, service.log_sent = [make_job(state_info="waits for 4 CPUs; 2 are free")], end
    cli("job", "logs", "-f", JOB_ID)
    assert cli.err == f"job {JOB_ID} QUEUING: waits for 4 CPUs; 2 are free\njob {JOB_ID} FAILED: no such image\n"


def test_following_by_name_stays_with_the_job(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train", state=JobState.SUCCEEDED, exit_codes=(0,))]
    cli("job", "logs", "-f", "train")
    assert not service.asked("GET", "/jobs/train/logs")
    assert service.asked("GET", f"/jobs/{JOB_ID}/logs")


def test_submit_follow_keeps_stdout_for_the_output(service: Service, cli: Cli) -> None:
    def end() -> None:
        service.jobs = [make_job(state=JobState.FAILED, exit_codes=(3,))]

    service.log, service.log_sent = b"hello\n", end
    assert cli("job", "submit", "--follow", "--exit-code", "--", "sh", code=3) == "hello\n"
    assert "QUEUING" in cli.err
    assert "FAILED, exit code 3" in cli.err


def test_ctrl_c_leaves_the_job_running(service: Service, cli: Cli) -> None:
    service.jobs, service.log = [make_job(state=JobState.RUNNING)], b"started\n"
    service.log_sent = lambda: time.sleep(1)
    with process("job", "logs", "-f", JOB_ID) as child:
        assert child.stdout is not None
        assert child.stdout.read(8) == b"started\n"
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert b"the job goes on" in err
    assert b"Traceback" not in err
    assert not [one for one in service.seen if one.method == "DELETE"]


def test_a_reader_that_leaves_is_no_crash(service: Service, cli: Cli) -> None:
    service.jobs, service.log = [make_job(state=JobState.SUCCEEDED)], b"x" * 5_000_000
    with process("job", "logs", JOB_ID) as child:
        assert child.stdout is not None
        child.stdout.read(10)
        child.stdout.close()
        child.wait(timeout=20)
        assert child.stderr is not None
        assert child.stderr.read() == b""


# --- exit codes and errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fault", "code"),
    [
        (("me",), None, 0),
        (("job", "kill", JOB_ID), Conflict("the job has ended", "`toolkit job ls` shows how"), 1),
        (("job", "submit", "true"), InvalidRequest("mem must be more than 0", "give --mem"), 2),
        (("job", "get", JOB_ID), PermissionDenied("you may not", "ask its owner"), 4),
        (("job", "get", "none"), None, 5),
    ],
)
def test_exit_codes(service: Service, cli: Cli, words: tuple[str, ...], fault: Exception | None, code: int) -> None:
    service.faults = [fault] if fault else []  # type: ignore[list-item]
    cli(*words, code=code)
    if code:
        assert re.fullmatch(r"error: .+\nhint: .+\n", cli.err)
        assert cli.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ("nope",),
        ("job", "nope"),
        ("job", "submit", "--nope"),
        ("job", "submit", "--mem", "4x"),
        ("job", "submit", "--cpu", "nan"),
        ("job", "submit", "--mem", "1e999"),
        ("job", "submit", "-e", "NOVALUE"),
        ("job", "submit", "\udcff"),
        ("job", "get", "\udcff"),
        ("job", "submit", "--exit-code", "true"),
        ("job", "get"),
        ("job", "get", "--last", JOB_ID),
        ("job", "logs"),
        ("job", "logs", "--exit-code", JOB_ID),
        ("job", "ls", "-n", "0"),
        ("job", "ls", "--format", "xml"),
        ("login",),
        ("login", "--token", "x", "--username", "joe"),
        ("login", "--token", "two words"),
        ("login", "--token", "x", "--url", "ftp://host"),
        ("user", "new", "joe"),
    ],
)
def test_wrong_usage_is_2_and_asks_nothing(service: Service, cli: Cli, words: tuple[str, ...]) -> None:
    cli(*words, code=2)
    assert re.fullmatch(r"error: .+\nhint: .+\n", cli.err)
    assert not service.seen


def test_not_signed_in_is_3(service: Service, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_TOKEN", "expired")
    cli("job", "ls", code=3)
    service.seen.clear()
    monkeypatch.setenv("TOOLKIT_TOKEN", "tökén")
    cli("job", "ls", code=2)
    monkeypatch.delenv("TOOLKIT_TOKEN")
    cli("job", "ls", code=3)
    assert "toolkit login" in cli.err
    assert not service.seen


def test_service_not_running_is_1_and_says_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_URL", "http://127.0.0.1:1")
    cli("job", "submit", "true", code=1)
    assert cli.err.startswith("error: no answer from http://127.0.0.1:1: ")
    assert "`make run`" in cli.err


# --- signing in --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Not signed in."""
    monkeypatch.delenv("TOOLKIT_URL")
    monkeypatch.delenv("TOOLKIT_TOKEN")
    return cli


def test_login_with_a_token_from_a_file(service: Service, fresh: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    out = fresh("login", "--url", service.url + "/", "--token", f"@{tmp_path / 'token'}")
    assert f"signed in at {service.url} as acme.joe" in out
    assert TOKEN not in out + fresh.err
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert json.loads(config.read_text()) == {"profiles": {"default": {"url": service.url, "token": TOKEN}}}
    assert list(config.parent.iterdir()) == [config]
    assert fresh("me", "--field", "fullName") == "acme.joe\n"
    fresh("logout")
    fresh("me", code=3)
    assert TOKEN not in config.read_text()


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (("--token", "-"), f"{TOKEN}\n"),
        (("--token", TOKEN), ""),
        (("--username", "joe", "--password-stdin"), f"{PASSWORD}\n"),
    ],
)
def test_login_in_other_ways(service: Service, fresh: Cli, config: Path, words: tuple[str, ...], stdin: str) -> None:
    fresh("--profile", "lab", "login", "--url", service.url, *words, stdin=stdin)
    assert json.loads(config.read_text())["profiles"]["lab"]["token"] == TOKEN
    fresh("--profile", "lab", "me")
    fresh("me", code=3)


def test_the_hub_is_asked_once_for_a_token_of_half_a_day(service: Service, fresh: Cli, config: Path) -> None:
    login = ("login", "--url", service.url, "--username", "joe", "--password-stdin")
    fresh(*login, stdin=f"{PASSWORD}\r\n")
    (asked,) = service.asked("POST", "/hub/api/users/joe/tokens")
    assert asked.body["expires_in"] == 43200
    assert asked.body["note"].startswith("toolkit CLI on ")
    before = config.read_bytes()
    fresh(*login, stdin="wrong\n", code=3)
    assert "refused" in fresh.err
    assert "wrong\n" not in fresh.err
    fresh(*login, stdin="", code=2)
    service.faults = [503]
    fresh(*login, stdin=f"{PASSWORD}\n", code=1)
    assert config.read_bytes() == before


def test_a_token_that_is_refused_is_not_stored(service: Service, fresh: Cli, config: Path) -> None:
    fresh("login", "--url", service.url, "--token", "wrong", code=3)
    fresh("login", "--url", service.url, "--token", "@/nowhere/token", code=2)
    assert not config.exists()


def test_a_stored_token_goes_to_its_own_site_only(
    service: Service, fresh: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_service() as elsewhere:
        fresh("login", "--url", elsewhere.url, "--token", TOKEN)
        monkeypatch.setenv("TOOLKIT_URL", service.url)
        fresh("me", code=3)
        assert not service.seen
        monkeypatch.setenv("TOOLKIT_URL", elsewhere.url + "/")
        fresh("me")


def test_a_broken_profile_file_is_named(fresh: Cli, config: Path) -> None:
    config.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"profiles": []}', '{"profiles": {"default": 1}}'):
        config.write_text(text)
        fresh("me", code=2)
        assert str(config) in fresh.err


# --- users and help ----------------------------------------------------------------------------------------------------


def test_users(service: Service, cli: Cli) -> None:
    assert cli("user", "ls", "--no-header") == "u  joe  acme.joe false 2019-12-06T20:49:41Z\n"
    assert "alice" in cli("user", "new", "alice", "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert service.asked("POST", "/users")[0].body == {"name": "alice", "password": PASSWORD, "admin": True}


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from walk(inner, (*path, name))


def test_each_command_has_help_with_an_example(cli: Cli, service: Service) -> None:
    for path in walk(toolkit):
        assert "Example:\n  " in cli(*path, "-h").replace("    ", "  "), path
        assert cli.out == cli(*path, "--help")
    assert not service.seen
    assert re.fullmatch(r"toolkit \d\S*\n", cli("--version"))


def loaded_by(*words: str, modules: tuple[str, ...]) -> list[str]:
    code = (
        "import sys, json; from toolkit_client.cli.app import run; run(sys.argv[2:]);"
        "print(json.dumps([m for m in sys.argv[1].split(',') if m in sys.modules]))"
    )
    out = subprocess.check_output([sys.executable, "-c", code, ",".join(modules), *words])
    found: list[str] = json.loads(out.splitlines()[-1])
    return found


def test_commands_load_little(cli: Cli) -> None:
    heavy = ("httpx", "pydantic", "yaml", "toolkit_client.models")
    assert loaded_by("--help", modules=heavy) == []
    assert loaded_by("job", "submit", "-h", modules=heavy) == []
    assert loaded_by("job", "ls", modules=heavy) == ["httpx"]
    assert loaded_by("role", "member", "add", "-h", modules=heavy) == []
    assert loaded_by("user", "ls", modules=heavy) == ["httpx"]
