"""The spawner: each running job is a named server, and this starts and stops its container.

The service decides what runs; this executes. Terms: *unknown* is not *dead*. When the engine or the service does not answer,
`poll()` says "running" and `stop()` stops nothing, for a job must outlive every part of the hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from dockerspawner import DockerSpawner
from traitlets import Int, Unicode

from toolkit_spawner.accounts import ensure_accounts
from toolkit_spawner.docker_api import (
    ContainerState,
    Engine,
    EngineRefused,
    EngineUnavailable,
    NoSuchObject,
    container_name,
)
from toolkit_spawner.hardening import container_config, place_in, run_file
from toolkit_spawner.launch import JobNetwork, LaunchSpec
from toolkit_spawner.mounting import HeldParts, MountProblem, make_mount_points
from toolkit_spawner.network import NetworkKeeper, NetworkProblem, isolate_ports
from toolkit_spawner.network_pool import NetworkPool
from toolkit_spawner.run_files import prepare_run_files
from toolkit_spawner.runtime import LAB_IMAGE, job_init_command
from toolkit_spawner.service_api import LaunchRefused, ServiceApi, ServiceUnavailable

__all__ = ["ToolkitSpawner"]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotStart(Exception):
    """Why a run cannot start, in the words that its user reads."""


@cache
def _engine() -> Engine:
    """One for the hub: its pools are shared by all spawners."""
    return Engine()


@cache
def _network() -> NetworkKeeper:
    return NetworkKeeper(_engine())


@cache
def _network_pool(size: int) -> NetworkPool:
    return NetworkPool(_engine(), _network(), LAB_IMAGE, size)


@cache
def _held_parts(instance: str) -> HeldParts:
    return HeldParts(instance)


@cache
def _service(url: str, token: str) -> ServiceApi:
    return ServiceApi(url, token)


class ToolkitSpawner(DockerSpawner):
    """Runs what the toolkit's service has admitted, behind the gate."""

    gate_url = Unicode(help="Address of the gate's side for the proxy; every server's address at the hub.").tag(
        config=True
    )
    service_url = Unicode(help="Address of the toolkit's service on this machine.").tag(config=True)
    service_token = Unicode(help="Secret that the spawner shows to the service.").tag(config=True)
    public_url = Unicode(help="Address that users type; for links in messages.").tag(config=True)
    instance = Unicode(help="Id of this site, by which its containers are known.").tag(config=True)
    network_pool = Int(0, min=0, help="Network places that are kept ready.").tag(config=True)

    # --- what JupyterHub calls ----------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Start the run's container, or adopt the one that runs. Returns the gate's address.

        Raises `LaunchRefused` for what is no admitted run, and for a run that cannot be started (the service has recorded
        why); `ServiceUnavailable` when the service or the engine does not answer, and it should be tried again.
        """
        if not self.name:
            raise LaunchRefused(
                f"Servers are started from the jobs page: {self.public_url}/services/toolkit/ (“Start my server”)."
            )
        spec = await self._service.launch(self.user.name, self.name)
        try:
            container = await self._running_container(spec)
            node_name = await self._node_name()
        except EngineUnavailable as error:
            raise ServiceUnavailable(str(error)) from error
        except (CannotStart, EngineRefused, OSError) as error:
            reason = str(error) if isinstance(error, CannotStart) else f"could not be started: {error}"
            await self._service.failed(self.name, reason)
            raise LaunchRefused(f"The run {self.name} was not started: {reason}") from error
        self.object_id = container.id
        await self._service.started(
            self.name,
            container_id=container.id,
            ip=container.ip,
            image_digest=container.image,
            node_name=node_name,
        )
        return str(self.gate_url)

    async def get_url(self) -> str:
        """Where the hub finds the server: always the gate. Asks nobody, so it cannot fail."""
        return f"{self.gate_url}{self.server.base_url}" if self.server else str(self.gate_url)

    async def poll(self) -> int | None:
        """None while it runs or nobody knows; only the engine's own word ends a server."""
        if not self.name:
            return 0
        try:
            container = await self._find()
        except (EngineUnavailable, EngineRefused, ServiceUnavailable) as error:
            self.log.warning("Nothing is known about %s: %s", self._log_name, error)
            return None
        if container is None:
            return 1
        if container.created_only:
            return 1  # a start broke off before it; the next one goes on from here
        return None if container.running else container.exit_code

    async def stop(self, now: bool = False) -> None:
        """Stop the container if the service wants it stopped; leave it alone if only the hub does.

        The container stays for the service, which reads how it ended.
        """
        if await self._service.wanted(self.name):
            self.log.warning("The service wants %s to run: its container is left alone", self._log_name)
            return
        try:
            container = await self._find()
            if container is None:
                return
            if container.created_only:
                await _engine().remove(container.id)
            elif container.running:
                await _engine().stop(container.id, grace=0 if now else self._stop_grace)
        except NoSuchObject:
            return
        except (EngineUnavailable, EngineRefused) as error:
            self.log.warning("Could not stop %s; the service will: %s", self._log_name, error)

    async def delete_forever(self) -> None:
        """The service removes containers, when it has read how they ended."""

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self._stop_grace = int(state.get("toolkit_stop_grace", 10))

    def get_state(self) -> dict[str, Any]:
        state = dict(super().get_state())
        state["toolkit_stop_grace"] = self._stop_grace
        return state

    # --- the container ------------------------------------------------------------------------------------------------

    _stop_grace = 10

    @property
    def _service(self) -> ServiceApi:
        return _service(self.service_url, self.service_token)

    async def _find(self) -> ContainerState | None:
        """The run's container, by label: the hub's own record of it can be lost."""
        return await _engine().find(self.instance, self.name)

    async def _running_container(self, spec: LaunchSpec) -> ContainerState:
        self._stop_grace = spec.stop_grace
        container = await _engine().find(spec.instance, spec.server_name)
        if container is not None and not container.created_only:
            return container  # it runs, or has ended: in both cases there is nothing to start
        if container is None and spec.started:
            raise LaunchRefused(f"The container of the run {self.name} is gone; the service records how the run ended.")
        if container is not None and (container.borrowed_network or container.held_mounts):
            # Made by a hub that died before it started it: by now its network place may be another run's, and nobody holds
            # its mounts.
            await _engine().remove(container.id)
            container = None
        if container is None:
            return await self._made_and_started(spec)
        await _close_off(spec.network)
        return await self._start_container(container.id, spec.network)

    async def _made_and_started(self, spec: LaunchSpec) -> ContainerState:
        async with _held(spec) as sources:
            body, _ = await asyncio.gather(self._prepare(spec, sources), _close_off(spec.network))
            return await self._started_in_place(spec, body) or await self._created_and_started(spec, body)

    async def _started_in_place(self, spec: LaunchSpec, body: dict[str, Any]) -> ContainerState | None:
        """The run in a network place that was ready; None when there is none, or none that the engine likes."""
        pool = _network_pool(self.network_pool)
        place = await pool.take(spec.network)
        if place is None:
            return None
        try:
            container_id = await _engine().create(
                container_name(spec.server_name), place_in(body, place.holder, place.ip)
            )
            return await self._start_container(container_id)
        except EngineRefused as error:
            self.log.warning("%s was not started in a prepared network place: %s", self._log_name, error)
            return None
        finally:
            pool.settled(place)

    async def _created_and_started(self, spec: LaunchSpec, body: dict[str, Any]) -> ContainerState:
        container_id = await _engine().create(container_name(spec.server_name), body)
        return await self._start_container(container_id, spec.network)

    async def _start_container(self, container_id: str, network: JobNetwork | None = None) -> ContainerState:
        """Start it; `network`: the one that it is connected to now. One that the engine refuses to start is removed."""
        try:
            await _engine().start(container_id)
            if network is not None:
                await asyncio.to_thread(isolate_ports, network.bridge)
        except EngineRefused:
            await _engine().remove(container_id)
            raise
        return await _engine().inspect(container_id)

    async def _prepare(self, spec: LaunchSpec, sources: list[str]) -> dict[str, Any]:
        """Everything on this machine that the container needs; returns the request that makes it."""
        image = await self._image(spec)
        config = dict(image.get("Config") or {})
        spec = _complete(spec, config)
        command = spec.command
        if command is None:
            command = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
            if not command:
                raise CannotStart(f"the image {spec.image_name} has no command of its own: give one after `--`")
        home = Path(spec.home_dir)
        await asyncio.to_thread(prepare_run_files, Path(spec.run_dir), home, run_file(spec, command or None))
        try:
            await asyncio.to_thread(make_mount_points, home, spec.mounts)
        except MountProblem as error:
            raise CannotStart(str(error)) from error
        runtime = (Path(spec.runtime_dir) / "current").resolve()
        if not runtime.is_dir():
            raise CannotStart("the job runtime has not been built on this machine: run `make runtime`")
        accounts = await ensure_accounts(_engine(), Path(spec.accounts_dir), str(image["Id"]), spec.instance)
        return container_config(spec, job_init_command(), str(runtime), accounts, sources)

    async def _image(self, spec: LaunchSpec) -> dict[str, Any]:
        """The image's description, pulled if need be. Raises `CannotStart` saying where it was looked for."""
        try:
            return await _engine().image(spec.image)
        except NoSuchObject:
            if not spec.pull:
                raise CannotStart(
                    f"image not found: {spec.image_name} is not on this machine, and this site does not pull it"
                ) from None
        await self._service.progress(self.name, f"pulling the image {spec.image}")
        try:
            await _engine().pull(spec.image)
        except (EngineRefused, EngineUnavailable) as error:
            raise CannotStart(
                f"image not found: {spec.image_name} is not on this machine, and its registry gave: {error}"
            ) from error
        image = await _engine().image(spec.image)
        await self._service.pulled(self.name, reference=spec.image, image_id=str(image["Id"]))
        return image

    async def _node_name(self) -> str:
        if not self._node:
            type(self)._node = await _engine().host_name()
        return self._node

    _node = ""


