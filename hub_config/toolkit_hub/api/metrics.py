"""What jobs use: `/jobs/{job}/metrics` and `/top`; and `/services/toolkit/metrics`, which Prometheus reads."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from toolkit_client.metrics_models import JobMetrics, TopJob
from toolkit_client.models import JobState, Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import job_list, job_metrics
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.running import SiteCounts, site_counts
from toolkit_hub.metrics.exposition import Moment, exposition
from toolkit_hub.metrics.instruments import CONTENT_TYPE

__all__ = ["ROUTES", "SCRAPE"]

#: Running jobs that one answer tells of.
MOST_JOBS = 1000


async def series(call: Call) -> JobMetrics:
    window = job_metrics.Window(call.time("from"), call.time("to"), call.number("step", None, 1, 86400))
    context = call.context
    return await context.store.read(
        job_metrics.job_metrics, call.actor, call.path_arguments["job"], window, context.sampler.fresh()
    )


async def top(call: Call) -> Page[TopJob]:
    wanted = job_list.JobFilter(
        mine=call.flag("mine"),
        account=call.query("account"),
        states=frozenset({JobState.RUNNING.value}),
        limit=MOST_JOBS,
    )
    context = call.context
    page = await context.store.read(job_list.list_jobs, context.site, call.actor, wanted)
    newest = {one.run.run_id: one.sample for one in context.sampler.seen()}
    return Page[TopJob](items=[job_metrics.top_job(job, newest.get(job["runs"][-1]["id"])) for job in page["items"]])


async def scrape(call: Call) -> None:
    context = call.context
    counts = await context.store.read(_counts, call.actor)
    sampler = context.sampler
    text = exposition(Moment(context.site, counts, sampler.seen(), sampler.device_readings))
    call.handler.set_header("Content-Type", CONTENT_TYPE)
    call.handler.finish(text)


def _counts(session: Session, actor: Actor) -> SiteCounts:
    authorise(session, actor, "organization:metrics", actor.organization_id)
    return site_counts(session)


_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}

ROUTES = [
    Route(
        "GET",
        "/jobs/{job}/metrics",
        "What the job used over a time: CPU, memory, disks, network, GPUs",
        "job:get",
        series,
        answer=JobMetrics,
        parameters=(
            Parameter("from", "begin of the window; half an hour before its end unless it is given", _TIME),
            Parameter("to", "end of the window; now unless it is given", _TIME),
            Parameter(
                "step",
                "seconds that a point stands for; never less than what is kept of so long ago",
                {"type": "integer", "minimum": 1, "maximum": 86400},
            ),
        ),
    ),
    Route(
        "GET",
        "/top",
        "What the running jobs that you may see use now, the newest job first",
        "job:get",
        top,
        answer=Page[TopJob],
        parameters=(
            Parameter("mine", "only jobs that you submitted", {"type": "boolean"}),
            Parameter("account", "only jobs of this account: id or full name"),
        ),
    ),
]
SCRAPE = Route(
    "GET", "/metrics", "The site's metrics, for Prometheus", "organization:metrics", scrape, media_type="text/plain"
)
