"""What ``LOCAL:REMOTE``, ``REMOTE:LOCAL`` and ``DEST`` mean, and how a transfer is shown."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest

from toolkit_client.cli.data_places import PullPlace, pull_place, push_place
from toolkit_client.cli.transfer_progress import (
    Bar,
    DryRun,
    Lines,
    bar_text,
    problem_lines,
    size_text,
    summary,
    time_text,
)
from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.outcome import Outcome


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "labels.csv").touch()
    (tmp_path / "a:b").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("text", "local", "into"),
    [
        ("photos", "photos", b""),
        ("photos/", "photos/", b""),
        (".", ".", b""),
        ("photos:.", "photos", b""),
        ("photos:2024/june", "photos", b"2024/june"),
        ("photos:/2024//june/", "photos", b"2024/june"),
        ("labels.csv", "labels.csv", b"labels.csv"),
        ("./photos/../labels.csv", "./photos/../labels.csv", b"labels.csv"),
        ("labels.csv:.", "labels.csv", b"labels.csv"),
        ("labels.csv:docs/", "labels.csv", b"docs/labels.csv"),
        ("labels.csv:docs/first.csv", "labels.csv", b"docs/first.csv"),
        ("labels.csv:x\\:y", "labels.csv", b"x:y"),
        ("a:b", "a:b", b"a:b"),
        ("a\\:b:c", "a:b", b"c"),
    ],
)
def test_where_a_push_puts_things(here: Path, text: str, local: str, into: bytes) -> None:
    assert push_place(text) == (local, into)


@pytest.mark.parametrize("text", ["nothing", "nothing:x", "labels.csv:../x", "labels.csv:a/../b"])
def test_what_cannot_be_pushed(here: Path, text: str) -> None:
    with pytest.raises(InvalidRequest):
        push_place(text)


@pytest.mark.parametrize("text", ["labels.csv:", ":x"])
def test_an_empty_side(here: Path, text: str) -> None:
    with pytest.raises(click.UsageError, match="nothing on one side"):
        push_place(text)
    with pytest.raises(click.UsageError, match="nothing on one side"):
        pull_place(text, None, kind_of)


def kind_of(path: bytes) -> str:
    return "file" if path.endswith((b".csv", b"x:y")) else "folder"


@pytest.mark.parametrize(
    ("remote", "dest", "place"),
    [
        (None, None, PullPlace(b"", ".")),
        (".", "out", PullPlace(b"", "out")),
        ("/", "out", PullPlace(b"", "out")),
        ("./remote", ".", PullPlace(b"remote", "./remote")),
        ("remote", None, PullPlace(b"remote", "./remote")),
        ("a/remote", "out/", PullPlace(b"a/remote", "out/remote")),
        ("remote/", "out", PullPlace(b"remote", "out")),
        ("remote/.", None, PullPlace(b"remote", ".")),
        ("a:b", None, PullPlace(b"a", "b")),
        ("a:b", "out", PullPlace(b"a", "out/b")),
        (".:b", None, PullPlace(b"", "b")),
        ("a/l.csv", None, PullPlace(b"a/l.csv", ".", b"l.csv")),
        ("a/l.csv", ".", PullPlace(b"a/l.csv", ".", b"l.csv")),
        ("l.csv", "photos", PullPlace(b"l.csv", "photos", b"l.csv")),
        ("l.csv", "new/", PullPlace(b"l.csv", "new/", b"l.csv")),
        ("l.csv", "new", PullPlace(b"l.csv", ".", b"new")),
        ("l.csv", "new/m.csv", PullPlace(b"l.csv", "new", b"m.csv")),
        ("l.csv:m.csv", "new", PullPlace(b"l.csv", "new", b"m.csv")),
        ("l.csv:m/", None, PullPlace(b"l.csv", "m/", b"l.csv")),
        ("x\\:y", None, PullPlace(b"x:y", ".", b"x:y")),
    ],
)
def test_where_a_pull_puts_things(here: Path, remote: str | None, dest: str | None, place: PullPlace) -> None:
    assert pull_place(remote, dest, kind_of) == place


@pytest.mark.parametrize(
    ("remote", "dest", "why"),
    [
        ("l.csv/", None, "is a file"),
        ("remote/", "labels.csv", "is no folder"),
        ("l.csv", "labels.csv/", "is no folder"),
        ("l.csv:photos", None, "is a folder"),
        ("../x", None, "no path within data"),
    ],
)
def test_what_cannot_be_pulled(here: Path, remote: str, dest: str | None, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        pull_place(remote, dest, kind_of)


def test_sizes_times_and_sums() -> None:
    assert [size_text(size) for size in (0, 1023, 1024, 1048524, 1048575, 78.1 * 2**20, 2**70)] == [
        "0 B", "1023 B", "1.0 KiB", "1024 KiB", "1.0 MiB", "78.1 MiB", "1024 EiB",
    ]  # fmt: skip
    assert [time_text(s) for s in (0.04, 1.24, 59.97, 185, 7500)] == [
        "0.0 s",
        "1.2 s",
        "1 min 0 s",
        "3 min 5 s",
        "2 h 5 min",
    ]
    done = Outcome(files=20_000, bytes=int(78.1 * 2**20), removed=3, unchanged=12)
    text = "pushed 20,000 files, 78.1 MiB in 1.2 s (65.1 MiB/s); 12 unchanged, 3 removed"
    assert summary("pushed", done, 1.2) == text
    assert summary("pulled", Outcome(files=1), 0.01) == "pulled 1 file, 0 B in 0.0 s"


def test_problems_are_named_and_the_rest_counted() -> None:
    done = Outcome(changed=[f"c{number}" for number in range(22)])
    for number in range(500):
        done.problem(f"a\n{number}", "it is \x1b[2J")
    lines = problem_lines(done)
    assert lines[0] == "error: a\\n0: it is \\x1b[2J"
    assert (lines[20], lines[-1]) == (
        "error: and 480 more like these", "warning: and 2 more changed while they were read",
    )  # fmt: skip
    assert len(lines) == 42
    assert len(done.problems) < 500


def test_the_bar_fits_any_terminal() -> None:
    for width in (10, 20, 40, 80, 200):
        for totals in (None, (0, 0), (20_000, 2**40)):
            assert len(bar_text(width, 10_000, 2**39, totals, 1e8, 1e8)) < width
    text = bar_text(120, 10, 2**20, (20, 2**21), 2**20, 2**20)
    assert text.startswith(" 50% [####")
    assert text.endswith("10/20 files, 1.0 MiB/2.0 MiB, 1.0 MiB/s, 0:01 left")
    # What is sent twice, or grew, is no more than all.
    assert bar_text(120, 30, 2**22, (20, 2**21), 2**20, 2**20).startswith("100% ")


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.monotonic", made.monotonic)
    return made


def test_a_bar_is_drawn_ten_times_a_second_and_leaves_nothing(clock: Clock) -> None:
    out = io.StringIO()
    bar = Bar("pushing", out)
    bar.total(1000, 1000 * 1024)
    for number in range(500):
        clock.now += 0.01
        bar.passed(1, 1024)
        if number == 250:
            bar.note("the connection broke;\x1b going on")
            bar.again()
            bar.there(250, 250 * 1024)
    bar.close()
    drawn = out.getvalue().split("\r")
    assert 40 < len(drawn) < 60
    assert " left" in drawn[-2]
    assert "100 KiB/s" in drawn[-2]
    assert "the connection broke;\\x1b going on\n" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")


def test_lines_come_every_five_seconds(clock: Clock) -> None:
    out = io.StringIO()
    lines = Lines("pulling", out)
    for _ in range(1200):
        clock.now += 0.01
        lines.passed(1, 1024)
    lines.close()
    assert [line.partition(":")[0] for line in out.getvalue().splitlines()] == ["pulling"] * 2
    assert "\r" not in out.getvalue()


def test_a_dry_run_prints_what_it_would_do() -> None:
    out = io.StringIO()
    shown = DryRun(out)
    for action in ("would send", "would remove", "sent"):
        shown.item(action, "a\nb")
    assert out.getvalue() == "would send a\\nb\nwould remove a\\nb\n"
    assert (shown.sent, shown.removed) == (1, 1)