@asynccontextmanager
async def _held(spec: LaunchSpec) -> AsyncIterator[list[str]]:
    """The folders to bind for the data, held until the container has started. Raises `CannotStart`."""
    with ExitStack() as stack:
        try:
            holding = _held_parts(spec.instance).hold(spec.server_name, spec.mounts)
            sources = await asyncio.to_thread(stack.enter_context, holding)
        except MountProblem as error:
            raise CannotStart(str(error)) from error
        yield sources


async def _close_off(network: JobNetwork) -> None:
    """Return when jobs reach only what they should. Raises `CannotStart`: nothing is ever started in the open."""
    try:
        await _network().ensure(network)
    except NetworkProblem as error:
        raise CannotStart(f"not started, for the jobs' network is not closed off: {error}") from error


def _complete(spec: LaunchSpec, image_config: dict[str, Any]) -> LaunchSpec:
    """Fill in what only the image knows: its PATH and its working folder."""
    image_environment = dict(item.partition("=")[::2] for item in image_config.get("Env") or [])
    path = spec.environment.get("PATH") or image_environment.get("PATH") or DEFAULT_PATH
    return spec.model_copy(
        update={
            "environment": {**spec.environment, "PATH": f"{path}:/opt/toolkit/bin"},
            "workdir": spec.workdir or image_config.get("WorkingDir") or "",
        }
    )
