"""One trial of the runtime folder: a container of some image, confined as a job's, and what it serves, talked to from outside.

Everything comes from the folder, the ssh client included, so a trial needs nothing on this machine but the engine.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import httpx

from toolkit_ext.job_init.log_files import FILES
from toolkit_spawner.accounts import ensure_accounts
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID, HOME, LAB_PORT
from toolkit_spawner.runtime import MOUNT_POINT, job_init_command

__all__ = ["BASE_URL", "GATE", "HOSTILE", "Trial", "TrialFailed"]

BASE_URL = "/user/joe/jtrial/"
SECRET = "the secret of a trial"  # noqa: S105
#: What the gate shows to the job server.
GATE = {"X-Toolkit-Run-Secret": SECRET, "X-Toolkit-User": "joe"}
CONTROL_PORT = 8887
DEADLINE_S = 90
#: What an image may set that would break or take over programs of another libc, Python, Node.js or Jupyter.
HOSTILE = {
    "LD_PRELOAD": "/evil.so",
    "LD_LIBRARY_PATH": "/bin:/lib:/usr/lib/x86_64-linux-gnu",
    "GLIBC_TUNABLES": "glibc.malloc.check=3",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "NODE_OPTIONS": "--require=/evil.js",
    "JUPYTER_CONFIG_DIR": "/proc/self",
    "JUPYTER_PREFER_ENV_PATH": "1",
    "OPENSSL_CONF": "/bin/busybox",
    "LC_ALL": "tlh_QX.unknown",
    "USER": "somebody",
    "TERMINFO_DIRS": "/{nowhere}",
    "QUOTED": "a 'b' \"c\" \\d $e #f",
}


class TrialFailed(Exception):
    """Something that the folder promises did not hold; the text says what."""


class Trial:
    """A container that runs for as long as the block. `folder` is a new one of the trial's own.

    `alter` gets the request for the container before it is made.
    """

    def __init__(
        self,
        engine: Engine,
        runtime: Path,
        image: str,
        folder: Path,
        environment: dict[str, str],
        alter: Callable[[dict[str, Any]], None] = lambda request: None,
    ) -> None:
        self._alter = alter
        self._engine = engine
        self.runtime = runtime.resolve()
        self._image = image
        self._folder = folder
        self._environment = environment
        self.container_id = ""
        self.ip = ""

    def __enter__(self) -> Trial:
        asyncio.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run(self._engine.remove(self.container_id))

    # --- what it serves -----------------------------------------------------------------------------------------------

    def start_job_server(self) -> None:
        """Ask PID 1 for it, and wait."""

        def answered() -> bool:
            answer = asyncio.run(self._ask())
            if answer["state"] == "unavailable":
                raise TrialFailed(f"no job server: {answer['reason']}")
            return answer["state"] == "running"

        self.wait("the job server", answered)
        self.wait("its first answer", lambda: self.get("api").status_code == 200)

    def get(self, path: str) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=DEADLINE_S, follow_redirects=True) as client:
            return client.get(f"http://{self.ip}:{LAB_PORT}{BASE_URL}{path}", headers=GATE)

    def page(self, path: str, words: str) -> None:
        """Raises `TrialFailed` unless the page is there and has the words."""
        answer = self.get(path)
        if answer.status_code != 200 or words not in answer.text:
            raise TrialFailed(f"{path} gave {answer.status_code}: {answer.text[:200]!r}")

    def run_cell(self, code: str) -> str:
        """Have the kernel `python3` run a cell; what it prints."""
        return asyncio.run(asyncio.wait_for(self._run_cell(code), DEADLINE_S))

    async def _run_cell(self, code: str) -> str:
        root = f"http://{self.ip}:{LAB_PORT}{BASE_URL}api/kernels"
        header = {"msg_id": "1", "msg_type": "execute_request", "session": "1", "version": "5.3", "username": "joe"}
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
        request = {
            "header": header,
            "parent_header": {},
            "metadata": {},
            "channel": "shell",
            "buffers": [],
            "content": content,
        }
        async with aiohttp.ClientSession(headers=GATE) as session:
            async with session.post(root, json={"name": "python3"}) as made:
                kernel = (await made.json())["id"]
            async with session.ws_connect(f"{root}/{kernel}/channels") as socket:
                await socket.send_json(request)
                said = ""
                while True:
                    message = await socket.receive_json()
                    if message["parent_header"].get("msg_id") == "1":
                        said += message["content"].get("text", "")
                        if message["content"].get("execution_state") == "idle":
                            return said

    def ssh(self, command: str, data: bytes = b"") -> bytes:
        """Log in with the job's own key, the host key checked, and run a command; its output."""
        return self.client("ssh", [*self.ssh_options(), "work@job", command], data)

    def sftp(self, batch: str) -> bytes:
        return self.client(
            "sftp", ["-S", str(self.ssh_program()), *self.ssh_options(), "-b", "-", "work@job"], batch.encode()
        )

    def ssh_program(self) -> Path:
        """The folder's ssh client, as a program for others to start."""
        script = self._folder / "ssh"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(self.program("ssh"))} "$@"\n')
        script.chmod(0o755)
        return script

    def ssh_options(self) -> list[str]:
        """What makes the client reach the container, as `job`."""
        key, known = self._folder / "key", self._folder / "known_hosts"
        known.write_text(f"job {self.get('sshd/host-key').json()['host_key']}\n")
        key.write_bytes((self.home / "id_container").read_bytes())
        key.chmod(0o600)
        url = f"http://{self.ip}:{LAB_PORT}{BASE_URL}sshd"
        bridge = shlex.join([sys.executable, "-m", "toolkit_spawner.runtime.trial_bridge", url, SECRET])
        options = {
            "ProxyCommand": bridge, "UserKnownHostsFile": str(known), "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes",
            "IdentityFile": str(key), "BatchMode": "yes", "LogLevel": "ERROR",
        }  # fmt: skip
        return ["-F", "none", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]

    def client(self, program: str, words: list[str], data: bytes = b"", **environment: str) -> bytes:
        """Run a program of the folder on this machine; its output. Raises `TrialFailed` unless it ends well."""
        command, variables = [*self.program(program), *words], {**os.environ, **environment}
        done = subprocess.run(command, input=data, capture_output=True, timeout=DEADLINE_S, check=False, env=variables)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace")[-500:]
            raise TrialFailed(
                f"{program} ended with {done.returncode}: {said}; the container's log ends with:\n{self.log()}"
            )
        return done.stdout

    def program(self, name: str) -> list[str]:
        """A program of the folder, which is not at its place on this machine."""
        base = self.runtime / "base"
        return [str(base / "lib/ld.so"), "--library-path", str(base / "lib"), str(base / "bin" / name)]

    @property
    def home(self) -> Path:
        return self._folder / "home"

    def log(self) -> str:
        """The engine's log, for people."""
        return asyncio.run(self._engine.call(lambda client: client.logs(self.container_id))).decode(errors="replace")[
            -2000:
        ]

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + DEADLINE_S
        while not condition():
            if time.monotonic() > end:
                raise TrialFailed(f"not within {DEADLINE_S} s: {what}; the container's log ends with:\n{self.log()}")
            time.sleep(0.05)

    # --- the container ------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._write_files()
        image = await self._engine.image(self._image)
        accounts = await ensure_accounts(self._engine, self._folder / "accounts", str(image["Id"]), "trial")
        binds = [
            f"{self.runtime}:{MOUNT_POINT}:ro",
            f"{accounts.passwd}:/etc/passwd:ro",
            f"{accounts.group}:/etc/group:ro",
            *(f"{self._folder}/{name}:/run/toolkit/{name}" for name in FILES),
            f"{self._folder}/run.json:/run/toolkit/run.json:ro",
            f"{self.home}:{HOME}",
        ]
        path = next(
            (item for item in image["Config"].get("Env") or [] if item.startswith("PATH=")), "PATH=/usr/bin:/bin"
        )
        body: dict[str, Any] = {
            "Image": self._image,
            "Entrypoint": job_init_command(),
            "Cmd": [],
            "User": f"{CONTAINER_UID}:{CONTAINER_GID}",
            "Env": [
                f"HOME={HOME}",
                f"{path}:/opt/toolkit/bin",
                *(f"{key}={value}" for key, value in self._environment.items()),
            ],
            "Labels": {"toolkit.trial": "yes"},
            "HostConfig": {
                "Binds": binds,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Tmpfs": {"/tmp": "rw,exec,mode=1777"},  # noqa: S108
            },
        }
        self._alter(body)
        self.container_id = await self._engine.create(f"toolkit-trial-{os.getpid()}-{time.monotonic_ns()}", body)
        await self._engine.start(self.container_id)
        self.ip = (await self._engine.inspect(self.container_id)).ip or ""

    def _write_files(self) -> None:
        self.home.mkdir(parents=True)
        run = {
            "command": None, "workdir": HOME, "secret": SECRET, "base_url": BASE_URL, "control_port": CONTROL_PORT,
            "lab_port": LAB_PORT, "stop_grace": 5, "prewarm": False,
        }  # fmt: skip
        (self._folder / "run.json").write_text(json.dumps(run))
        for name in FILES:
            (self._folder / name).touch()
        for name in ("run.json", *FILES, "home"):
            os.chown(self._folder / name, CONTAINER_UID, CONTAINER_GID)

    async def _ask(self) -> dict[str, Any]:
        try:
            reader, writer = await asyncio.open_connection(self.ip, CONTROL_PORT)
        except OSError:
            return {"state": "starting"}
        writer.write(json.dumps({"secret": SECRET, "do": "start-job-server"}).encode() + b"\n")
        line = await reader.readline()
        writer.close()
        return json.loads(line) if line else {"state": "starting"}
