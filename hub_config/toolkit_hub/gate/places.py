"""Which job does a request mean, which run of it, and may this visitor go there?

The address alone decides: the host name on the job hosts, the raw path on the side for the proxy. Nothing is decoded before
it is compared or forwarded, so no two readers can understand one address in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import ALIVE_STATES
from toolkit_client.urn import job_urn
from toolkit_hub.domain.access import Actor, allowed
from toolkit_hub.gate.identity import Claim
from toolkit_hub.store.access_tables import Lock
from toolkit_hub.store.tables import Account, Job, Run, User

__all__ = ["APP_PORT", "LAB_PORT", "JobHost", "JobHosts", "RunPlace", "ServerPath", "View", "look", "server_path"]

#: The job's own web server, and the job server, inside the container.
APP_PORT = 8080
LAB_PORT = 8888

#: The host below the jobs' domain where the content of data goes in and out.
DATA_LABEL = "data"
_LABEL = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:-(lab|[1-9][0-9]{0,4}))?")
_SERVER_NAME = re.compile(r"[a-z0-9-]{1,30}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class JobHost:
    """A host below the jobs' domain: a port of a job's own (8080 where none is named), or (`lab`) its job server."""

    job_id: str
    lab: bool
    scheme: str
    name: str
    port: int = APP_PORT

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.name}"


class JobHosts:
    """The hosts below one jobs' domain."""

    def __init__(self, scheme: str, domain: str) -> None:
        self.scheme = scheme
        self.domain = self._without_default_port(domain.lower())

    def find(self, host_header: str) -> JobHost | None:
        """The job host that a Host header names.

        Whatever is not exactly below the domain is nobody's: a foreign name that resolves to this machine (DNS
        rebinding) must not make a browser take a job's answers for that name's own.
        """
        label, dot, domain = self._without_default_port(host_header.lower()).partition(".")
        match = _LABEL.fullmatch(label)
        if not dot or domain != self.domain or match is None:
            return None
        lab = match[2] == "lab"
        port = int(match[2]) if match[2] and not lab else APP_PORT
        return JobHost(match[1], lab, self.scheme, f"{label}.{domain}", port)

    def is_data(self, host_header: str) -> bool:
        """Whether a Host header names the data host."""
        return self._without_default_port(host_header.lower()) == f"{DATA_LABEL}.{self.domain}"

    def lab(self, job_id: str) -> JobHost:
        return JobHost(job_id, True, self.scheme, f"{job_id}-lab.{self.domain}")

    def _without_default_port(self, netloc: str) -> str:
        return netloc.removesuffix(_DEFAULT_PORTS.get(self.scheme, ""))


@dataclass(frozen=True)
class ServerPath:
    """A path of the hub's form ``/user/OWNER/SERVER/REST``; `rest` begins with a slash or is empty."""

    owner: str
    server_name: str
    rest: str


def server_path(target: str) -> ServerPath | None:
    """The named server that a raw request target is below, when it is below one."""
    path, question, query = target.partition("?")
    parts = path.split("/", 4)
    if len(parts) < 4 or parts[:2] != ["", "user"] or not _SERVER_NAME.fullmatch(parts[3]):
        return None
    rest = f"/{parts[4]}" if len(parts) == 5 else ""
    return ServerPath(parts[2], parts[3], f"{rest}{question}{query}")


@dataclass(frozen=True)
class RunPlace:
    """A run, as far as the way to it is concerned."""

    id: str
    server_name: str
    owner: str
    secret: str = field(repr=False)
    ip: str | None
    state: str
    state_info: str

    @property
    def base(self) -> str:
        """Path of the job server's root; ends with a slash."""
        return f"/user/{quote(self.owner, safe='@~')}/{self.server_name}/"

    @property
    def reachable(self) -> bool:
        return self.ip is not None and self.state in ALIVE_STATES


@dataclass(frozen=True)
class View:
    """A job as one visitor sees it at one moment."""

    job_id: str
    state: str
    state_info: str
    run: RunPlace | None
    #: The run that the address named, when that is not the current one.
    older_run: RunPlace | None
    urn: str
    #: The ports of the job's own that are served; True for those that everybody may reach without a sign-in.
    ports: Mapping[int, bool]
    visitor: Actor | None = None
    claim: Claim | None = None
    may_see: bool = False
    may_exec: bool = False

    @property
    def alive(self) -> bool:
        return self.state in ALIVE_STATES


_JOBS = (
    select(
        Job.id,
        Job.account_id,
        Account.organization_id,
        Job.state,
        Job.state_info,
        User.hub_name,
        Job.spec["ports"].label("ports"),
        Lock.resource_id.label("locked"),
    )
    .join(Account, Account.id == Job.account_id)
    .join(User, User.id == Job.creator_id)
    .outerjoin(Lock, Lock.resource_id == Job.id)
)


def look(
    session: Session, place: str | ServerPath, claims: Sequence[Claim] = (), path: ServerPath | None = None
) -> View | None:
    """The job with this id, or the one whose run a server path names, as seen by the first claim that stands.

    `path` on a job host is the server path that was asked for there: it may name an older run. None: no such job.
    Raises `DeadKey` for a key that counts no more.
    """
    job_id: str | None
    if isinstance(place, ServerPath):
        path, job_id = place, _job_of(session, place)
    else:
        job_id = place
    row = session.execute(_JOBS.where(Job.id == job_id)).one_or_none()
    if row is None:
        return None
    run = _run(session, row.id)
    older = _run(session, row.id, path) if path and run and path.server_name != run.server_name else None
    urn = job_urn(row.organization_id, row.account_id, row.id)
    view = View(row.id, row.state, row.state_info, run, older, urn, _ports(row.ports, locked=row.locked is not None))
    owner, server_name = (run.owner, run.server_name) if run else (row.hub_name or "", None)
    for claim in claims:
        visitor = claim.stands_for(session, owner, server_name)
        if visitor is not None:
            may_see = allowed(session, visitor, "job:get", urn)
            may_exec = may_see and allowed(session, visitor, "job:exec", urn)
            return replace(view, visitor=visitor, claim=claim, may_see=may_see, may_exec=may_exec)
    return view


def _ports(declared: Any, *, locked: bool) -> dict[int, bool]:
    """By a job's spec; nothing of a locked job is public."""
    found = {int(each["port"]): bool(each.get("public")) and not locked for each in declared or ()}
    return {APP_PORT: False} | found


def _job_of(session: Session, path: ServerPath) -> str | None:
    return session.scalar(select(Run.job_id).where(Run.server_name == path.server_name, Run.owner == path.owner))


def _run(session: Session, job_id: str, path: ServerPath | None = None) -> RunPlace | None:
    """The job's newest run, or the one that a path names."""
    query = select(Run.id, Run.server_name, Run.owner, Run.secret, Run.ip, Run.state, Run.state_info)
    query = query.where(Run.job_id == job_id).order_by(Run.index.desc()).limit(1)
    if path is not None:
        query = query.where(Run.server_name == path.server_name, Run.owner == path.owner)
    row = session.execute(query).one_or_none()
    return RunPlace(*row) if row else None
