"""Shell completion, in the shells that are there, and what it offers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.canned_service import JOB_ID, Service, make_job
from tests.unit.cli.conftest import Cli

OTHER_ID = "00d0c0c0-0b00-0fae-0000-d00beabf000a"


def offered(*words: str, **environment: str) -> list[str]:
    """What is offered for the last of the words, as a shell asks for it."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("toolkit"))],
        env={
            **os.environ,
            **environment,
            "_TOOLKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["toolkit", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(cli: Cli, shell: str, tmp_path: Path) -> None:
    script = cli("completion", shell)
    assert "_TOOLKIT_COMPLETE" in script
    assert cli.err == ""
    if shutil.which(shell):
        (tmp_path / "script").write_text(script)
        check = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True)
        assert (check.returncode, check.stderr) == (0, "")
    cli("completion", "tcsh", code=2)


def test_bash_completes_with_the_script(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train")]
    script = """
        PATH=$1:$PATH; source <(toolkit completion bash)
        COMP_WORDS=(toolkit job get tr); COMP_CWORD=3; _toolkit_completion toolkit; echo "${COMPREPLY[@]}"
        COMPREPLY=(); COMP_WORDS=(toolkit jo); COMP_CWORD=1; _toolkit_completion toolkit; echo "${COMPREPLY[@]}"
        complete -p toolkit
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(Path(sys.executable).parent)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    names, commands, registered = done.stdout.splitlines()
    assert (names, commands) == ("train", "job")
    assert registered.endswith("-F _toolkit_completion toolkit")


def test_commands_options_and_choices(service: Service, cli: Cli) -> None:
    assert offered("lo") == ["lock", "login", "logout"]
    assert offered("job", "s") == ["set", "submit"]
    assert "--max-run-time" in offered("job", "submit", "--max")
    assert offered("job", "ls", "--format", "") == ["table", "json", "csv"]
    assert offered("job", "ls", "--state", "queued,ru") == ["queued,running"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert not service.seen


def test_jobs_by_name_and_id(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train", command=["a\tb\nc\x1b"]), make_job(id=OTHER_ID)]
    assert offered("job", "logs", "") == ["train", OTHER_ID]
    assert offered("job", "get", "5c5") == [JOB_ID]
    assert offered("--account", "acme.team", "job", "kill", "train", "00") == [OTHER_ID]
    asked = service.seen[-1].query
    assert (asked["state"], asked["account"], asked["mine"]) == ("alive", "acme.team", "false")
    assert offered("job", "retry", "x") == []
    assert service.seen[-1].query["state"] == "succeeded,failed,cancelled,interrupted"
    assert offered("job", "ls", "-N", "tr") == ["train"]


def test_profiles(service: Service, cli: Cli, config: Path) -> None:
    config.parent.mkdir(parents=True)
    config.write_text('{"profiles": {"lab": {}, "home": {}}}')
    assert offered("--profile", "l") == ["lab"]
    config.write_text("{")
    assert offered("--profile", "l") == []


def test_nothing_is_said_when_there_is_nothing_to_offer(service: Service, cli: Cli) -> None:
    assert offered("job", "get", "", TOOLKIT_TOKEN="") == []
    assert offered("job", "get", "", TOOLKIT_TOKEN="wrong") == []
    assert offered("job", "get", "", TOOLKIT_URL="http://127.0.0.1:1") == []
    assert offered("job", "get", "", TOOLKIT_URL="nonsense") == []
    begin = time.monotonic()
    service.faults = [503]
    assert offered("job", "get", "") == []
    assert len(service.asked("GET", "/jobs")) == 2  # with the wrong token, and the one that failed: none twice
    assert time.monotonic() - begin < 3
