"""The command line in this process, against a server at the other end of a socket."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.canned_service import TOKEN, Service, running_service
from toolkit_client.cli.app import run


class Cli:
    """Runs command lines in this process; `out` and `err` are what the last one printed."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], patch: pytest.MonkeyPatch) -> None:
        self._capture, self._patch = capture, patch
        self.out, self.err = "", ""
        self.raw = b""

    def __call__(self, *words: str, stdin: str = "", code: int = 0) -> str:
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            got = run(list(words))
        except SystemExit as end:
            got = end.code
        self.raw, err = self._capture.readouterr()
        self.out, self.err = self.raw.decode(errors="replace"), err.decode()
        assert got == code, self.err
        return self.out


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("TOOLKIT_URL", "TOOLKIT_TOKEN", "TOOLKIT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "toolkit" / "config.json"


@pytest.fixture
def cli(
    service: Service, config: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    """Signed in by the environment."""
    monkeypatch.setenv("TOOLKIT_URL", service.url)
    monkeypatch.setenv("TOOLKIT_TOKEN", TOKEN)
    return Cli(capsysbinary, monkeypatch)


def process(*words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The command line as a process that takes Ctrl-C, also where the tests run in the background of a shell."""
    return subprocess.Popen(
        [sys.executable, "-m", "toolkit_client.cli", *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
