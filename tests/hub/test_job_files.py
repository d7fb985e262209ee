"""``toolkit job upload``, ``download`` and ``ls JOB``, with a real job; also one that would like to write on the laptop."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub.app_forwards import TOOLKIT
from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine
MIB = 2**20


@pytest.fixture(scope="module")
def job(site: RunningSite) -> Iterator[str]:
    """In an image without Python."""
    made = site.submit("sleep", "600", user="vera", image="toolkit-base:bookworm").id
    site.wait_state(made, "RUNNING", user="vera")
    yield made
    with site.client("vera") as client:
        client.jobs.kill(made)


@pytest.fixture
def run(site: RunningSite, tmp_path: Path) -> Callable[..., str]:
    """A command in `tmp_path`; gives what it prints, or its error."""

    def run(*words: str, code: int = 0, stdin: str = "", user: str = "vera") -> str:
        done = site.cli(*words, user=user, stdin=stdin, timeout=120, cwd=tmp_path)
        assert done.returncode == code, f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    return run


Run = Callable[..., str]


def test_folders_there_and_back(run: Run, job: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "empty").mkdir(parents=True)
    big = os.urandom(40 * MIB + 17)
    (tree / "a" / "big.bin").write_bytes(big)
    (tree / "script.sh").write_text("#!/bin/sh\necho ran\n")
    (tree / "script.sh").chmod(0o750)
    (tree / "link").symlink_to("script.sh")
    (tree / "näme\nof two lines").write_text("x")
    for number in range(400):
        (tree / f"small-{number}").write_text(str(number))
    run("session", "upload", job, "tree")
    assert run("job", "exec", job, "--", "sh", "-c", "cd; tree/script.sh; ls tree | wc -l; ls -A tree").startswith(
        "ran\n405"
    )
    run("session", "upload", job, "tree")  # nothing has to be sent
    run("session", "download", job, "tree", "back/")
    back = tmp_path / "back" / "tree"
    assert (back / "a" / "big.bin").read_bytes() == big
    assert stat.S_IMODE((back / "script.sh").stat().st_mode) == 0o750
    assert os.readlink(back / "link") == "script.sh"
    assert {path.name for path in back.iterdir()} == {path.name for path in tree.iterdir()}
    assert not (tmp_path / "back" / ".toolkit-pull").exists()
    assert ".toolkit-push" not in run("job", "exec", job, "--", "sh", "-c", "ls -A ~ ~/tree")
    (back / "a" / "big.bin").unlink()
    run("job", "download", job, "tree/", "back/tree")
    assert hashlib.sha256((back / "a" / "big.bin").read_bytes()).digest() == hashlib.sha256(big).digest()


def test_where_things_go(run: Run, job: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    run("job", "exec", job, "--", "sh", "-c", "rm -rf ~/* /tmp/x; mkdir ~/into; ln -s /tmp ~/elsewhere")
    run("job", "upload", job, "one")
    run("job", "upload", job, "one", "renamed")
    run("job", "upload", job, "one", "two", "into")
    run("job", "upload", job, "one", "new/folder/")
    run("job", "upload", job, "two", "/tmp/x/two.txt")
    run("job", "upload", job, "two", "elsewhere/three.txt")
    shown = run("job", "exec", job, "--", "sh", "-c", "cd; find * -type f | sort; cat /tmp/x/two.txt /tmp/three.txt")
    assert shown.split() == ["into/one", "into/two", "new/folder/one", "one", "renamed", "22"]

    run("job", "download", job, "/tmp/x/two.txt")
    assert (tmp_path / "two.txt").read_text() == "2"
    run("job", "download", job, "elsewhere/three.txt", "as")
    assert (tmp_path / "as").read_text() == "2"
    run("job", "download", job, "into/", "flat")
    assert sorted(os.listdir(tmp_path / "flat")) == ["one", "two"]
    run("job", "exec", job, "--", "sh", "-c", "ln -s renamed ~/latest")
    run("job", "download", job, "latest")
    assert (tmp_path / "latest").read_text() == "1"
    assert not (tmp_path / "latest").is_symlink()

    assert run("job", "ls", job, "into", "--no-header", "--fields", "name,kind,size").split() == [
        *("one", "file", "1"),
        *("two", "file", "1"),
    ]
    assert "into/one" in run("job", "ls", job, "-R").split()
    assert run("job", "ls", job, "renamed", "--no-header", "--fields", "name").split() == ["renamed"]


def test_what_cannot_be(site: RunningSite, run: Run, job: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    assert "is there on this machine" in run("job", "upload", job, "one", "two", code=2)
    assert "no file or folder 'nothing' here" in run("job", "upload", job, "nothing", code=2)
    assert "there is no 'nothing' in the job" in run("job", "download", job, "nothing", code=5)
    assert "there is no 'nothing' in the job" in run("job", "ls", job, "nothing", code=5)
    assert "Permission denied" in run("job", "upload", job, "one", "/etc/", code=1)
    assert "no such job" in run("job", "download", "nothing", "x", code=5)
    site.token("tom")
    assert run("job", "download", job, "x", code=5, user="tom")
    ended = run("job", "submit", "--field", "id", "--", "true").strip()
    site.wait_state(ended, "SUCCEEDED", user="vera")
    assert "it has ended" in run("job", "download", ended, "x", code=1)


def test_a_job_cannot_write_elsewhere_on_the_laptop(run: Run, job: str, tmp_path: Path) -> None:
    """It has replaced its own end: what it says is a path that leads out."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "way").symlink_to(outside)
    run(
        "job",
        "exec",
        job,
        "--",
        "sh",
        "-c",
        "rm -rf ~/evil; mkdir -p ~/evil/way; echo x > ~/evil/way/file; ln -s / ~/evil/root",
    )
    said = run("job", "download", job, "evil/", "here", code=1)
    assert list(outside.iterdir()) == []
    assert "points out of it" in said
    assert not (tmp_path / "here" / "root").exists()


def test_an_upload_that_was_cut_goes_on(site: RunningSite, run: Run, job: str, tmp_path: Path) -> None:
    size = 300 * MIB
    content = os.urandom(MIB) * 300
    (tmp_path / "big").write_bytes(content)
    run_id = site.client("vera").jobs.get(job).runs[0].id
    there = site.state / "runs" / run_id / "home" / ".toolkit-push"
    environment = {**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token("vera")}
    process = subprocess.Popen([TOOLKIT, "job", "upload", "-q", job, "big"], env=environment, cwd=tmp_path)
    try:

        def begun() -> bool:
            assert process.poll() is None, "it was through before it could be cut"
            return any(each.stat().st_size >= 8 * MIB for each in there.glob("p-*"))

        wait_until(begun, "the begin of the upload", 60, interval=0.005)
    finally:
        process.kill()
        process.wait()
    done = json.loads(run("job", "upload", job, "big", "--format", "json"))
    assert done["moved"] < size
    assert done["files"] == 1
    digest = run("job", "exec", job, "--", "sha256sum", "/home/work/big").split()[0]
    assert digest == hashlib.sha256(content).hexdigest()
    assert not there.exists()
