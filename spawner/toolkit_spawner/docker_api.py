"""Docker Engine, as the toolkit uses it: the only module that imports docker.

Every call runs in a pool of threads with a time-out, so that a slow or dead engine delays nobody else; calls that may take
long (stopping a container, pulling and building images) have a pool of their own.

Errors are told apart by what is *known*:

- `NoSuchObject`: the engine itself says that there is none.
- `EngineRefused`: the engine answered, and said no.
- `EngineUnavailable`: no answer. Nothing follows from it about any container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from toolkit_spawner.container_state import (
    ADDRESS_LABEL,
    HELD_LABEL,
    INSTANCE_LABEL,
    RUN_LABEL,
    ContainerState,
    container_state,
)
from toolkit_spawner.image_files import overlay_layer, read_image_files

__all__ = [
    "ADDRESS_LABEL",
    "HELD_LABEL",
    "INSTANCE_LABEL",
    "RUN_LABEL",
    "ContainerState",
    "Engine",
    "EngineEvent",
    "EngineRefused",
    "EngineUnavailable",
    "NoSuchObject",
    "WritablePlaces",
    "container_name",
]

ResultT = TypeVar("ResultT")

#: Option of a network: the name of its interface on the machine.
BRIDGE_OPTION = "com.docker.network.bridge.name"

#: Seconds without an answer after which an engine call is given up.
CALL_TIMEOUT_S = 10
#: Seconds without a sign of progress after which a pull is given up.
PULL_STALL_S = 20


def container_name(run: str) -> str:
    """Name of the container of the run with this server name. Two runs never have the same."""
    return f"toolkit-{run}"


class EngineUnavailable(Exception):
    """The engine did not answer."""


class EngineRefused(Exception):
    """The engine answered with an error."""


class NoSuchObject(EngineRefused):
    """The engine knows no such container, image or network."""


@dataclass(frozen=True)
class WritablePlaces:
    """Folders on this machine that a container fills: its writable layer, and volumes that the engine made for it."""

    container_id: str
    pid: int
    folders: list[str]


@dataclass(frozen=True)
class EngineEvent:
    """One event of a container of ours, as `die` or `start`; `time` in seconds since the epoch, by the engine's clock."""

    action: str
    run: str
    container_id: str
    exit_code: int | None
    time: float


