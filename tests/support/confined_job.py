"""Jobs in containers exactly as the spawner asks the engine for them, without a site around them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from tests.docker.run_container import wait_for
from toolkit_spawner.accounts import ensure_accounts
from toolkit_spawner.docker_api import ContainerState, Engine
from toolkit_spawner.hardening import container_config, place_in, run_file
from toolkit_spawner.launch import JobNetwork, LaunchSpec
from toolkit_spawner.mounting import HeldParts, make_mount_points
from toolkit_spawner.network import Firewall, NetworkKeeper, isolate_ports
from toolkit_spawner.network_pool import HOLDER_LABEL, NetworkPlace, NetworkPool
from toolkit_spawner.run_files import prepare_run_files
from toolkit_spawner.runtime import LAB_IMAGE, job_init_command

__all__ = ["LISTENER", "ConfinedJob", "JobHouse"]

#: Serves any TCP connection and any UDP packet on port 8080 with a word.
LISTENER = """
import socket, socketserver, threading
class Tcp(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b"here")
class Udp(socketserver.BaseRequestHandler):
    def handle(self): self.request[1].sendto(b"here", self.client_address)
socketserver.ThreadingTCPServer.allow_reuse_address = True
udp = socketserver.ThreadingUDPServer(("0.0.0.0", 8080), Udp)
threading.Thread(target=udp.serve_forever, daemon=True).start()
tcp = socketserver.ThreadingTCPServer(("0.0.0.0", 8080), Tcp)
print("listening", flush=True)
tcp.serve_forever()
"""

#: Tries each "tcp|udp HOST PORT" of its arguments; prints what came of it as JSON.
PROBE = """
import json, socket, sys, threading
found = {}
def tcp(host, port):
    with socket.create_connection((host, port), 3) as connection:
        return connection.recv(16).decode() or "open"
def udp(host, port):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(3)
        sender.connect((host, port))
        sender.send(b"?")
        return sender.recv(16).decode()
def probe(target):
    kind, host, port = target.split()
    try:
        found[target] = {"tcp": tcp, "udp": udp}[kind](host, int(port))
    except OSError as error:
        found[target] = f"refused: {error}"
threads = [threading.Thread(target=probe, args=(target,)) for target in sys.argv[1:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(found))
"""

ResultT = TypeVar("ResultT")


class ConfinedJob:
    def __init__(self, house: JobHouse, folder: Path, container: ContainerState, name: str) -> None:
        self._house = house
        self.folder, self.id, self.ip = folder, container.id, str(container.ip)
        #: What the engine's name server calls its address.
        self.name = name

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def wait_log(self, text: str) -> None:
        wait_for(f"{text!r} in the log", lambda: text in self.log())

    def output(self) -> str:
        """What it wrote, once it has ended."""
        wait_for("its end", lambda: not self._house.call(self._house.engine.inspect(self.id)).running)
        return self.log()


class JobHouse:
    """A jobs' network of its own, and jobs on it. `close()` leaves nothing behind. `prepared`: each in a prepared place."""

    def __init__(self, engine: Engine, runtime: Path, folder: Path, prepared: bool = False, **network: Any) -> None:
        key = uuid.uuid4().hex[:12]
        self.engine, self._runtime, self._folder = engine, runtime, folder
        self.network = JobNetwork(name=f"toolkit-jobs-{key}", bridge=f"tk-{key}", instance=key, **network)
        self._runner = asyncio.Runner()
        self.keeper = NetworkKeeper(engine)
        self.pool = NetworkPool(engine, self.keeper, LAB_IMAGE, 3)
        self._prepared = prepared
        self._parts = HeldParts(key)
        self._started: list[str] = []

    def call(self, call: Awaitable[ResultT]) -> ResultT:
        async def wait() -> ResultT:
            return await call

        return self._runner.run(wait())

    def start(self, *command: str, image: str = LAB_IMAGE, mem: float = 0.5, **fields: Any) -> ConfinedJob:
        return self.call(self._start(list(command), image, mem, fields))

    async def _start(self, command: list[str], image: str, mem: float, fields: dict[str, Any]) -> ConfinedJob:
        name = f"j{uuid.uuid4().hex[:26]}"
        folder = self._folder / name
        spec = LaunchSpec.model_validate(
            {
                "run_id": name, "server_name": name, "owner": "joe", "job_id": str(uuid.uuid4()), "image": image,
                "image_name": image, "instance": self.network.instance, "pull": False, "command": command, "workdir": "",
                "environment": {"HOME": "/home/toolkit", "PATH": "/usr/local/bin:/usr/bin:/bin"}, "cpu": 1.0, "mem": mem,
                "stop_grace": 3, "log_quota": 256, "prewarm": False, "base_url": "/user/joe/x/", "secret": "secret",
                "run_dir": str(folder), "runtime_dir": str(self._runtime.parent), "home_dir": str(folder / "home"),
                "accounts_dir": str(self._folder / "accounts"), "network": self.network, **fields,
            }
        )  # fmt: skip
        prepare_run_files(folder, folder / "home", run_file(spec, command))
        found = await self.engine.image(image)
        accounts = await ensure_accounts(self.engine, self._folder / "accounts", found["Id"], self.network.instance)
        await self.keeper.ensure(self.network)
        make_mount_points(Path(spec.home_dir), spec.mounts)
        place = await self.place() if self._prepared else None
        with self._parts.hold(name, spec.mounts) as sources:
            body = container_config(spec, job_init_command(), str(self._runtime), accounts, sources)
            if place is not None:
                body = place_in(body, place.holder, place.ip)
            created = await self.engine.create(f"toolkit-{name}", body)
            if place is not None:
                self.pool.settled(place)
            self._started.append(created)
            await self.engine.start(created)
        isolate_ports(self.network.bridge)
        known_as = f"toolkit-{name}" if place is None else place.holder[:12]
        return ConfinedJob(self, folder, await self.engine.inspect(created), known_as)

    async def place(self) -> NetworkPlace:
        await self.pool.fill(self.network)
        place = await self.pool.take(self.network)
        assert place is not None
        return place

    def holders(self) -> list[str]:
        """Ids of the containers that hold this house's places."""
        filters = {"label": f"{HOLDER_LABEL}={self.network.instance}"}
        found = self.call(self.engine.call(lambda client: client.containers(all=True, filters=filters)))
        return [item["Id"] for item in found]

    def listener(self) -> ConfinedJob:
        job = self.start("python3", "-c", LISTENER)
        job.wait_log("listening")
        return job

    def probe(self, *targets: str) -> dict[str, str]:
        """What a job finds at each "tcp|udp HOST PORT": the word of who answers, or why nothing does."""
        return dict(json.loads(self.start("python3", "-c", PROBE, *targets).output()))

    def close(self) -> None:
        self.call(self.pool.close())
        self._parts.close()
        for container in (*self._started, *self.holders()):
            self.call(self.engine.remove(container))
        self.call(self.engine.remove_network(self.network.name))
        Firewall().remove(self.network.bridge)
        self._runner.close()
