"""A whole site for tests: the program behind `make run`, on ports and in a state folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import NotFound

from toolkit_client import Client
from toolkit_client.errors import ServiceUnavailable
from toolkit_client.hub_tokens import new_token
from toolkit_client.models import Job, JobSpec
from toolkit_hub.configure import Toolkit
from toolkit_hub.host.readiness import problem_of, routes_problem
from toolkit_hub.host.unit import UNITS
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import INSTANCE_LABEL, RUN_LABEL, ContainerState, Engine, EngineRefused
from toolkit_spawner.mounting import HeldParts
from toolkit_spawner.network import Firewall
from toolkit_spawner.network_pool import HOLDER_LABEL

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = Path(os.environ.get("TOOLKIT_STATE", REPOSITORY / ".toolkit")).absolute() / "runtime"
READY = "Toolkit is ready"
PASSWORD = "correct horse battery"  # for the users of tests
ResultT = TypeVar("ResultT")


def free_base_port() -> int:
    """First of six free ports in a row, below the range of outgoing connections."""
    for base in range(20000 + os.getpid() % 1000 * 10, 32000, 10):
        try:
            for port in range(base, base + 6):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no six free ports in a row")


def wait_until(
    check: Callable[[], ResultT | None],
    what: str,
    timeout: float = 30,
    explain: Callable[[], str] | None = None,
    interval: float = 0.03,
) -> ResultT:
    """The first true result of `check`, or a failure that says what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}\n{explain() if explain else ''}")
        time.sleep(interval)


