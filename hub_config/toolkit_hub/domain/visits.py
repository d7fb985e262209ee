"""Visits: an address that lets one browser in to one app of a job, made for a program that has a token and no browser.

It carries a code as the log-in of browsers does (`gate_sessions`), but for no certain browser: whoever opens it first, within its
seconds, is signed in at that one host as the caller. So it is only made for people, is written down nowhere, and the gate asks
before it lets somebody be somebody else by it (`toolkit_hub.gate.visits`).
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict, InvalidRequest, PermissionDenied
from toolkit_client.models import Visit, VisitWish
from toolkit_hub.domain import audit, gate_sessions, jobs
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.job_apps import find_app
from toolkit_hub.domain.site import Site

__all__ = ["VISIT_PATH", "make_visit"]

#: Where the gate takes the code, on every job host.
VISIT_PATH = "/.toolkit/visit"


def make_visit(session: Session, site: Site, actor: Actor, reference: str, wish: VisitWish) -> Visit:
    """The address of one visit.

    Raises:
        PermissionDenied: the caller is a role's key or a job; a browser is a person's.
        NotFound: no such job, or no such app.
        InvalidRequest: the app is none for browsers.
        Conflict: the job has ended.
    """
    job = jobs.get_job(session, site, actor, reference)
    if actor.via:  # the session that a visit leads to would outlast the run
        raise PermissionDenied(
            "a job with your rights opens no browser in your name",
            "run this on a machine of your own, or use the job's page",
        )
    if actor.subject.type != "user":
        raise PermissionDenied(
            f"{actor.full_name} is no user, and only users visit a job with a browser",
            "programs send their key with each request: `Authorization: Bearer …`",
        )
    app = find_app(job, wish.app)
    action = "job:exec" if app.needs == "job:exec" else "job:get"
    authorise(session, actor, action, job.urn)
    if not app.page:
        raise InvalidRequest(f"{app.name} is nothing for a browser", f"`toolkit app {job.id} {app.name}` leads to it")
    if not job.alive:
        raise Conflict(f"this job has ended: {job.state}", "`toolkit job retry` runs it again")
    place = urlsplit(app.address)
    code = gate_sessions.create_code(
        session, user_id=actor.user_id, job_id=job.id, host=place.netloc, state=gate_sessions.ANY_BROWSER
    )
    audit.record(session, actor, action, job.urn, data={"event": "job.visit", "app": app.name})
    target = quote(_target(app.name, place.path, wish.path), safe="")
    return Visit(url=f"{place.scheme}://{place.netloc}{VISIT_PATH}?code={quote(code, safe='')}&next={target}")


def _target(app: str, address: str, path: str) -> str:
    """What `path` below the app is on its host. JupyterLab has its pages beside the one that it begins with."""
    root = address.removesuffix("lab") if app == "jupyter" else address
    if path in ("", "/"):
        return address
    return path if root != "/" and path.startswith(root) else root.removesuffix("/") + path
