"""What users and operators do while something fails: each scenario is done once to see which points it passes, then again
with each of them failing. Whatever fails, what was acknowledged holds, and each command ran exactly once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, TypeVar

from tests.support.engine_relay import EngineRelay
from tests.support.invariants import wait_for_rest
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.client import Client
from toolkit_client.errors import Conflict, ToolkitError
from toolkit_client.models import Job
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.store.tables import Run

#: Ends when its user says so, then tells with its exit code that it was never disturbed; what it printed tells how often it ran.
PATIENT = ["sh", "-c", "echo begun; until [ -e ~/go ]; do sleep 0.1; done; echo done; exit 7"]
#: Every recovery from a fault fits in.
PATIENCE_S = 75
ResultT = TypeVar("ResultT")


def patiently(call: Callable[[], ResultT]) -> ResultT:
    """As a user's script does: what a unit that is away could not answer is asked again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except ToolkitError as error:
            if error.status < 500 or time.monotonic() > deadline:
                raise
        time.sleep(0.2)


@dataclass
class Scene:
    """One performance of a scenario, by one user."""

    site: RunningSite
    relay: EngineRelay
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    job_id: str = ""
    #: Whether the engine was made to refuse to make or start the container, which ends the run.
    start_refused: bool = False
    #: Jobs that end with it.
    followers: list[str] = field(default_factory=list)

    def submit(self, **spec: object) -> None:
        with self.site.client() as client:
            job = patiently(lambda: client.jobs.submit({"command": PATIENT, **spec}, self.key))
        assert self.job_id in ("", job.id), "one key, two jobs"
        self.job_id = job.id

    def job(self) -> Job:
        with self.site.client() as client:
            return patiently(lambda: client.jobs.get(self.job_id))

    def kill(self) -> None:
        with self.site.client() as client, contextlib.suppress(Conflict):  # the first try may have ended it
            patiently(lambda: client.jobs.kill(self.job_id))

    def wait(self, *states: str, runs: int = 1) -> Job:
        """The job in one of the states, or ended."""

        def reached() -> Job | None:
            job = self.job()
            return job if len(job.runs) >= runs and (job.state in states or not job.alive) else None

        return wait_until(
            reached, f"job {self.job_id} to be {' or '.join(states)}", PATIENCE_S, lambda: str(self.job())
        )

    def let_go(self) -> None:
        """Let the command of the newest run end."""
        (self.site.settings.runs_dir / self.job().runs[-1].id / "home" / "go").touch()

    def finish(self) -> None:
        """Wait until it runs, and let it end."""
        if self.wait("RUNNING").alive:
            self.let_go()
            self.wait("SUCCEEDED")

    def remove_container(self) -> None:
        """As an operator does who does not know better."""
        found = self.site.containers()
        assert len(found) == 1
        self.site.engine_call(lambda engine: engine.remove(found[0].id))

    def ended_as_it_should(self) -> None:
        """The newest run ended by itself, and ran once."""
        job = self.job()
        if self.start_refused and job.state == "FAILED" and job.runs[-1].exit_code is None:
            assert "injected" in job.state_info, job.state_info
            return
        assert (job.state, job.state_info) == ("FAILED", "exit code 7")
        assert job.runs[-1].exit_code == 7
        self.ran_once()

    def ran_once(self) -> None:
        with self.site.client() as client:
            assert b"".join(client.jobs.logs(self.job_id)) == b"begun\ndone\n"


class Scenario:
    """`prepare` is done before anything fails, `act` while it does, `settle` and `check` afterwards."""

    name: ClassVar[str]

    def prepare(self, scene: Scene) -> None:
        """A job that runs."""
        scene.submit()
        assert scene.wait("RUNNING").alive

    def act(self, scene: Scene) -> None:
        raise NotImplementedError

    def settle(self, scene: Scene) -> None:
        """Wait for what `act` has begun."""

    def check(self, scene: Scene) -> None:
        scene.ended_as_it_should()
        assert len(scene.job().runs) == 1

    def recover(self, scene: Scene) -> None:
        wait_until(scene.site.is_ready, "all units to answer", PATIENCE_S, interval=0.2)
        self.settle(scene)
        wait_for_rest(scene.site)
        self.check(scene)


class Life(Scenario):
    """The first run of an image, which takes the most steps."""

    name = "submit, start, finish"

    def prepare(self, scene: Scene) -> None:
        shutil.rmtree(scene.site.settings.accounts_dir, ignore_errors=True)

    def act(self, scene: Scene) -> None:
        scene.submit()
        scene.finish()
        wait_for_rest(scene.site)


class Kill(Scenario):
    name = "kill"

    def act(self, scene: Scene) -> None:
        scene.kill()
        scene.wait("CANCELLED")
        wait_for_rest(scene.site)

    def check(self, scene: Scene) -> None:
        assert scene.job().state == "CANCELLED"


class KillDuringStart(Kill):
    name = "kill during the start"

    def prepare(self, scene: Scene) -> None:
        pass

    def act(self, scene: Scene) -> None:
        scene.submit()
        time.sleep(0.15)
        scene.kill()
        scene.wait("CANCELLED")

    def check(self, scene: Scene) -> None:
        if not (scene.start_refused and scene.job().state == "FAILED"):
            super().check(scene)


class Restart(Scenario):
    """A unit is restarted in order while a job runs."""

    unit: ClassVar[str]

    def act(self, scene: Scene) -> None:
        scene.site.unit("restart", self.unit)
        time.sleep(0.5)

    def settle(self, scene: Scene) -> None:
        scene.finish()


class HubRestart(Restart):
    name = "hub restart"
    unit = "hub"


