"""What is printed: paths into values, CSV, and tables on a terminal of any width."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.unit.canned_service import JOB_ID, Service, make_job
from tests.unit.cli.conftest import Cli
from toolkit_client.cli.terminal import age, fitted
from toolkit_client.models import JobState, Port, Tag

COLUMNS = ["id", "state", "name", "account", "creator", "created", "command", "runs.exitCode", "accessUrl"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("resources.cpu", "1"),
        ("runs.exitCode", "0"),
        ("runs.0.exitCode", "1"),
        ("runs.-1.exitCode", "0"),
        ("runs.7.exitCode", "-"),
        ("runs.index", "1"),
        ("command.0", "code-server"),
        ("tags", "[sweep=7 draft]"),
        ("tags.key", "[sweep draft]"),
        ("tags.value", "[7 -]"),
        ("tags.1", "draft"),
        ("ports", "[9000:public 9001]"),
        ("options.a.b", "3"),
        ("created", "2019-12-06T20:49:41Z"),
        ("interactive", "false"),
        ("retryOf", "-"),
    ],
)
def test_paths(service: Service, cli: Cli, path: str, text: str) -> None:
    tags, ports = [Tag(key="sweep", value="7"), Tag(key="draft")], [Port(port=9000, public=True), Port(port=9001)]
    service.jobs = [make_job(exit_codes=(1, 0), tags=tags, ports=ports, options={"a": {"b": 3}})]
    assert cli("job", "get", JOB_ID, "--field", path) == f"{text}\n"
    assert cli("job", "get", JOB_ID, "--fields", path, "--no-header") == f"{text}\n"


def test_a_bare_value_as_json(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(command=["a b", "c"], exit_codes=(3,))]
    assert cli("job", "get", JOB_ID, "--field", "command", "--format", "json") == '["a b", "c"]\n'
    assert cli("job", "get", JOB_ID, "--field", "runs.exitCode", "--format", "json") == "3\n"
    assert cli("job", "get", JOB_ID, "--field", "name", "--format", "json") == "null\n"


@pytest.mark.parametrize(
    ("path", "hint"),
    [("nmae", "name"), ("runs.exit", "exitCode"), ("resources.x", "cpu"), ("state.x", "none"), ("tags.x", "key")],
)
def test_a_path_that_leads_nowhere(service: Service, cli: Cli, path: str, hint: str) -> None:
    service.jobs = [make_job(tags=[Tag(key="a")])]
    cli("job", "get", JOB_ID, "--field", path, code=2)
    assert f"there is no field '{path}'" in cli.err
    assert hint in cli.err.splitlines()[1]


def test_csv_is_read_back_as_it_was(service: Service, cli: Cli) -> None:
    words = ["a,b", 'say "hi"', "two\nlines", "é"]
    service.jobs = [make_job(command=words, state_info='because of "x", and y')]
    text = cli("job", "ls", "--format", "csv", "--fields", "id,command,stateInfo,retryOf")
    assert list(csv.reader(io.StringIO(text))) == [
        ["id", "command", "stateInfo", "retryOf"],
        [JOB_ID, '[a,b say "hi" two\\nlines é]', 'because of "x", and y', "-"],
    ]
    assert "\r" not in text
    rows = [json.loads(line) for line in cli("job", "ls", "--format", "json", "--fields", "command").splitlines()]
    assert rows == [{"command": words}]


def test_the_default_columns_hold_no_formula(service: Service, cli: Cli) -> None:
    """A colleague's job must not run anything in the spreadsheet of whoever lists it."""
    for start in ("=", "+", "-", "@", "\t=", "\r="):
        service.jobs = [make_job(command=[f"{start}cmd()"], state=JobState.FAILED, exit_codes=(None,))]
        _, row = csv.reader(io.StringIO(cli("job", "ls", "--format", "csv")))
        assert not [cell for cell in row if cell[:1] in "=+@\t\r" or (cell[:1] == "-" and cell != "-")]


# --- terminals -----------------------------------------------------------------------------------------------------------


def on_terminal(width: int, *words: str) -> str:
    """What a command prints on a terminal of that width; stderr too is one."""
    main, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "toolkit_client.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
        env={**os.environ, "COLUMNS": str(width)},
    ) as child:
        os.close(side)
        text = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # Linux's end of a terminal that nobody holds any more
                break
            text += piece
    os.close(main)
    assert child.returncode == 0, text
    return text.decode().replace("\r\n", "\n")


def test_a_wide_terminal_shows_what_a_pipe_gets(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train")]
    assert on_terminal(300, "job", "ls") == cli("job", "ls")


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_a_table_fits_the_terminal(service: Service, cli: Cli, width: int) -> None:
    service.jobs = [make_job(name="train", command=["python", "train.py", "--data", "/a/very/long/path" * 9])]
    *table, hint = on_terminal(width, "job", "ls").splitlines()
    assert max(len(line) for line in table) <= width
    assert JOB_ID in table[1]
    assert "QUEUING" in table[1]
    assert "…" in table[1]
    shown = table[0].split()
    assert shown == [name for name in COLUMNS if name in shown]
    assert hint.startswith("hint: no room for ")
    assert set(COLUMNS) == {*shown, *hint.partition("for ")[2].partition(";")[0].split(", ")}
    whole = on_terminal(width, "job", "ls", "--fields", ",".join(COLUMNS))
    assert whole == cli("job", "ls", "--fields", ",".join(COLUMNS))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7199, "1 h ago"), (200_000, "2 d ago")],
)
def test_ages(seconds: float, text: str) -> None:
    now = 1_700_000_000
    assert age(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - seconds)), now) == text
    assert age("-") == "-"


def test_wide_characters_count_as_two_columns() -> None:
    columns, rows, hidden = fitted(["id", "command"], [["x", "漢" * 40]], 40)
    assert (columns, hidden) == (["id", "command"], [])
    assert rows == [["x", "漢" * 18 + "…"]]


@pytest.mark.parametrize("make", [list, lambda: [["a"] * 9]])
def test_no_terminal_is_too_narrow(make: Callable[[], list[list[str]]]) -> None:
    columns, rows, _ = fitted(COLUMNS, make(), 1)
    assert columns[0] == "id"
    assert all(len(row) == len(columns) for row in rows)
