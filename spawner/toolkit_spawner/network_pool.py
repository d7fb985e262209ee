"""Places on the jobs' network that are ready before a job needs one.

The engine takes longer to connect a container to a network than to start its process. So some idle containers, the *holders*,
stand on the jobs' network in advance, and a run is started in the network namespace of one of them
(``NetworkMode: container:ID``): with an address, name server and firewall of its own like any other job, for a holder is only
ever lent to one run at a time. When the run's container has ended, none of its processes is left (its PID 1 is gone), and it
had no right to change anything of the network. The place *rests* until the kernel has forgotten the run's connections (a minute,
as a rule): a server of the next run could not listen on their ports. Then it is free for another.

All of this is a matter of speed only. When no place is free, or the engine does not like one, the run's container is connected
to the network directly.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit_spawner.docker_api import RUN_LABEL, Engine, EngineRefused, EngineUnavailable, NoSuchObject
from toolkit_spawner.hardening import OWN_PORTS, holder_config
from toolkit_spawner.launch import JobNetwork
from toolkit_spawner.network import NetworkKeeper, NetworkProblem, isolate_ports

__all__ = ["HOLDER_LABEL", "NetworkPlace", "NetworkPool"]

log = logging.getLogger("toolkit.network")

#: Label of a holder; its value is the site's id. Holders lack the labels by which runs are found.
HOLDER_LABEL = "toolkit.network-holder"
#: Label that tells holders of a network with other properties (name servers, bridge) from those that fit.
SHAPE_LABEL = "toolkit.network-shape"
#: The pool is looked after when no run has taken a place for this long: its work must not delay the starts.
QUIET_S = 1.0
#: Seconds between two looks at what is free while runs start one after the other.
COUNT_EVERY_S = 1.0
#: Seconds that `close` waits for the engine.
CLOSE_S = 5.0
#: The state of a socket that listens, in /proc/PID/net/tcp.
TCP_LISTEN = "0A"
#: A container in one of these states has no process, and gets none: nothing starts an ended run's container again.
ENDED = ("exited", "dead")


@dataclass(frozen=True)
class NetworkPlace:
    """A network namespace: the id of the container that holds it, and its address on the jobs' network."""

    holder: str
    ip: str


