"""One run in a container, as the spawner starts it: read-only runtime, no capabilities, the jobs' user."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker

from toolkit_ext.job_init.log_files import FILES
from toolkit_spawner.runtime import LAB_IMAGE, job_init_command

__all__ = ["SECRET", "RunContainer", "wait_for"]

SECRET = "the-run-secret"
USER = 13011
DEADLINE_S = 60.0


def wait_for(what: str, condition: Callable[[], Any], seconds: float = DEADLINE_S) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


class RunContainer:
    def __init__(self, runtime: Path, folder: Path) -> None:
        self._runtime = runtime
        self._folder = folder
        self._client = docker.APIClient(version="1.41", timeout=60)
        self.id = ""

    def start(
        self,
        command: list[str] | None,
        *,
        image: str = LAB_IMAGE,
        env: dict[str, str] | None = None,
        host_config: dict[str, Any] | None = None,
        **fields: Any,
    ) -> RunContainer:
        self._write_files(command, fields)
        binds = [
            f"{self._runtime}:/opt/toolkit:ro",
            *(f"{self._folder}/{name}:/run/toolkit/{name}" for name in FILES),
            f"{self._folder}/run.json:/run/toolkit/run.json:ro",
            f"{self._folder}/home:/home/toolkit",
        ]
        config = {
            "Image": image,
            "Entrypoint": job_init_command(),
            "Cmd": [],
            "User": f"{USER}:{USER}",
            "Env": [f"{key}={value}" for key, value in ({"HOME": "/home/toolkit"} | (env or {})).items()],
            "HostConfig": {
                "Binds": binds,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                **(host_config or {}),
            },
        }
        self.id = self._client.create_container_from_config(config)["Id"]
        self._client.start(self.id)
        return self

    def _write_files(self, command: list[str] | None, fields: dict[str, Any]) -> None:
        (self._folder / "home").mkdir(parents=True)
        run = {
            "command": command, "workdir": "/home/toolkit", "secret": SECRET, "base_url": "/user/joe/jx/",
            "control_port": 8887, "lab_port": 8888, "stop_grace": 10, "prewarm": False,
        }  # fmt: skip
        (self._folder / "run.json").write_text(json.dumps(run | fields))
        (self._folder / "run.json").chmod(0o400)
        for name in FILES:
            (self._folder / name).touch()
        for name in ("run.json", *FILES, "home"):
            os.chown(self._folder / name, USER, USER)

    def code(self) -> int:
        return int(self._client.wait(self.id, timeout=DEADLINE_S)["StatusCode"])

    @property
    def folder(self) -> Path:
        """The run's folder on this machine."""
        return self._folder

    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")

    def engine_log(self) -> str:
        return str(self._client.logs(self.id).decode(errors="replace"))

    def wait_log(self, text: str) -> None:
        wait_for(f"{text!r} in the log", lambda: text in self.log())

    def state(self) -> dict[str, Any]:
        return dict(self._client.inspect_container(self.id)["State"])

    def stop(self, grace: int) -> None:
        self._client.stop(self.id, timeout=grace)

    @property
    def ip(self) -> str:
        return str(self._client.inspect_container(self.id)["NetworkSettings"]["IPAddress"])

    def exec(self, *command: str) -> str:
        """Run a command in the container; its output."""
        created = self._client.exec_create(self.id, list(command))
        return str(self._client.exec_start(created["Id"]).decode(errors="replace"))

    def processes(self) -> list[str]:
        """Command lines of the container's processes."""
        return [row[-1] for row in self._client.top(self.id, ps_args="-eo pid,args")["Processes"]]

    def ask_server(self, what: str = "start-job-server") -> dict[str, str]:
        """Ask PID 1 for the job server, or for something else."""
        line = json.dumps({"secret": SECRET, "do": what}).encode() + b"\n"
        with wait_for("the control port", self._connect) as connection:
            connection.sendall(line)
            return json.loads(connection.makefile("rb").readline())  # type: ignore[no-any-return]

    def _connect(self) -> socket.socket | None:
        """None while nothing is there yet; that of a container that has ended never comes."""
        try:
            return socket.create_connection((self.ip, 8887), 10)
        except OSError as error:
            # Of an address that another container had until now, the machine may still believe that it is gone.
            if error.errno not in (errno.ECONNREFUSED, errno.EHOSTUNREACH):
                raise
        state = self.state()
        if not state["Running"]:
            raise AssertionError(f"the container has ended: {state}\n{self.engine_log()}\n{self.log()}")
        return None

    def remove(self) -> None:
        if self.id:
            self._client.remove_container(self.id, force=True, v=True)
        self._client.close()