class Engine:
    """Calls to one engine. Safe to share between coroutines; `events()` is for a thread of the caller's."""

    def __init__(self, base_url: str | None = None) -> None:
        self._base_url = base_url
        self._local = threading.local()
        self._calls = ThreadPoolExecutor(16, thread_name_prefix="engine")
        self._slow = ThreadPoolExecutor(32, thread_name_prefix="engine-slow")

    def _client(self, timeout: float | None = CALL_TIMEOUT_S) -> Any:
        """A client of this thread's own: requests' sessions are not made for sharing."""
        clients: dict[float | None, Any] = self._local.__dict__.setdefault("clients", {})
        if timeout not in clients:
            options = {"base_url": self._base_url} if self._base_url else docker.utils.kwargs_from_env()
            clients[timeout] = docker.APIClient(version="1.41", timeout=timeout, **options)
        return clients[timeout]

    def _guard(self, call: Callable[[Any], ResultT], timeout: float | None) -> ResultT:
        try:
            return call(self._client(timeout))
        except NotFound as error:
            raise NoSuchObject(str(error.explanation or error)) from error
        except APIError as error:
            if error.is_server_error() and error.response.request.method in ("GET", "HEAD"):
                # Asked what is, it failed to say: that tells nothing about any container.
                raise EngineUnavailable(f"Docker Engine failed to answer: {error.explanation or error}") from error
            raise EngineRefused(str(error.explanation or error)) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise EngineUnavailable(f"Docker Engine does not answer: {error}") from error

    async def call(self, call: Callable[[Any], ResultT], timeout: float = CALL_TIMEOUT_S) -> ResultT:
        """Run `call(client)` in the pool; `client` is a docker ``APIClient``."""
        return await asyncio.get_running_loop().run_in_executor(self._calls, self._guard, call, timeout)

    async def slow_call(self, call: Callable[[Any], ResultT], timeout: float) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._slow, self._guard, call, timeout)

    # --- the engine ---------------------------------------------------------------------------------------------------

    async def ping(self) -> str:
        """The engine's version."""
        version = await self.call(lambda client: client.version())
        return str(version["Version"])

    async def host_name(self) -> str:
        return str((await self.call(lambda client: client.info()))["Name"])

    # --- images -------------------------------------------------------------------------------------------------------

    async def gpu_handover(self) -> Literal["cdi", "nvidia", "nodes"]:
        """By what the engine gives GPUs to containers: CDI where there is a description of NVIDIA's devices (engine 25 or newer),
        else its `nvidia` runtime, else only as device nodes."""
        facts = await self.call(lambda client: client.info())
        folders = [Path(folder) for folder in facts.get("CDISpecDirs") or []]
        if any("nvidia" in file.name for folder in folders if folder.is_dir() for file in folder.iterdir()):
            return "cdi"
        return "nvidia" if "nvidia" in (facts.get("Runtimes") or {}) else "nodes"

    async def image(self, reference: str) -> dict[str, Any]:
        """The image's description. Raises `NoSuchObject` when it is not on this machine."""
        return await self.call(lambda client: client.inspect_image(reference))

    async def pull(self, reference: str) -> None:
        """Fetch an image. Raises `EngineRefused` with the registry's words, also when nothing moves for 20 s."""
        await self.slow_call(lambda client: _pull(client, reference), PULL_STALL_S)

    def build_image(self, folder: Path, tag: str, build_args: dict[str, str], say: Callable[[str], None]) -> None:
        """Build `folder` with the engine's classic builder, handing each line of its output to `say`. Blocks."""
        stream = self._client(None).build(
            path=str(folder), tag=tag, buildargs=build_args, decode=True, rm=True, forcerm=True, pull=False
        )
        _follow(stream, say)

    def import_image(self, archive: BinaryIO, repository: str, tag: str) -> None:
        """Make an image of a root file system's tar. Blocks."""
        answer = self._client(None).import_image_from_data(archive.read(), repository=repository, tag=tag)
        reply = json.loads(answer.strip().splitlines()[-1])
        if "error" in reply:
            raise EngineRefused(str(reply["error"]))

    def has_image(self, reference: str) -> bool:
        """Blocks."""
        try:
            self._guard(lambda client: client.inspect_image(reference), CALL_TIMEOUT_S)
        except NoSuchObject:
            return False
        return True

    def image_label(self, reference: str, label: str) -> str | None:
        """A label of an image; None if it has none or is not on this machine. Blocks."""
        try:
            found = self._guard(lambda client: client.inspect_image(reference), CALL_TIMEOUT_S)
        except NoSuchObject:
            return None
        value = (found["Config"].get("Labels") or {}).get(label)
        return None if value is None else str(value)

    def tag_image(self, reference: str, name: str) -> None:
        """Give an image one more name. Blocks."""
        repository, _, tag = name.partition(":")
        self._guard(lambda client: client.tag(reference, repository, tag or "latest"), CALL_TIMEOUT_S)

    def remove_image(self, reference: str) -> None:
        """Remove an image's name, and the image with its last one; nothing happens if it is gone. Blocks."""
        with contextlib.suppress(NoSuchObject):
            self._guard(lambda client: client.remove_image(reference), CALL_TIMEOUT_S)

    def copy_out(self, reference: str, path: str) -> Iterator[bytes]:
        """A folder of an image, as the pieces of a tar archive. Blocks."""
        config = {"Image": reference, "Entrypoint": ["none"]}
        created = self._guard(lambda client: client.create_container_from_config(config), CALL_TIMEOUT_S)
        try:
            pieces, _ = self._guard(lambda client: client.get_archive(created["Id"], path), None)
            yield from pieces
        finally:
            self._guard(lambda client: client.remove_container(created["Id"], force=True), CALL_TIMEOUT_S)

    async def image_files(self, image: str, paths: Sequence[str], limit: int, instance: str) -> dict[str, bytes]:
        """Those of `paths` that are files in an image, with their content; empty for what is longer than `limit` bytes.

        Links are followed within the image. Nothing of it is run or written anywhere.
        """
        labels = {INSTANCE_LABEL: instance}
        return await self.slow_call(lambda client: read_image_files(client, image, paths, limit, labels), 30)

    # --- containers ---------------------------------------------------------------------------------------------------

    async def find(self, instance: str, run: str) -> ContainerState | None:
        """The container of a run; None only if the engine itself says that there is none.

        By its name, which comes from the run's UUID: one quick call, where a search by label reads all containers.
        """
        try:
            raw = await self.call(lambda client: client.inspect_container(container_name(run)))
        except NoSuchObject:
            return None
        labels = raw["Config"].get("Labels") or {}
        return container_state(raw) if (labels.get(INSTANCE_LABEL), labels.get(RUN_LABEL)) == (instance, run) else None

    async def list_runs(self, instance: str) -> list[ContainerState]:
        """All containers of a site, ended ones included."""
        states = []
        for container_id in await self._list({INSTANCE_LABEL: instance}):
            try:
                states.append(await self.inspect(container_id))
            except NoSuchObject:
                continue  # removed in between
        return states

    async def running(self) -> list[str]:
        """Ids of all running containers of the engine, whoever made them."""
        return [str(item["Id"]) for item in await self.call(lambda client: client.containers())]

    async def _list(self, labels: dict[str, str]) -> list[str]:
        filters = {"label": [f"{key}={value}" for key, value in labels.items()]}
        found = await self.call(lambda client: client.containers(all=True, filters=filters))
        return [str(item["Id"]) for item in found]

    async def inspect(self, container_id: str) -> ContainerState:
        return container_state(await self.call(lambda client: client.inspect_container(container_id)))

    async def writable_places(self, container_id: str) -> WritablePlaces:
        """What a container writes besides the folders that it was given."""
        raw = await self.call(lambda client: client.inspect_container(container_id))
        folders = [item["Source"] for item in raw.get("Mounts") or [] if item.get("Type") == "volume"]
        pid = int(raw["State"]["Pid"])
        layer = ((raw.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or overlay_layer(pid)
        return WritablePlaces(container_id, pid, [*folders, layer] if layer else folders)

    async def stats(self, container_id: str) -> dict[str, Any]:
        """What a container has used, as the engine counts it; one reading, without the second that two would take."""
        return await self.call(lambda client: client.stats(container_id, stream=False, one_shot=True))

    async def create(self, name: str, config: dict[str, Any]) -> str:
        """Create a container from a body of ``POST /containers/create``; the id of an equally named one if it is there."""

        def create(client: Any) -> str:
            try:
                return str(client.create_container_from_config(config, name)["Id"])
            except APIError as error:
                if error.status_code == requests.codes.conflict:
                    return str(client.inspect_container(name)["Id"])
                raise

        return await self.call(create, 30)

    async def start(self, container_id: str) -> None:
        """Start it; nothing happens if it runs already."""
        await self.slow_call(lambda client: client.start(container_id), 60)

    async def stop(self, container_id: str, grace: int) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds. Nothing happens if it has ended."""
        await self.slow_call(lambda client: client.stop(container_id, timeout=grace), grace + CALL_TIMEOUT_S)

    async def remove(self, container_id: str) -> None:
        """Remove it, running or not; nothing happens if it is gone."""
        try:
            await self.slow_call(lambda client: client.remove_container(container_id, force=True, v=True), 30)
        except NoSuchObject:
            return
        except EngineRefused as error:
            if "already in progress" not in str(error):
                raise

    async def ensure_network(self, name: str, bridge: str, instance: str) -> str:
        """Have an IPv4 bridge network on which containers do not reach each other; returns the bridge's own address.

        `bridge` is the name of its interface. Raises `EngineRefused`, also when the name belongs to another kind of network.
        """
        return await self.call(lambda client: _ensure_network(client, name, bridge, instance), 30)

    async def remove_network(self, name: str) -> None:
        """Remove it; nothing happens if it is gone. Raises `EngineRefused` while containers are on it."""
        with contextlib.suppress(NoSuchObject):
            await self.call(lambda client: client.remove_network(name))

    # --- events -------------------------------------------------------------------------------------------------------

    def events(self, instance: str, since: float | None = None) -> Iterator[EngineEvent]:
        """Events of a site's containers as they happen. Blocks; ends or raises when the engine goes away."""
        filters = {
            "type": "container",
            "label": f"{INSTANCE_LABEL}={instance}",
            "event": ["start", "die", "oom", "destroy"],
        }
        options = {"base_url": self._base_url} if self._base_url else docker.utils.kwargs_from_env()
        client = docker.APIClient(version="1.41", timeout=None, **options)
        try:
            for item in client.events(since=since, filters=filters, decode=True):
                attributes = item["Actor"]["Attributes"]
                code = attributes.get("exitCode")
                yield EngineEvent(
                    item["Action"],
                    attributes.get(RUN_LABEL, ""),
                    item["Actor"]["ID"],
                    int(code) if code else None,
                    item["timeNano"] / 1e9,
                )
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise EngineUnavailable(f"Docker Engine's events broke off: {error}") from error
        finally:
            client.close()

    def close(self) -> None:
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)


def _ensure_network(client: Any, name: str, bridge: str, instance: str) -> str:
    options = {BRIDGE_OPTION: bridge, "com.docker.network.bridge.enable_icc": "false"}
    if (found := _network(client, name)) is None:
        try:
            client.create_network(
                name, driver="bridge", check_duplicate=True, options=options, labels={INSTANCE_LABEL: instance}
            )
        except APIError:
            # Another process may have made it at the same moment; if there still is none, the engine's words count.
            if _network(client, name) is None:
                raise
        found = _network(client, name) or {}
    if any((found.get("Options") or {}).get(key) != value for key, value in options.items()) or found.get("EnableIPv6"):
        raise EngineRefused(
            f"there is a network {name} already, and it is not the toolkit's own (bridge {bridge}, IPv4 only, enable_icc off). "
            f"Remove it: docker network rm {name}; or choose another name: c.Toolkit.docker_network"
        )
    return next(str(item["Gateway"]).partition("/")[0] for item in found["IPAM"]["Config"] if item.get("Gateway"))


def _network(client: Any, name: str) -> dict[str, Any] | None:
    # The engine's filter also finds names that only contain this one.
    return next((dict(item) for item in client.networks(names=[name]) if item["Name"] == name), None)


def _pull(client: Any, reference: str) -> None:
    tag = None if "@" in reference or ":" in reference.rpartition("/")[2] else "latest"
    _follow(client.pull(reference, tag=tag, stream=True, decode=True), lambda line: None)


def _follow(stream: Iterator[dict[str, Any]], say: Callable[[str], None]) -> None:
    for item in stream:
        if "error" in item:
            raise EngineRefused(str(item["error"]))
        text = str(item.get("stream") or item.get("status") or "").rstrip()
        if text:
            say(text)
