"""The service unit: ``python -m toolkit_hub.service``.

An *external* service of the hub: a restart of the hub does not touch it, nor the other way round.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyterhub.services.auth import HubOAuth
from tornado.httpserver import HTTPServer
from tornado.web import Application

from toolkit_client.errors import NotFound, ToolkitError
from toolkit_hub.api import (
    accounts,
    admin,
    audit,
    data,
    data_versions,
    gpus,
    jobs,
    locks,
    members,
    metrics,
    people,
    quotas,
    roles,
    rules,
    teams,
)
from toolkit_hub.api.body_limit import SWALLOWED, BodyLimit
from toolkit_hub.api.context import Context, ServiceHandler, log
from toolkit_hub.api.internal import InternalHandler
from toolkit_hub.api.job_side import serve_jobs
from toolkit_hub.api.openapi import openapi_route
from toolkit_hub.api.routing import ApiHandler, Route, url_specs
from toolkit_hub.configure import SERVICE_NAME, SERVICE_PREFIX, Toolkit, load_settings
from toolkit_hub.domain import ledger
from toolkit_hub.domain.afterwards import Afterwards
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.domain.launch import Places
from toolkit_hub.domain.log_guard import LogGuard
from toolkit_hub.domain.retention import Periods
from toolkit_hub.domain.site import Amount, Site
from toolkit_hub.garbage import Collector, Ground
from toolkit_hub.job_network import job_network
from toolkit_hub.keeping.commits import Commits
from toolkit_hub.keeping.devices import DeviceKeeper
from toolkit_hub.keeping.project_limits import ProjectLimits
from toolkit_hub.keeping.usage_keeper import UsageKeeper
from toolkit_hub.metrics.instruments import API_REQUESTS, API_SECONDS, method_label
from toolkit_hub.metrics.sampler import Sampler
from toolkit_hub.pages.access import AccessPage
from toolkit_hub.pages.api_page import ApiPage
from toolkit_hub.pages.cluster import cluster_specs
from toolkit_hub.pages.data import data_specs
from toolkit_hub.pages.handlers import page_specs
from toolkit_hub.queue.container_devices import ContainerDevices
from toolkit_hub.queue.disk_guard import DiskGuard
from toolkit_hub.queue.hub_api import HubApi
from toolkit_hub.queue.hub_mirror import HubMirror
from toolkit_hub.queue.loop import QueueLoop
from toolkit_hub.queue.network_guard import keep_network
from toolkit_hub.queue.reconciler import Reconciler
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable
from toolkit_spawner.gpus import DeclaredGpus, Inventory, declared, simulated
from toolkit_spawner.network import NetworkKeeper
from toolkit_spawner.nvml import NvmlGpus

__all__ = ["ROUTES", "Service", "main"]

_PARTS = (
    jobs,
    people,
    accounts,
    teams,
    roles,
    members,
    rules,
    locks,
    audit,
    data,
    admin,
    data_versions,
    quotas,
    metrics,
    gpus,
)
ROUTES: list[Route] = [route for part in _PARTS for route in part.ROUTES]
ROUTES.append(openapi_route(ROUTES))


class NotFoundHandler(ServiceHandler):
    """Every other address."""

    async def prepare(self) -> None:
        self.set_status(404)
        self.finish(self.as_toolkit_error(_not_found()).body())


def _not_found() -> Exception:
    return NotFound("there is nothing at this address", f"pages are below {SERVICE_PREFIX}")


class Service:
    """The unit's parts, put together."""

    def __init__(self, settings: Toolkit) -> None:
        self.settings = settings
        self.store = Store(settings.database_url)
        self.engine = Engine()
        self.hub = HubApi(settings.hub_url, settings.secret("service-token"))
        self.inventory = inventory_of(settings)
        self.devices = DeviceKeeper(self.inventory, lambda: self.queue.wake())
        site = replace(site_of(settings), devices=self.devices.devices)
        self.container_devices = ContainerDevices(
            self.store, self.engine, settings.instance_id, self.devices.gpus, self.devices.drain
        )
        self.reconciler = Reconciler(
            self.store,
            self.engine,
            self.hub,
            settings.instance_id,
            settings.runs_dir,
            settings.stop_grace,
            self.container_devices,
        )
        self.queue = QueueLoop(self.store, self.engine, self.reconciler, site, settings.instance_id)
        self.disk_guard = DiskGuard(
            self.store,
            self.engine,
            settings.runs_dir,
            quota=settings.scratch_quota,
            floor=settings.disk_floor,
            stopped=self.reconciler.poke,
        )
        self.sampler = Sampler(
            self.store,
            self.engine,
            lambda: self.reconciler.peaks.containers,
            devices=self.devices,
            held_devices=ledger.held_devices,
        )
        self.collector = Collector(ground_of(settings, self.store, self.engine))
        volumes, limits = Volumes(settings.data_root), DataLimits.of(settings)
        self.commits = Commits(self.store, volumes, limits, floor=settings.disk_floor)
        self.usage = UsageKeeper(self.store, volumes, period=settings.data_usage_period)
        self.project_limits = ProjectLimits(self.store, volumes, limits)
        self.context = Context(
            settings=settings,
            site=site,
            places=replace(places_of(settings), handover=self.devices.handover),
            store=self.store,
            hub_auth=hub_oauth(settings),
            engine=self.engine,
            internal_token=settings.secret("internal-token"),
            collector=self.collector,
            commits=self.commits,
            usage=self.usage,
            devices=self.devices,
            sampler=self.sampler,
            data_limits=limits,
            afterwards=Afterwards(self.store),
            wake_queue=self.queue.wake,
            cancel_run=self.reconciler.poke_cancelled,
        )

    def job_application(self) -> Application:
        """What jobs reach, where the site lets them."""
        return Application(
            url_specs(ROUTES, self.context),
            default_handler_class=NotFoundHandler,
            default_handler_args={"context": self.context},
            log_function=log_request,
            toolkit_for_jobs=True,
        )

    def application(self) -> Application:
        specs: list[Any] = [
            (r"/internal/(launch|started|failed|progress|pulled|wanted)", InternalHandler, {"context": self.context}),
            *url_specs(ROUTES, self.context),
            (f"{SERVICE_PREFIX}metrics", ApiHandler, {"context": self.context, "routes": {"GET": metrics.SCRAPE}}),
            (f"{SERVICE_PREFIX}api/?", ApiPage, {"context": self.context, "routes": ROUTES}),
            (f"{SERVICE_PREFIX}access/?", AccessPage, {"context": self.context}),
            *cluster_specs(self.context),
            *data_specs(self.context),
            *page_specs(self.context),
        ]
        return Application(
            specs,
            cookie_secret=self.settings.secret("service-cookie-secret"),
            default_handler_class=NotFoundHandler,
            default_handler_args={"context": self.context},
            log_function=log_request,
            xsrf_cookies=False,  # HubOAuth's own check, see `ServiceHandler.identify`
        )

    async def _compare_devices(self) -> None:
        """Before the first job is given a device that some container has already; the reconciler goes on with it."""
        if self.devices.gpus():
            with contextlib.suppress(EngineUnavailable, EngineRefused, ToolkitError):
                await self.container_devices.compare(await self.engine.list_runs(self.settings.instance_id))

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        await asyncio.to_thread(self.store.migrate)
        server = HTTPServer(BodyLimit(self.application()), max_body_size=SWALLOWED, xheaders=False)
        server.listen(self.settings.base_port + 2, "127.0.0.1")
        if isinstance(self.inventory, NvmlGpus) and self.settings.gpu_handover == "auto":
            with contextlib.suppress(
                EngineUnavailable
            ):  # then it stays the nvidia runtime, which is there nearly everywhere
                self.inventory.handover = await self.engine.gpu_handover()
        await self.devices.look()
        await self._compare_devices()
        self.queue.start()
        guards = [
            asyncio.create_task(self.devices.run_forever()),
            asyncio.create_task(LogGuard(self.store, self.settings.runs_dir).run()),
            asyncio.create_task(keep_network(NetworkKeeper(self.engine), self.context.places.network)),
            asyncio.create_task(self.disk_guard.watch_forever()),
            asyncio.create_task(self.collector.run_forever()),
            asyncio.create_task(HubMirror(self.store, self.hub).run_forever()),
            asyncio.create_task(self.context.afterwards.run_forever()),
            asyncio.create_task(self.usage.run_forever()),
            asyncio.create_task(self.project_limits.run_forever()),
            asyncio.create_task(self.sampler.run_forever()),
        ]
        if self.settings.job_api_port:
            jobs_side = serve_jobs(self.job_application(), self.settings.jobs_bridge, self.settings.job_api_port)
            guards.append(asyncio.create_task(jobs_side))
        # What lives as long as the process is not looked through again at each full collection: such pauses made the slowest
        # answers.
        gc.collect()
        gc.freeze()
        log.info("service on %s", self.settings.service_url)
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        await ended.wait()
        server.stop()
        for guard in guards:
            guard.cancel()
        await asyncio.gather(*guards, return_exceptions=True)
        with contextlib.suppress(ToolkitError):
            await self.context.afterwards.write_now()
        await self.sampler.close()
        await self.commits.close()
        await self.queue.stop()
        await self.hub.close()
        self.engine.close()
        self.store.close()