class RunningSite:
    """Start it, use it through real clients, stop it; `logs()` explains failures."""

    def __init__(
        self,
        state: Path,
        site_values: str = "",
        extra_environment: dict[str, str] | None = None,
        hub_values: str = "",
    ) -> None:
        """`site_values` stand before `configure(c)` in the configuration, `hub_values` after it."""
        self.state = state
        self._extra_environment = extra_environment or {}
        self.port = free_base_port()
        self.config = state / "jupyterhub_config.py"
        state.mkdir(parents=True, exist_ok=True)
        (state / "runtime").symlink_to(RUNTIME)
        text = (REPOSITORY / "jupyterhub_config.py").read_text()
        self.config.write_text(text.replace("configure(c)\n", f"{site_values}\nconfigure(c)\n{hub_values}\n", 1))
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = Toolkit(state_dir=str(state), base_port=self.port)
        self._process: subprocess.Popen[bytes] | None = None
        self._output = state / "make-run.log"
        self._tokens: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("TOOLKIT_")}
        return {
            **kept,
            **self._extra_environment,
            "TOOLKIT_STATE": str(self.state),
            "TOOLKIT_PORT": str(self.port),
            "TOOLKIT_CONFIG": str(self.config),
            "XDG_CONFIG_HOME": str(self.state / "config"),
        }

    def start(self) -> None:
        with self._output.open("ab") as output:
            begin = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "toolkit_hub.host.run"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

        def ready() -> bool:
            assert self._process is not None
            text = self._output.read_bytes()[begin:].decode()
            assert self._process.poll() is None, f"make run ended:\n{self.logs()}"
            return READY in text

        wait_until(ready, "the site to be ready", 90, self.logs)

    def stop(self) -> None:
        """As Ctrl-C does. Jobs run on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def destroy(self) -> None:
        self.stop()
        for container in self._all_containers():
            self.engine_call(lambda engine, found=container: engine.remove(found.id))
        for holder in self.network_holders():
            self.engine_call(lambda engine, found=holder: engine.remove(found))
        wait_until(self._network_is_gone, "the engine to let go of the network")
        Firewall().remove(self.settings.jobs_bridge)
        HeldParts(self.settings.instance_id).close()

    def _network_is_gone(self) -> bool:
        """A container that was just removed may hold its place for a moment longer."""
        try:
            self.engine_call(lambda engine: engine.remove_network(self.settings.docker_network))
        except EngineRefused as error:
            if "active endpoints" not in str(error):
                raise
            return False
        return True

    def unit(self, verb: str, name: str) -> None:
        """`start`, `stop` or `restart` one of proxy, hub, service, gate, and wait until it answers."""
        subprocess.run(
            [sys.executable, "-m", "toolkit_hub.host.units", verb, name],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=90,
        )

    def unit_pid(self, name: str) -> int:
        status = subprocess.run(
            [sys.executable, "-m", "toolkit_hub.host.units", "status"],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        line = next(line for line in status.splitlines() if line.split()[0] == name)
        return int(next(word for word in line.replace(",", " ").split() if word.isdigit()))

    # --- who uses it --------------------------------------------------------------------------------------------------

    @property
    def admin_token(self) -> str:
        return (self.state / "admin-token").read_text().strip()

    @property
    def admin_password(self) -> str:
        return (self.state / "admin-password").read_text().strip()

    def client(self, user: str = "admin") -> Client:
        return Client(url=self.url, token=self.token(user))

    def token(self, user: str = "admin") -> str:
        if user == "admin":
            return self.admin_token
        if user not in self._tokens:
            with self.client() as admin:
                if user not in {known.name for known in admin.users.list()}:
                    admin.users.new({"name": user, "password": PASSWORD})
            self._tokens[user] = new_token(self.url, user, PASSWORD, note="tests")
        return self._tokens[user]

    def cli(
        self, *words: str, user: str = "admin", stdin: str = "", timeout: float = 60, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command line, as a process of its own."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("toolkit")), *words],
            env={**self.environment, "TOOLKIT_URL": self.url, "TOOLKIT_TOKEN": self.token(user)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=cwd,
        )

    def submit(self, *command: str, user: str = "admin", **spec: object) -> Job:
        with self.client(user) as client:
            return client.jobs.submit(JobSpec.model_validate({"command": list(command) or None, **spec}))

    def wait_state(self, job_id: str, *states: str, user: str = "admin", timeout: float = 40) -> Job:
        with self.client(user) as client:

            def reached() -> Job | None:
                try:
                    job = client.jobs.get(job_id)
                except ServiceUnavailable:
                    return None  # a unit that a test has stopped or killed is on its way back
                if job.state not in states and not job.alive:
                    raise AssertionError(f"job {job_id} ended: {job.state} ({job.state_info})")
                return job if job.state in states else None

            return wait_until(reached, f"job {job_id} to be {' or '.join(states)}", timeout, self.logs)

    def log_of(self, job_id: str, user: str = "admin") -> bytes:
        with self.client(user) as client:
            return b"".join(client.jobs.logs(job_id))

    # --- what lies below ----------------------------------------------------------------------------------------------

    def store(self) -> Store:
        return Store(self.settings.database_url)

    def engine_call(self, call: Callable[[Engine], object]) -> object:
        async def run() -> object:
            engine = Engine()
            try:
                return await call(engine)  # type: ignore[misc]
            finally:
                engine.close()

        # In a thread of its own: Playwright's event loop may run in this one.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, run()).result()

    def containers(self) -> list[ContainerState]:
        """Those of runs."""
        return [found for found in self._all_containers() if found.run]

    def _all_containers(self) -> list[ContainerState]:
        found = self.engine_call(lambda engine: engine.list_runs(self.settings.instance_id))
        assert isinstance(found, list)
        return found

    def network_holders(self) -> list[str]:
        """Ids of the containers that hold places on the jobs' network."""
        filters = {"label": f"{HOLDER_LABEL}={self.settings.instance_id}"}
        found = self.engine_call(
            lambda engine: engine.call(lambda client: client.containers(all=True, filters=filters))
        )
        assert isinstance(found, list)
        return [item["Id"] for item in found]

    def raw_containers(self) -> list[dict[str, Any]]:
        """Those of runs, as the engine describes them."""

        labels = [f"{INSTANCE_LABEL}={self.settings.instance_id}", RUN_LABEL]

        def inspect_all(client: Any) -> list[dict[str, Any]]:
            found = client.containers(all=True, filters={"label": labels})
            described = []
            for item in found:
                with contextlib.suppress(NotFound):
                    described.append(client.inspect_container(item["Id"]))
            return described

        result = self.engine_call(lambda engine: engine.call(inspect_all))
        assert isinstance(result, list)
        return result

    def is_ready(self) -> bool:
        """Whether every unit answers, and the proxy has its routes."""
        return not any(problem_of(self.settings, unit) for unit in UNITS) and routes_problem(self.settings) is None

    def logs(self, lines: int = 40) -> str:
        parts = []
        for file in [self._output, *sorted((self.state / "logs").glob("*.log"))]:
            tail = file.read_text(errors="replace").splitlines()[-lines:] if file.exists() else []
            parts.append(f"--- {file.name} (last {len(tail)} lines)\n" + "\n".join(tail))
        return "\n".join(parts)
