"""The site's settings, in one class for all units; `configure(c)` turns them into JupyterHub's own.

Hub, service, gate and proxy read the same ``jupyterhub_config.py``, so a value is written once::

    c.Toolkit.cpus = 64
    configure(c)
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from traitlets import Bool, Float, Int, List, TraitType, Unicode, default, validate
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from .job_settings import JobSettings
from .site_secrets import private_dir, site_secret, write_private

__all__ = ["Toolkit", "configure", "load_settings"]

SERVICE_NAME = "toolkit"
#: What the service may ask the hub about users, see `auth.hub_users`.
USERS_SCOPE = "custom:toolkit:users"
SERVICE_PREFIX = "/services/toolkit/"


class Folder(TraitType[Path, "str | Path"]):
    """A folder's path; made absolute when it is set."""

    def validate(self, _owner: Any, value: Any) -> Path:
        if not isinstance(value, str | Path) or not str(value):
            self.error(_owner, value)
        return Path(value).absolute()

    def from_string(self, s: str) -> Path:
        return Path(s)


class Toolkit(JobSettings):
    """A site: addresses, storage, capacity and defaults. Set as ``c.Toolkit.<name>``."""

    state_dir = Unicode(
        help="""Folder for everything that this site keeps: databases, secrets, logs of the units, the runs' files and the
        users' data. Default: the environment's TOOLKIT_STATE, or `.toolkit` in the present folder.""",
    ).tag(config=True)

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return os.environ.get("TOOLKIT_STATE", ".toolkit")

    @validate("state_dir")
    def _absolute_state_dir(self, proposal: Any) -> str:
        return str(Path(proposal["value"]).absolute())

    base_port = Int(
        help="""First of the six ports in a row that the units listen on: proxy (+0), job hosts (+1), service (+2), the gate's
        side for the proxy (+3), the proxy's own API (+4), hub (+5). Default: TOOLKIT_PORT, or 8000.""",
    ).tag(config=True)

    @default("base_port")
    def _default_base_port(self) -> int:
        return int(os.environ.get("TOOLKIT_PORT", "8000"))

    bind_ip = Unicode(
        "127.0.0.1",
        help="""Address that proxy and job hosts listen on. Keep it on loopback behind a TLS terminator; the other units never
        leave loopback.""",
    ).tag(config=True)

    public_url = Unicode(
        help="""Address that users type, as `https://hub.example.org`. Default: http on bind_ip and base_port.""",
    ).tag(config=True)

    @default("public_url")
    def _default_public_url(self) -> str:
        return f"http://{self.bind_ip}:{self.base_port}"

    jobs_url = Unicode(
        help="""Scheme and domain under which each job has a host of its own, as `https://jobs.example.org` for
        `https://ID.jobs.example.org/`. It must not be a parent or child of the hub's domain that shares cookies with it, and
        needs wildcard DNS and TLS. Default: `http://localhost` on base_port + 1 (browsers resolve `*.localhost` to loopback).""",
    ).tag(config=True)

    @default("jobs_url")
    def _default_jobs_url(self) -> str:
        return f"http://localhost:{self.base_port + 1}"

    organization = Unicode("acme", help="Name of the organization that is made at the first start.").tag(config=True)

    database_url = Unicode(
        help="""URL of the toolkit's database: `sqlite:///FILE`, or `postgresql://toolkit@db.example.org/toolkit`; the hub keeps
        one of its own. Default: SQLite in state_dir. Leave a password out of it: PostgreSQL's client reads it from `~/.pgpass`,
        or from the file that `?passfile=/etc/toolkit/pgpass` names.""",
    ).tag(config=True)

    @default("database_url")
    def _default_database_url(self) -> str:
        return f"sqlite:///{self.state / 'toolkit.sqlite'}"

    data_root = Folder(
        help="""Folder of the content of data: one folder in it for each volume. Only root may get into it. What its file system
        gives: docs/data.md. Default: `data` in state_dir.""",
    ).tag(config=True)

    @default("data_root")
    def _default_data_root(self) -> Path:
        return self.state / "data"

    data_quota = Float(
        0.0,
        min=0,
        help="""GiB on the disk that the data of one account may take, versions included and without what is in child accounts,
        unless `toolkit quota set` says otherwise for it. 0: no limit.""",
    ).tag(config=True)

    data_file_quota = Int(
        0,
        min=0,
        help="""Files and folders, versions included, that the data of one account may have, unless `toolkit quota set` says
        otherwise for it. 0: no limit.""",
    ).tag(config=True)

    data_usage_period = Int(
        30,
        min=1,
        help="""Minutes between two measurements of a volume that jobs write in or that was pushed to; others are measured once a
        day. What is pushed or committed meanwhile is counted at once.""",
    ).tag(config=True)

    docker_network = Unicode(
        help="""Docker network of the jobs, for this site alone; made when it is missing, with traffic between its containers off.
        Default: `toolkit-jobs-` and the begin of the site's id.""",
    ).tag(config=True)

    @default("docker_network")
    def _default_docker_network(self) -> str:
        return f"toolkit-jobs-{self.instance_id[:8]}"

    network_pool = Int(
        2,
        min=0,
        help="""Places on the jobs' network that are kept ready, each by an idle container of some MiB: a job that finds one
        starts about a third faster. 0: none.""",
    ).tag(config=True)

    job_internet = Bool(
        True,
        help="""Whether jobs reach what this machine reaches beyond itself. False: they have no way out, name look-ups included.
        In both cases they reach no other job, no port of this machine, no other Docker network and no cloud metadata service.""",
    ).tag(config=True)

    job_denied_networks = List(
        Unicode(),
        help="""IPv4 networks that jobs do not reach, besides those that they never do, as `["10.0.0.0/8"]` for the network
        that this machine stands in. Name servers of this machine stay reachable on port 53.""",
    ).tag(config=True)

    job_api_port = Int(
        help="""Port of the service's API for jobs on the address of the jobs' bridge, where a job's own token counts. Default:
        `base_port` + 2, as the service's own. 0: there is none, and jobs reach no port of this machine at all.""",
    ).tag(config=True)

    @default("job_api_port")
    def _default_job_api_port(self) -> int:
        return self.base_port + 2

    job_data_port = Int(
        help="""Port of the data host for jobs on the same address, by which they push and pull data. Default: `base_port` + 3, as
        the gate's own, where there is a `job_api_port`. 0: there is none.""",
    ).tag(config=True)

    @default("job_data_port")
    def _default_job_data_port(self) -> int:
        return self.base_port + 3 if self.job_api_port else 0

    log_retention = Int(
        90,
        min=0,
        help="""Days after the end of a run for which its log is kept; 0: for ever. Whoever asks for a log that was removed is
        told when and by what rule.""",
    ).tag(config=True)

    image_retention = Int(
        30,
        min=0,
        help="""Days after its last use for which an image is kept that the toolkit pulled for a job; 0: for ever. Images that it
        did not pull itself are never removed, nor one that a container or a waiting job needs.""",
    ).tag(config=True)

    event_retention = Int(
        365,
        min=0,
        help="""Days for which events of the toolkit itself are kept (states of runs, why they waited, clean-ups); 0: for ever.
        What people did is kept by `audit_retention`.""",
    ).tag(config=True)

    audit_retention = Int(
        0,
        min=0,
        help="""Days for which events with a person as the actor are kept; 0: for ever. The audit log itself
        (`toolkit audit ls`) is append-only and is never shortened.""",
    ).tag(config=True)

    metrics_retention = Int(
        30,
        min=0,
        help="""Days for which is kept what runs have used (CPU, memory, disks, network, GPUs), in steps of 15 minutes; 0: for
        ever. Steps of a minute are kept for a day, single readings for an hour. Goes with the run's log at the latest.""",
    ).tag(config=True)

    # --- derived ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    @property
    def runs_dir(self) -> Path:
        """One folder for each run: its log and the files that are mounted into its container."""
        return self.state / "runs"

    @property
    def runtime_dir(self) -> Path:
        """Folder that is mounted read-only at /opt/toolkit in every run; built by `make runtime`."""
        return self.state / "runtime"

    @property
    def accounts_dir(self) -> Path:
        """For each image that has run: what its containers get as /etc/passwd and /etc/group. May be removed at any time."""
        return self.state / "accounts"

    @property
    def jobs_bridge(self) -> str:
        """Network interface of `docker_network` on this machine; the firewall's rules name it."""
        return "tk-" + self.instance_id.replace("-", "")[:12]

    @property
    def jobs_domain(self) -> str:
        """Host and port below which the job hosts live."""
        return urlsplit(self.jobs_url).netloc

    @property
    def jobs_scheme(self) -> str:
        return urlsplit(self.jobs_url).scheme

    @property
    def data_url(self) -> str:
        """Address of the data host, where the content of data goes in and out: the gate serves it beside the job hosts."""
        return f"{self.jobs_scheme}://data.{self.jobs_domain}"

    @property
    def service_url(self) -> str:
        return f"http://127.0.0.1:{self.base_port + 2}"

    @property
    def gate_url(self) -> str:
        """The gate's side for the proxy: what `Spawner.start()` returns."""
        return f"http://127.0.0.1:{self.base_port + 3}"

    @property
    def proxy_api_url(self) -> str:
        return f"http://127.0.0.1:{self.base_port + 4}"

    @property
    def hub_url(self) -> str:
        return f"http://127.0.0.1:{self.base_port + 5}"

    @property
    def jobs_port(self) -> int:
        """Port that the gate serves the job hosts on (a TLS terminator may stand before it)."""
        return self.base_port + 1

    @property
    def instance_id(self) -> str:
        """Marks the containers of this site, so that two sites on one engine leave each other's alone."""
        path = private_dir(self.state) / "instance-id"
        if not path.exists():
            write_private(path, str(uuid.uuid4()), replace=False)
        return path.read_text().strip()

    def secret(self, name: str) -> str:
        """`service-token` (the service at the hub), `internal-token` (spawner at the service), `proxy-token`."""
        return site_secret(private_dir(self.state), name)