def site_of(settings: Toolkit) -> Site:
    return Site(
        total=Amount(settings.cpus * settings.overcommit, settings.memory),
        default_image=settings.default_image,
        server_asks=Amount(settings.server_cpu, settings.server_memory),
        interactive_limit=settings.interactive_limit,
        jobs_scheme=settings.jobs_scheme,
        jobs_domain=settings.jobs_domain,
        public_url=settings.public_url,
        stop_grace=settings.stop_grace,
        preempt_grace=settings.preempt_grace,
        allowed_images=None if settings.allowed_images is None else tuple(settings.allowed_images),
        max_run_time=settings.max_run_time,
        image_names=settings.image_names,
        array_limit=settings.array_limit,
    )


def inventory_of(settings: Toolkit) -> Inventory:
    """Where the GPUs are known from."""
    if settings.simulated_gpus:
        return simulated(settings.simulated_gpus)
    if settings.gpus is not None:
        return declared(settings.gpus)
    if not Path("/dev/nvidiactl").exists():
        return DeclaredGpus()
    return NvmlGpus("nvidia" if settings.gpu_handover == "auto" else settings.gpu_handover)


def places_of(settings: Toolkit) -> Places:
    return Places(
        instance=settings.instance_id,
        runs_dir=settings.runs_dir,
        data_root=settings.data_root,
        runtime_dir=settings.runtime_dir,
        accounts_dir=settings.accounts_dir,
        network=job_network(settings),
        pull_images=settings.pull_images,
        log_quota=settings.log_quota,
    )


