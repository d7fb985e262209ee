"""Data in jobs on a whole site: shared by two users, taken away before the start, kept as a home."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.errors import InvalidRequest, NotFound, PermissionDenied
from toolkit_client.models import Job
from toolkit_hub.volumes.layout import Volumes

pytestmark = pytest.mark.engine


class Sharing:
    """mia's data, and what mia lets noa do with it."""

    def __init__(self, site: RunningSite) -> None:
        self.site, self.name = site, f"images-{uuid4().hex[:8]}"
        for user in ("mia", "noa"):
            site.token(user)
        with site.client("mia") as mia:
            self.data = mia.data.new(self.name)
        self.full_name = self.data.full_name
        self.live = Volumes(site.settings.data_root).live(self.data.id)

    def give(self, action: str) -> str:
        role = f"acme.mia.r-{uuid4().hex[:8]}"
        self.cli("role", "new", role, "--policy", f"{action}@{self.data.urn}")
        self.cli("role", "member", "add", role, "--user", "acme.noa")
        return role

    def take(self, role: str) -> None:
        self.cli("role", "member", "rm", role, "--user", "acme.noa")

    def cli(self, *words: str, user: str = "mia") -> str:
        done = self.site.cli(*words, user=user)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, user: str, script: str, *mounts: str, state: str = "SUCCEEDED") -> tuple[Job, str]:
        job = self.site.submit("bash", "-c", script, user=user, data=list(mounts))
        ended = self.site.wait_state(job.id, state, user=user)
        return ended, self.site.log_of(job.id, user=user).decode()


@pytest.fixture
def sharing(site: RunningSite) -> Sharing:
    return Sharing(site)


def test_two_users_share_data(sharing: Sharing) -> None:
    images, name = sharing.full_name, sharing.name
    with pytest.raises(NotFound):
        sharing.run("noa", "true", f"{images}:/images")
    writer, _ = sharing.run("mia", "mkdir /images/sub && echo of mia > /images/sub/note", f"{name}:/images")
    assert [(mount.data, mount.target, mount.mode) for mount in writer.mounts or []] == [(images, "/images", "rw")]
    sharing.give("data:get")
    with pytest.raises(PermissionDenied, match="data:set"):
        sharing.run("noa", "true", f"{images}:/images:rw")
    reader, output = sharing.run("noa", "cat ~/x/note; touch ~/x/new || true", f"{images}/sub:/home/work/x")
    assert output.splitlines()[0] == "of mia"
    assert "Read-only file system" in output
    assert [mount.mode for mount in reader.mounts or []] == ["ro"]
    sharing.give("data:set")
    sharing.run("noa", "echo of noa >> /images/sub/note", f"{images}:/images")
    assert (sharing.live / "sub" / "note").read_text() == "of mia\nof noa\n"
    assert (sharing.live / "sub" / "note").stat().st_uid == 13011
    shown = sharing.cli("job", "info", reader.id, user="noa")
    assert f"data: {images}" in shown
    assert "mode: ro" in shown


def test_as_people_are_told_to_do_it(sharing: Sharing) -> None:
    """Output goes to a file of a volume, by the job's id and by the run's index; `-m` leaves the path out."""
    submit = ("job", "submit", "--field", "id")
    script = "echo hello > /home/mia/${EAI_JOB_ID}.txt 2>&1; echo more > /home/mia/${EAI_RUN_INDEX}.txt"
    command = ("--data", f"{sharing.full_name}:/home/mia", "--", "bash", "-c", script)
    job = sharing.cli(*submit, *command).strip()
    sharing.site.wait_state(job, "SUCCEEDED", user="mia")
    assert (sharing.live / f"{job}.txt").read_text() == "hello\n"
    assert (sharing.live / "0.txt").read_text() == "more\n"
    again = sharing.cli(*submit, "-m", sharing.name, "--", "bash", "-c", f"cat /home/work/{sharing.name}/0.txt").strip()
    sharing.site.wait_state(again, "SUCCEEDED", user="mia")
    assert sharing.site.log_of(again, "mia") == b"more\n"
    target = "/home/coder/.local/share/code-server"
    _, output = sharing.run("mia", f"ls {target} | wc -l", f"{sharing.full_name}:{target}")
    assert output == "2\n"