def load_settings(path: str | None = None) -> Toolkit:
    """The settings as ``jupyterhub_config.py`` gives them, for the units that are not the hub.

    `path` defaults to the environment's TOOLKIT_CONFIG, then to ``jupyterhub_config.py`` in the present folder.
    """
    file = Path(path or os.environ.get("TOOLKIT_CONFIG", "jupyterhub_config.py")).absolute()
    config = PyFileConfigLoader(file.name, path=str(file.parent)).load_config()
    return Toolkit(config=config)


def configure(c: Config) -> Toolkit:
    """Set JupyterHub up for the toolkit. Call it after the site's ``c.Toolkit.…`` values and before its other ones."""
    site = Toolkit(config=c)
    _configure_addresses(c, site)
    _configure_service(c, site)
    _configure_servers(c, site)
    return site


def _configure_addresses(c: Config, site: Toolkit) -> None:
    hub = c.JupyterHub
    hub.bind_url = f"http://{site.bind_ip}:{site.base_port}"
    hub.hub_bind_url = site.hub_url
    hub.db_url = f"sqlite:///{private_dir(site.state) / 'hub.sqlite'}"
    hub.cookie_secret_file = str(site.state / "secrets" / "hub-cookie-secret")
    site.secret("hub-cookie-secret")
    # The proxy is a unit of its own, and neither it nor any job ends with the hub.
    hub.cleanup_servers = False
    hub.cleanup_proxy = False
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = site.proxy_api_url
    c.ConfigurableHTTPProxy.auth_token = site.secret("proxy-token")