def ground_of(settings: Toolkit, store: Store, engine: Engine) -> Ground:
    return Ground(
        store=store,
        engine=engine,
        instance=settings.instance_id,
        runs_dir=settings.runs_dir,
        runtime_dir=settings.runtime_dir,
        accounts_dir=settings.accounts_dir,
        volumes=Volumes(settings.data_root),
        periods=Periods.in_days(
            logs=settings.log_retention,
            images=settings.image_retention,
            events=settings.event_retention,
            audit=settings.audit_retention,
            samples=settings.metrics_retention,
        ),
        kept_images=frozenset({settings.default_image}),
    )


def hub_oauth(settings: Toolkit) -> HubOAuth:
    """What the environment tells services that the hub starts itself; this one is external, so it is said here."""
    return HubOAuth(
        api_url=f"{settings.hub_url}/hub/api",
        api_token=settings.secret("service-token"),
        hub_host="",
        hub_prefix="/hub/",
        base_url=SERVICE_PREFIX,
        oauth_client_id=f"service-{SERVICE_NAME}",
        oauth_redirect_uri=f"{settings.public_url}{SERVICE_PREFIX}oauth_callback",
        oauth_authorization_url=f"{settings.public_url}/hub/api/oauth2/authorize",
        access_scopes={f"access:services!service={SERVICE_NAME}", "access:services"},
        cache_max_age=5,
    )


def log_request(handler: Any) -> None:
    """Method, path without its query (it may carry one-time codes), status, time."""
    request = handler.request
    count_request(handler)
    path = request.path[:200].encode("ascii", "replace").decode()
    level = logging.INFO if handler.get_status() < 500 else logging.ERROR
    who = getattr(handler, "request_id", "-")
    log.log(
        level, "%s %s %s %d %.0f ms", who, request.method, path, handler.get_status(), 1000 * request.request_time()
    )


def count_request(handler: Any) -> None:
    """By the declared route, of which there are so many; what is no route of the API counts by its handler's name."""
    method = method_label(handler.request.method)
    routes: dict[str, Route] = getattr(handler, "routes", None) or {}
    route = next((one.path for one in routes.values()), type(handler).__name__)
    API_REQUESTS.labels(route, method, str(handler.get_status())).inc()
    API_SECONDS.labels(route, method).observe(handler.request.request_time())


def main() -> None:
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(Service(load_settings()).run())


if __name__ == "__main__":
    main()