def test_taken_away_before_the_start(sharing: Sharing) -> None:
    """The job waits for room meanwhile; then it has failed, and says why."""
    role = sharing.give("data:get")
    with sharing.site.client("mia") as mia:
        blocker = mia.jobs.submit({"command": ["sleep", "300"], "resources": {"cpu": 16}})
    sharing.site.wait_state(blocker.id, "RUNNING", user="mia")
    waiting = sharing.site.submit("true", user="noa", data=[f"{sharing.full_name}:/d"])
    assert waiting.state == "QUEUING"
    sharing.take(role)
    with sharing.site.client("mia") as mia:
        mia.jobs.kill(blocker.id)
    failed = sharing.site.wait_state(waiting.id, "FAILED", user="noa", timeout=40)
    assert failed.state_info == (
        f"{sharing.full_name} cannot be mounted at /d: acme.noa may not do data:get on it any more: no statement allows it"
    )
    wait_until(
        lambda: failed.runs[0].server_name not in {found.run for found in sharing.site.containers()}, "no container", 10
    )


def test_a_part_that_is_not_there_or_a_link(sharing: Sharing) -> None:
    sharing.run("mia", "ln -s /etc /d/link; ln -s . /d/here; echo x > /d/file", f"{sharing.name}:/d")
    for subpath, words in (
        ("link", "is no folder, but a symbolic link, which is not followed"),
        ("here", "is no folder, but a symbolic link, which is not followed"),
        ("file", "is no folder, but a file"),
        ("none", "there is no 'none' in it"),
    ):
        ended, output = sharing.run("mia", "ls /x", f"{sharing.name}/{subpath}:/x", state="FAILED")
        assert ended.state_info.startswith(f"{sharing.full_name}/{subpath} cannot be mounted at /x: "), ended.state_info
        assert words in ended.state_info
        assert output == ""


def run_in(site: RunningSite, container: str, script: str) -> str:
    def run(client: Any) -> bytes:
        return bytes(client.exec_start(client.exec_create(container, ["bash", "-c", script])["Id"]))

    output = site.engine_call(lambda engine: engine.call(run))
    assert isinstance(output, bytes)
    return output.decode()


def test_the_home_is_kept_and_is_data(sharing: Sharing) -> None:
    """What a user's own server leaves in its home is there in the next server, and for batch jobs that mount it."""
    site = sharing.site
    user = f"u{uuid4().hex[:8]}"
    site.token(user)
    for round_ in range(2):
        with site.client(user) as client:
            server = client.servers.start()
        run = site.wait_state(server.id, "RUNNING", user=user).runs[-1]
        container = next(found for found in site.containers() if found.run == run.server_name)
        output = run_in(site, container.id, "cat ~/kept; echo round >> /home/work/kept; stat -c %u ~ ~/kept")
        said = [line for line in output.splitlines() if not line.startswith("cat:")]
        assert said == ["round"] * round_ + ["13011", "13011"]
        with site.client(user) as client:
            client.jobs.kill(server.id)
        site.wait_state(server.id, "CANCELLED", user=user)
    assert (server.mounts or [])[0].data == f"acme.{user}.home"
    job = site.submit("cat", "/home/mia/kept", user=user, data=[f"acme.{user}.home:/home/mia:ro"])
    site.wait_state(job.id, "SUCCEEDED", user=user)
    assert site.log_of(job.id, user=user) == b"round\nround\n"
    with site.client(user) as client, pytest.raises(InvalidRequest, match="nested"):
        client.jobs.submit({"data": ["home:/home/toolkit", "x:/home/work/x"]})
    job = site.submit("bash", "-c", "echo batch >> ~/kept; cat /home/work/kept", user=user, data=["home:/home/toolkit"])
    site.wait_state(job.id, "SUCCEEDED", user=user)
    assert site.log_of(job.id, user=user).endswith(b"batch\n")