def _configure_service(c: Config, site: Toolkit) -> None:
    hub = c.JupyterHub
    hub.services = [
        {
            "name": SERVICE_NAME,
            "url": site.service_url,
            "api_token": site.secret("service-token"),
            "oauth_no_confirm": True,
            "oauth_redirect_uri": f"{site.public_url}{SERVICE_PREFIX}oauth_callback",
            "display": False,
        },
        {"name": "toolkit-proxy", "api_token": site.secret("proxy-check-token"), "display": False},
    ]
    hub.custom_scopes = {USERS_SCOPE: {"description": "have the hub's records of users follow the toolkit's"}}
    hub.load_roles = [
        {"name": "user", "scopes": ["self", f"access:services!service={SERVICE_NAME}"]},
        # Enough to start and end servers, and to have users renamed who have none; never `tokens` or `admin:users`, which
        # would equal being every user.
        {
            "name": "toolkit-service",
            "services": [SERVICE_NAME],
            "scopes": ["servers", "list:users", "read:users:name", USERS_SCOPE],
        },
        # For whoever starts the proxy: the hub is told to post its routes again.
        {"name": "toolkit-proxy", "services": ["toolkit-proxy"], "scopes": ["proxy"]},
    ]
    hub.default_url = SERVICE_PREFIX
    hub.authenticator_class = "toolkit_hub.auth.authenticator.PasswordAuthenticator"
    c.PasswordAuthenticator.allow_all = True
    c.PasswordAuthenticator.database_url = site.database_url
    # Who is disabled is signed out of the hub's own pages after this many seconds; the toolkit decides at each request.
    c.PasswordAuthenticator.auth_refresh_age = 10


def _configure_servers(c: Config, site: Toolkit) -> None:
    hub = c.JupyterHub
    hub.allow_named_servers = True
    # A log-in leads to our page; it must not start the unnamed server, which does not exist here.
    hub.redirect_to_server = False
    hub.spawner_class = "toolkit_spawner.spawner.ToolkitSpawner"
    # Servers that do not answer in time are stopped by the hub at its start: give them long, and start without waiting.
    hub.init_spawners_timeout = 1
    hub.concurrent_spawn_limit = 0
    spawner = c.ToolkitSpawner
    spawner.gate_url = site.gate_url
    spawner.service_url = site.service_url
    spawner.service_token = site.secret("internal-token")
    spawner.public_url = site.public_url
    spawner.instance = site.instance_id
    spawner.network_pool = site.network_pool
    spawner.http_timeout = 120
    spawner.start_timeout = 3600  # an image may have to be pulled first
    spawner.poll_interval = 30  # Docker's events tell first; this is the net below them
    spawner.cmd = [sys.executable]  # unused: the command comes from the launch spec
