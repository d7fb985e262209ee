"""The command line on the whole site: what a user types in a working day, with the real service, hub and engine."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.running_site import PASSWORD, RunningSite, wait_until

pytestmark = pytest.mark.engine
TOOLKIT = str(Path(sys.executable).with_name("toolkit"))


class Laptop:
    """The command line of somebody who is signed in by `toolkit login` alone."""

    def __init__(self, site: RunningSite, home: Path) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TOOLKIT_")}
        self.environment = {**kept, "XDG_CONFIG_HOME": str(home)}
        self.site, self.err = site, ""
        self.config = home / "toolkit" / "config.json"

    def __call__(self, *words: str, stdin: str = "", code: int = 0) -> str:
        done = subprocess.run(
            [TOOLKIT, *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.err = done.stderr
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """As a process that takes Ctrl-C, also where the tests run in the background of a shell."""
        return subprocess.Popen(
            [TOOLKIT, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @property
    def token(self) -> str:
        return str(json.loads(self.config.read_text())["profiles"]["default"]["token"])


@pytest.fixture
def laptop(site: RunningSite, tmp_path: Path) -> Laptop:
    """Signed in as alice, by name and password."""
    site.token("alice")  # makes the user
    signed_in = Laptop(site, tmp_path / "config")
    signed_in("login", "--url", site.url, "--username", "alice", "--password-stdin", stdin=f"{PASSWORD}\n")
    return signed_in


def accepted(site: RunningSite, token: str) -> bool:
    answer = httpx.get(f"{site.url}/hub/api/user", headers={"Authorization": f"Bearer {token}"})
    return answer.is_success


def test_login_by_password_and_a_logout_that_ends_the_token(site: RunningSite, laptop: Laptop) -> None:
    assert laptop("me", "--field", "fullName") == "acme.alice\n"
    token = laptop.token
    assert accepted(site, token)
    assert laptop("logout") == f"signed out of {site.url}\n"
    assert laptop.err == "the token was revoked\n"
    assert not accepted(site, token)
    laptop("me", code=3)
    laptop("login", "--url", site.url, "--username", "alice", "--password-stdin", stdin="wrong password\n", code=3)


def test_login_by_a_file_and_a_logout_that_leaves_the_token(site: RunningSite, laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(site.token("alice") + "\n")
    laptop("login", "--url", site.url, "--token", f"@{tmp_path / 'token'}")
    assert laptop("me", "--field", "name") == "alice\n"
    laptop("logout")
    assert "stays valid" in laptop.err
    assert accepted(site, site.token("alice"))


def test_a_job_file_with_flags_before_it(laptop: Laptop, tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    file.write_text(
        "name: from-file\n"
        "command: [sh, -c, 'echo $SEED $MODE $1 $(pwd)', sh, 0644]\n"
        "environmentVars: [SEED=1, MODE=slow]\n"
        "workdir: /tmp\n"
        "resources: {cpu: 0.5, mem: 0.25}\n"
        "maxRunTime: 600\n"
        "tags: [{key: sweep, value: 7}]\n"
    )
    out = laptop("job", "new", "-f", str(file), "-e", "MODE=fast", "--tag", "draft", "--follow", "--exit-code")
    assert out == "1 fast 0644 /tmp\n"
    assert "SUCCEEDED, exit code 0" in laptop.err
    shown = laptop("job", "get", "--last", "--fields", "name,state,tags,maxRunTime,resources.cpu,resources.mem")
    assert shown.splitlines()[1].split() == ["from-file", "SUCCEEDED", "[sweep=7", "draft]", "600", "0.5", "0.25"]
    spec = yaml.safe_load(laptop("job", "info", "--last", "--job-spec"))
    assert spec["environmentVars"] == ["SEED=1", "MODE=fast"]
    # What `info` prints runs again.
    again = laptop("job", "submit", "-f", "-", "--follow", stdin=yaml.safe_dump(spec))
    assert again == out


def test_mistakes_in_a_job_file(laptop: Laptop, tmp_path: Path) -> None:
    file = tmp_path / "job.yml"
    for text, words in (
        ("image: a\n  b: c\n", "line 2, column 4"),
        ("imgae: a\n", "did you mean 'image'?"),
        ("command: [a]\nresources:\n  mem: 0\n", "line 3, column 3: resources.mem"),
        ("name: Bad\n", "line 1, column 1: name"),
        ("x" * 10_000_000, "1 MiB"),
    ):
        file.write_text(text)
        laptop("job", "submit", "-f", str(file), code=2)
        assert words in laptop.err
    laptop("job", "submit", "--mem", "0", "true", code=2)
    laptop("job", "submit", "--name", "Bad Name", "true", code=2)
    laptop("job", "submit", "-e", "PATH", "true", code=2)
    assert laptop("job", "ls", "--state", "alive", "--no-header") == ""


def test_names(laptop: Laptop) -> None:
    job_id = laptop("job", "submit", "--name", "named", "--field", "id", "--", "sleep", "300").strip()
    try:
        laptop("job", "submit", "--name", "named", "true", code=1)
        assert job_id in laptop.err
        for ref in ("named", "acme.alice.named"):
            assert laptop("job", "get", ref, "--field", "id").strip() == job_id
        assert laptop("--account", "acme.alice", "job", "get", "named", "--field", "id").strip() == job_id
        assert laptop("job", "ls", "-N", "named", "--field", "id").splitlines()[0] == job_id
        # The one that has the name goes on without it.
        taker = laptop(
            "job", "submit", "--name", "named", "--enforce-name", "--field", "id", "--", "sleep", "300"
        ).strip()
        assert laptop("job", "get", "named", "--field", "id").strip() == taker
        assert laptop("job", "get", job_id, "--fields", "name,alive", "--no-header").split() == ["-", "true"]
    finally:
        laptop("job", "kill", job_id, "named", "--no-header")
    laptop("job", "get", "none", code=5)


def test_kill_and_retry_of_several(site: RunningSite, laptop: Laptop) -> None:
    ids = [laptop("job", "submit", "--field", "id", "--", "sleep", "300").strip() for _ in range(2)]
    killed = laptop("job", "kill", ids[0], "no-such-job", ids[1], "--fields", "id,state", "--no-header", code=5)
    assert [line.split()[0] for line in killed.splitlines()] == ids
    assert laptop.err.count("error: ") == 1
    for job_id in ids:
        site.wait_state(job_id, "CANCELLED", user="alice")
    laptop("job", "kill", *ids, code=1)
    assert laptop.err.count("ended already") == 2
    retried = laptop("job", "retry", *ids, "--fields", "id,retryOf,command", "--no-header").splitlines()
    assert [line.split()[1] for line in retried] == ids
    new = [line.split()[0] for line in retried]
    assert not set(new) & set(ids)
    laptop("job", "retry", new[0], code=1)  # it lives
    laptop("job", "kill", *new)


def test_set(laptop: Laptop) -> None:
    job_id = laptop("job", "submit", "--tag", "a=1", "--tag", "b", "--field", "id", "--", "sleep", "300").strip()
    try:
        changes = [
            "--name",
            "renamed",
            "--tag",
            "a=2",
            "--tag",
            "c",
            "--remove-tag",
            "b",
            "--bid",
            "5",
            "--max-run-time",
            "2h",
        ]
        out = laptop("job", "set", job_id, *changes, "--no-header")
        assert out.split()[2:] == ["renamed", "[a=2", "c]", "5", "7200"]
        assert laptop("job", "ls", "--tag", "a=2", "--tag", "c", "--field", "id") == f"{job_id}\n"
        assert laptop("job", "ls", "--tag", "a=1", "--no-header") == ""
        assert laptop("job", "set", "renamed", "--no-name", "--field", "name") == "-\n"
        laptop("job", "set", job_id, "--max-run-time", "soon", code=2)
    finally:
        laptop("job", "kill", job_id)
    wait_until(lambda: "CANCELLED" in laptop("job", "get", job_id, "--field", "state"), "the job to end")
    laptop("job", "set", job_id, "--name", "late", code=1)


def test_lists_as_json_csv_and_columns(laptop: Laptop) -> None:
    words = ["echo", "a,b", 'say "hi"', "two\nlines"]
    laptop("job", "submit", "--name", "printed", "--follow", "--", *words)
    newest = ["job", "ls", "-n", "1"]
    assert json.loads(laptop(*newest, "--format", "json"))["command"] == words
    (row,) = csv.DictReader(io.StringIO(laptop(*newest, "--format", "csv")))
    assert (row["name"], row["command"], row["runs.exitCode"]) == ("printed", '[echo a,b say "hi" two\\nlines]', "0")
    header, line = laptop(*newest).splitlines()
    columns = re.findall(r"\S+\s*", header)
    offsets = [header.index(column) for column in columns]
    cut = dict(zip((name.strip() for name in columns), (line[at:].split("  ")[0] for at in offsets), strict=True))
    assert cut["name"].startswith("printed")
    assert line[header.index("state") :].startswith("SUCCEEDED ")
    assert line[header.index("accessUrl") :] == row["accessUrl"]


def test_following_to_the_exit_code(laptop: Laptop) -> None:
    script = "printf partial; sleep 0.3; echo; exit 3"
    assert laptop("job", "submit", "--follow", "--exit-code", "--", "sh", "-c", script, code=3) == "partial\n"
    assert "FAILED, exit code 3" in laptop.err
    assert laptop("job", "logs", "-f") == "partial\n"
    laptop("job", "logs", "--last", "-f", "--exit-code", code=3)


def test_ctrl_c_in_a_follow_leaves_the_job_running(site: RunningSite, laptop: Laptop) -> None:
    with laptop.start("job", "submit", "--follow", "--", "sh", "-c", "echo begun; sleep 300") as follow:
        assert follow.stdout is not None
        assert follow.stdout.readline() == "begun\n"
        follow.send_signal(signal.SIGINT)
        _, err = follow.communicate(timeout=30)
    assert follow.returncode == 130
    assert "the job goes on; `toolkit job kill" in err
    job_id = laptop("job", "ls", "-n", "1", "--field", "id").strip()
    assert laptop("job", "get", job_id, "--field", "state") == "RUNNING\n"
    laptop("job", "kill", job_id)


def test_events_of_a_job_and_of_all(laptop: Laptop) -> None:
    with laptop.start("events", "--format", "json") as following:
        time.sleep(1)  # it tells what happens from when it is connected
        laptop("job", "submit", "--follow", "--", "true")
        job_id = laptop("job", "ls", "-n", "1", "--field", "id").strip()
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["urn"].endswith(job_id)
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=30)
    assert following.returncode == 130
    told = [json.loads(line) for line in laptop("events", "--last", "--format", "json").splitlines()]
    assert told[0]["type"] == "job.submitted"
    assert [event["seq"] for event in told] == sorted({event["seq"] for event in told})
    assert {event["urn"].rpartition(":")[2] for event in told} == {job_id}


def test_my_own_server(laptop: Laptop) -> None:
    address = laptop("start").strip()
    assert address.startswith("http://")
    assert address.endswith("/lab")
    assert laptop("start", "--no-wait").strip() == address
    server = laptop("job", "ls", "--state", "alive", "--field", "id").splitlines()[0]
    laptop("job", "kill", server)


def test_the_queue(laptop: Laptop) -> None:
    assert json.loads(laptop("queue", "--total", "--format", "json"))["cpuTotal"] == 16
    assert laptop("queue").splitlines()[0].split()[0] == "position"


def test_completion_in_bash(laptop: Laptop) -> None:
    laptop("job", "submit", "--name", "completed", "--", "sleep", "300")
    script = """
        PATH=$1:$PATH; source <(toolkit completion bash)
        COMP_WORDS=(toolkit job kill comp); COMP_CWORD=3; _toolkit_completion toolkit; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", str(Path(sys.executable).parent)],
        env=laptop.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("completed\n", "")
    laptop("job", "kill", "completed")


def test_long_command_lines(laptop: Laptop) -> None:
    """256 KiB in words that Linux takes; a longer word is refused in words."""
    words = ["w" * 100_000, "x" * 100_000, "y" * 62_144]
    assert laptop("job", "submit", "--follow", "--", "sh", "-c", 'echo "$*" | wc -c', "sh", *words) == "262147\n"
    laptop("job", "submit", "-f", "-", stdin=yaml.safe_dump({"command": ["echo", "w" * 140_000]}), code=2)
    assert "Linux takes" in laptop.err