class ServiceRestart(Restart):
    name = "service restart"
    unit = "service"


class EngineRestart(Restart):
    """Its connections break and it is away for a moment; the containers live on, as with `live-restore`."""

    name = "engine restart"

    def act(self, scene: Scene) -> None:
        scene.relay.down()
        time.sleep(1)
        scene.relay.up()
        time.sleep(1)


class EndUnseen(Restart):
    name = "the command ends while the engine is away"

    def act(self, scene: Scene) -> None:
        scene.relay.down()
        scene.let_go()
        time.sleep(1)
        scene.relay.up()
        scene.wait("SUCCEEDED")


class RemovedByHand(Scenario):
    name = "container removed by hand"

    def act(self, scene: Scene) -> None:
        scene.remove_container()
        scene.wait("INTERRUPTED")
        wait_for_rest(scene.site)

    def check(self, scene: Scene) -> None:
        job = scene.job()
        # One that is removed by force ends first, and that may be all that anybody saw.
        assert (job.state, job.runs[0].exit_code) in (("INTERRUPTED", None), ("FAILED", 137))


class RunAgain(Scenario):
    name = "interrupted and started again"

    def prepare(self, scene: Scene) -> None:
        scene.submit(restartable=True)
        assert scene.wait("RUNNING").alive

    def act(self, scene: Scene) -> None:
        with paused(scene.site.unit_pid("service")):  # so that it sees only that the container is gone
            scene.remove_container()
        scene.wait("QUEUED", "RUNNING", runs=2)

    def settle(self, scene: Scene) -> None:
        scene.finish()

    def check(self, scene: Scene) -> None:
        scene.ended_as_it_should()
        first, second = scene.job().runs
        assert (first.state, second.index) == ("INTERRUPTED", 1)


class TimeLimit(Scenario):
    name = "time limit"

    def prepare(self, scene: Scene) -> None:
        scene.submit(maxRunTime=2)
        assert scene.wait("RUNNING").alive

    def act(self, scene: Scene) -> None:
        scene.wait("FAILED")

    def check(self, scene: Scene) -> None:
        job = scene.job()
        assert job.state == "FAILED"
        assert "time limit" in job.state_info


class Family(Scenario):
    """A parent ends, and with it a child that runs and one that waits for its success: in one commit, so never the one alone."""

    name = "the end of a parent"

    def prepare(self, scene: Scene) -> None:
        scene.submit(role="acme.admin.user")
        parent = scene.wait("RUNNING")
        assert parent.alive
        store = scene.site.store()
        with store.begin(write=False) as session:
            token = job_token(session.get_one(Run, parent.runs[-1].id))
        store.close()
        with Client(scene.site.url, token) as inside:
            running = inside.jobs.submit({"command": ["sleep", "300"]})
            waiting = inside.jobs.submit({"command": ["true"], "after": [parent.id], "detach": True})
        scene.followers = [running.id, waiting.id]
        scene.site.wait_state(running.id, "RUNNING")

    def act(self, scene: Scene) -> None:
        scene.let_go()
        scene.wait("FAILED")
        wait_for_rest(scene.site)

    def check(self, scene: Scene) -> None:
        super().check(scene)
        with scene.site.client() as client:
            child, waiting = (patiently(partial(client.jobs.get, job_id)) for job_id in scene.followers)
        assert child.state == waiting.state == "CANCELLED"
        assert child.state_info == f"killed: its parent job {scene.job_id} has ended"
        assert waiting.state_info == f"job {scene.job_id} failed: exit code 7"


class Preemption(Scenario):
    """A job with both GPUs (SIMULATED) is stopped for one of a higher class, and comes again when that has ended."""

    name = "stopped for another job and started again"
    asks: ClassVar[dict[str, float]] = {"gpu": 2, "cpu": 1, "mem": 1}

    def prepare(self, scene: Scene) -> None:
        scene.submit(preemptable=True, restartable=True, resources=self.asks)
        assert scene.wait("RUNNING").alive
        scene.followers = []

    def act(self, scene: Scene) -> None:
        with scene.site.client() as client:
            wanted = {"command": ["true"], "resources": {**self.asks, "gpu": 1}}
            urgent = patiently(lambda: client.jobs.submit(wanted, f"{scene.key}-urgent"))
        scene.followers = [urgent.id]
        scene.wait("QUEUED", "RUNNING", runs=2)

    def settle(self, scene: Scene) -> None:
        assert scene.followers, "what was acknowledged is there"
        scene.site.wait_state(scene.followers[0], "SUCCEEDED", "FAILED", timeout=PATIENCE_S)
        scene.wait("QUEUED", "RUNNING", runs=2)
        scene.finish()

    def check(self, scene: Scene) -> None:
        scene.ended_as_it_should()
        first, second = scene.job().runs
        assert (first.state, second.index) == ("INTERRUPTED", 1)
        assert first.state_info.startswith(f"stopped to make room for job {scene.followers[0]}")
        with scene.site.client() as client:
            urgent = patiently(partial(client.jobs.get, scene.followers[0]))
        refused = scene.start_refused and "injected" in urgent.state_info
        assert urgent.state == "SUCCEEDED" or refused, urgent.state_info
        assert len(urgent.runs) == 1


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process is held while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


SCENARIOS: tuple[Scenario, ...] = (
    Life(),
    Kill(),
    KillDuringStart(),
    HubRestart(),
    ServiceRestart(),
    EngineRestart(),
    EndUnseen(),
    RemovedByHand(),
    RunAgain(),
    TimeLimit(),
    Family(),
    Preemption(),
)