class NetworkPool:
    """Keeps `size` places free on one site's network, for coroutines of one event loop. 0: keeps none."""

    def __init__(self, engine: Engine, keeper: NetworkKeeper, image: str, size: int) -> None:
        self._engine, self._keeper, self._image, self._size = engine, keeper, image, size
        self._free: dict[str, str] = {}
        #: Places that are lent: until when a listing of the engine cannot be trusted to show the borrower (None: still unknown).
        self._lent: dict[str, float | None] = {}
        self._pids: dict[str, int] = {}
        #: Of whoever counts or adds: a listing shows a holder that is just being made as one that does not run.
        self._upkeep = asyncio.Lock()
        self._closed = False
        self._last_taken = 0.0
        self._counted = float("-inf")
        self._tending: asyncio.Task[None] | None = None

    async def take(self, network: JobNetwork) -> NetworkPlace | None:
        """A free place, for one run, until `settled`; None when there is none. Has more made ready.

        Raises `EngineUnavailable`, `EngineRefused`.
        """
        if not self._size:
            return None
        self._last_taken = asyncio.get_running_loop().time()
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._tend(network))
        if not self._free and self._last_taken - self._counted > COUNT_EVERY_S and not self._upkeep.locked():
            async with self._upkeep:
                await self._count(network)  # runs that have ended meanwhile have left their places
        if not self._free:
            return None
        holder, ip = self._free.popitem()
        self._lent[holder] = None
        return NetworkPlace(holder, ip)

    def settled(self, place: NetworkPlace) -> None:
        """The borrower's container is at the engine, or will never be: from now on a new listing tells whether it is lent."""
        self._lent[place.holder] = asyncio.get_running_loop().time()

    async def close(self) -> None:
        """Stop looking after the pool; the holders stay, for the next process that has one."""
        self._closed = True
        if self._tending is not None:
            if (
                self._upkeep.locked()
            ):  # a holder that is half made is made, else the engine makes it with nobody to know
                await asyncio.wait([self._tending], timeout=CLOSE_S)
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)

    async def fill(self, network: JobNetwork) -> None:
        """Have `size` places free. Raises `NetworkProblem`, `EngineUnavailable`, `EngineRefused`."""
        async with self._upkeep:
            await self._count(network)
            while len(self._free) < self._size and not self._closed:
                await self._add(network)

    async def _tend(self, network: JobNetwork) -> None:
        await self._quiet()
        try:
            await self.fill(network)
        except (EngineUnavailable, EngineRefused, NetworkProblem, OSError) as error:
            log.warning("no network place was made ready (%s): runs are connected when they start", error)

    async def _quiet(self) -> None:
        now = asyncio.get_running_loop().time
        while (wait := self._last_taken + QUIET_S - now()) > 0:  # noqa: ASYNC110 - it waits for time to pass
            await asyncio.sleep(wait)

    async def _count(self, network: JobNetwork) -> None:
        """Learn from the engine which places are free; remove what is of no use any more."""
        asked = self._counted = asyncio.get_running_loop().time()
        found = await self._engine.call(lambda client: client.containers(all=True))
        used = {item["HostConfig"]["NetworkMode"] for item in found if _may_run(item)}
        free: dict[str, str] = {}
        resting = 0
        for item in found:
            labels = item.get("Labels") or {}
            if labels.get(HOLDER_LABEL) != network.instance or f"container:{item['Id']}" in used:
                continue
            settled = self._lent.get(item["Id"], 0.0)
            if settled is None or settled >= asked:
                continue  # lent to a run whose container this listing may not show yet
            ip = _address(item, network)
            enough = len(free) + resting >= 2 * self._size
            if ip is None or labels.get(SHAPE_LABEL) != _shape(network, self._image) or enough:
                self._free.pop(item["Id"], None)  # nobody takes it while it goes
                await self._engine.remove(item["Id"])
            elif await self._rests(item["Id"]):
                resting += 1
            else:
                free[item["Id"]] = ip
        present = {item["Id"] for item in found}
        self._lent = {
            holder: settled
            for holder, settled in self._lent.items()
            if settled is None or settled >= asked or (holder in present and holder not in free)
        }
        self._pids = {holder: pid for holder, pid in self._pids.items() if holder in present}
        # What was taken while the engine was asked is not free, whatever the listing says.
        self._free = {holder: ip for holder, ip in free.items() if holder not in self._lent}

    async def _rests(self, holder: str) -> bool:
        """Whether connections of the run before are still known to the kernel, or nobody can tell."""
        if holder not in self._pids:
            try:
                self._pids[holder] = (await self._engine.inspect(holder)).pid
            except NoSuchObject:
                return True
        return await asyncio.to_thread(_remembers, self._pids[holder])

    async def _add(self, network: JobNetwork) -> None:
        await self._keeper.ensure(network)
        labels = {HOLDER_LABEL: network.instance, SHAPE_LABEL: _shape(network, self._image)}
        name = f"toolkit-network-{uuid.uuid4().hex[:12]}"
        created = await self._engine.create(name, holder_config(network, self._image, labels))
        try:
            await self._engine.start(created)
            await asyncio.to_thread(isolate_ports, network.bridge)
            found = await self._engine.inspect(created)
        except BaseException:
            await self._engine.remove(created)
            raise
        if not found.running or found.ip is None:
            await self._engine.remove(created)
            raise EngineRefused(f"a network holder ended at once (exit code {found.exit_code})")
        self._free[created], self._pids[created] = found.ip, found.pid


def _may_run(item: dict[str, Any]) -> bool:
    return RUN_LABEL in (item.get("Labels") or {}) and item["State"] not in ENDED


def _address(item: dict[str, Any], network: JobNetwork) -> str | None:
    """Its address on the network, if it runs there."""
    place = (item["NetworkSettings"]["Networks"] or {}).get(network.name) or {}
    return (place.get("IPAddress") or None) if item["State"] == "running" else None


def _remembers(pid: int) -> bool:
    """Whether the network namespace of a process has TCP connections, ended ones included (proc_pid_net(5), TIME_WAIT).

    What listens is the engine's name server, as no process of a run is left. And connections to our own ports keep nobody from
    listening there, as what listens there allows it (SO_REUSEADDR).
    """
    try:
        tables = [Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6")]
    except OSError:
        return True
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return any(row[3] != TCP_LISTEN and int(row[1].rpartition(":")[2], 16) not in OWN_PORTS for row in rows)


def _shape(network: JobNetwork, image: str) -> str:
    return hashlib.sha256(f"{network.name} {network.bridge} {network.internet} {image}".encode()).hexdigest()[:16]
