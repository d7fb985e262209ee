"""The service's pages. Each names its action; what they show comes from the same domain functions as the API's answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, select_autoescape
from jupyterhub.services.auth import HubOAuthCallbackHandler
from sqlalchemy.orm import Session
from tornado.web import StaticFileHandler

from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_client.models import Job
from toolkit_hub.api.context import Context, ServiceHandler
from toolkit_hub.api.images import image_digest
from toolkit_hub.api.jobs import stop_runs
from toolkit_hub.configure import SERVICE_PREFIX
from toolkit_hub.domain import gate_sessions, job_changes, job_list, jobs
from toolkit_hub.domain.access import Actor, allowed, authorise
from toolkit_hub.domain.job_apps import find_app
from toolkit_hub.domain.job_view import as_wire
from toolkit_hub.domain.site import Site

__all__ = ["page_specs"]

_HERE = Path(__file__).parent
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
)
#: Only our own scripts and styles, no frames, and forms that stay here.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
#: Names of apps in links of these pages.
PAGES = {"lab": "jupyter", "web": "8080"}
_JOB_LABEL = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:-lab|-[0-9]{1,5})?")


class PageHandler(ServiceHandler):
    """A page for people: without a log-in it leads to one, and errors are pages too."""

    #: The action that the page's domain function authorises; None only for what everybody may read.
    action: str | None = ""
    #: Whether the page says of its visitor that they administer the site.
    administrator = False

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("X-Frame-Options", "DENY")

    async def prepare(self) -> None:
        actor = await self.identify()
        if actor is not None:
            self.actor = actor
            self.administrator = await self.context.store.read(
                allowed, actor, "organization:maintain", actor.organization_id
            )
        elif self.request.method == "GET":
            self.redirect(self.get_login_url())
        else:
            await self.require_actor()

    def show(self, template: str, **values: Any) -> None:
        page = _templates.get_template(template).render(
            prefix=SERVICE_PREFIX,
            actor=getattr(self, "actor", None),
            administrator=self.administrator,
            xsrf_token=self.xsrf_token.decode() if isinstance(self.xsrf_token, bytes) else self.xsrf_token,
            **values,
        )
        self.finish(page)

    def write_toolkit_error(self, error: ToolkitError) -> None:
        self.show("error.html", error=error, request_id=self.request_id)


class HomePage(PageHandler):
    action = "job:get"

    async def get(self) -> None:
        context = self.context
        wanted = job_list.JobFilter(mine=True, limit=50)
        page = await context.store.read(job_list.list_jobs, context.site, self.actor, wanted)
        server = await context.store.read(jobs.living_server, context.site, self.actor)
        self.show(
            "home.html",
            server=server,
            jobs=[as_wire(job) for job in page["items"]],
            started_from_hub=bool(self.get_query_argument("start", "")),
        )


class StartServer(PageHandler):
    """“Start my server”: queues it, and leads to the page that says why it waits."""

    action = "job:new"

    async def post(self) -> None:
        context = self.context
        digest = await image_digest(context, context.site.default_image)
        job, new = await context.store.write(jobs.own_server, context.site, self.actor, None, digest)
        if new:
            context.wake_queue()
        self.redirect(f"{SERVICE_PREFIX}jobs/{job.id}?open=lab")


class KillJob(PageHandler):
    action = "job:set"

    async def post(self, reference: str) -> None:
        context = self.context
        job = await context.store.write(job_changes.kill_job, context.site, self.actor, reference)
        context.wake_queue()
        await stop_runs(context, job.id)
        self.redirect(f"{SERVICE_PREFIX}jobs/{job.id}")


class JobPage(PageHandler):
    action = "job:get"

    async def get(self, reference: str) -> None:
        job, may_enter = await self.context.store.read(_job_on_page, self.context.site, self.actor, reference)
        self.show("job.html", job=job, may_enter=may_enter, open_lab=self.get_query_argument("open", "") == "lab")


def _job_on_page(session: Session, site: Site, actor: Actor, reference: str) -> tuple[Job, bool]:
    """The job, and whether the actor may run code in it."""
    job = jobs.get_job(session, site, actor, reference)
    return job, allowed(session, actor, "job:exec", job.urn)


class JobApp(PageHandler):
    """A link that stays: to the app in the job's present run."""

    action = "job:get"

    async def get(self, reference: str, app: str) -> None:
        job: Job = await self.context.store.read(jobs.get_job, self.context.site, self.actor, reference)
        found = find_app(job, PAGES.get(app, app))
        if not found.page:
            raise InvalidRequest(f"{found.name} is no page", f"`toolkit app {job.id} {found.name}` leads to it")
        self.redirect(found.address)


class EnterJob(PageHandler):
    """A browser without a cookie of a job's host comes here from the gate, and leaves with a one-time code for that host."""

    action = "job:get"

    async def get(self) -> None:
        target, state = urlsplit(self.get_query_argument("next")), self.get_query_argument("state")
        job_id = job_of_host(target.netloc, self.context.settings.jobs_domain)
        if job_id is None or target.scheme != self.context.settings.jobs_scheme or not 16 <= len(state) <= 128:
            raise InvalidRequest("that is no address of a job", "open the job from its page")  # no open redirect
        code = await self.context.store.write(enter_job, self.actor, job_id, target.netloc, state)
        back = f"{target.scheme}://{target.netloc}/.toolkit/enter"
        self.redirect(f"{back}?code={quote(code, safe='')}&next={quote(target.geturl(), safe='')}")


def job_of_host(host: str, jobs_domain: str) -> str | None:
    """The id of the job whose host this is; None for any other host."""
    label, _, domain = host.partition(".")
    found = _JOB_LABEL.fullmatch(label)
    return found.group(1) if found and domain == jobs_domain else None


def enter_job(session: Session, actor: Actor, job_id: str, host: str, state: str) -> str:
    """A one-time code, for those who may see the job. What they may do there, the gate decides at each request."""
    job = jobs.find_job(session, actor, job_id)
    authorise(session, actor, "job:get", job.urn)
    return gate_sessions.create_code(session, user_id=actor.user_id, job_id=job_id, host=host, state=state)


class OAuthCallback(HubOAuthCallbackHandler):
    """The hub's OAuth redirect. Open to all: its own state cookie and code are what it checks."""

    action = None

    def initialize(self, context: Context) -> None:
        self.hub_auth = context.hub_auth

    def get_current_user(self) -> None:
        return


class Static(StaticFileHandler):
    """Scripts and styles of the pages."""

    action = None

    def set_extra_headers(self, path: str) -> None:
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "max-age=3600")


def page_specs(context: Context) -> list[tuple[str, type[Any], dict[str, Any]]]:
    """The URL table of the pages."""
    own = {"context": context}
    return [
        (SERVICE_PREFIX + r"static/(.*)", Static, {"path": str(_HERE / "static")}),
        (SERVICE_PREFIX + "oauth_callback", OAuthCallback, own),
        (SERVICE_PREFIX + "enter", EnterJob, own),
        (SERVICE_PREFIX + "server", StartServer, own),
        (SERVICE_PREFIX + r"jobs/([^/]+)/kill", KillJob, own),
        (SERVICE_PREFIX + r"jobs/([^/]+)/apps/([^/]+)", JobApp, own),
        (SERVICE_PREFIX + r"jobs/([^/]+)", JobPage, own),
        (SERVICE_PREFIX + "?", HomePage, own),
    ]
