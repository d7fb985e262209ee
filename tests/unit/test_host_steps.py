"""Steps of set-up: what people see, what the log keeps, and how a failed program explains itself."""

from __future__ import annotations

import io
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit_hub.host.steps import Console, Say, SetupError, run_command, show_failure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(tmp_path: Path, out: io.StringIO) -> Iterator[Console]:
    console = Console(tmp_path / "setup.log", out)
    yield console
    console.close()


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_step_is_one_line_and_the_log_has_everything(console: Console, out: io.StringIO) -> None:
    def work(say: Say) -> str:
        run_command(script("print('one'); import sys; print('two', file=sys.stderr)"), say, "")
        return "made"

    console.run("Something", work)
    assert out.getvalue().startswith("  ok      Something: made (0.")
    assert out.getvalue().count("\n") == 1
    log = console.log_path.read_text()
    assert "one\n" in log
    assert "two\n" in log
    assert stat.S_IMODE(console.log_path.stat().st_mode) == 0o600


def test_failed_program_shows_the_end_of_its_output_and_the_hint(
    console: Console, out: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('\\n'.join(f'line {n}' for n in range(50))); sys.exit(7)"
    with pytest.raises(SetupError) as caught:
        console.run("Something", lambda say: str(run_command(script(code), say, "Do this.")))
    assert "failed  Something" in out.getvalue()
    show_failure(caught.value, console.log_path)
    shown = capsys.readouterr().err
    assert "ended with code 7" in shown
    assert "Do this." in shown
    assert str(console.log_path) in shown
    assert "line 49" in shown
    assert "line 20" not in shown
    assert "line 20\n" in console.log_path.read_text()


def test_missing_program_is_named(console: Console) -> None:
    with pytest.raises(SetupError) as caught:
        console.run("Something", lambda say: str(run_command(["no-such-program"], say, "Install it.")))
    assert "no-such-program" in caught.value.what
    assert caught.value.hint == "Install it."


def test_programs_get_no_input(console: Console) -> None:
    console.run("Something", lambda say: str(run_command(script("import sys; assert sys.stdin.read() == ''"), say, "")))


def test_terminal_line_is_rewritten_without_control_characters(tmp_path: Path) -> None:
    out = Terminal()
    console = Console(tmp_path / "setup.log", out)

    def work(say: Say) -> str:
        say("bell \x07 and \x1b[2J clear")
        return "made"

    console.run("Something", work)
    console.close()
    progress = out.getvalue().partition("bell")[2].partition("clear")[0]
    assert "\x07" not in progress
    assert "\x1b" not in progress
    assert out.getvalue().endswith("\r\x1b[K  ok      Something: made (0.0 s)\n")
