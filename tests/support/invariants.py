"""What is true of a site once it has come to rest, whatever happened to it before."""

from __future__ import annotations

import httpx
from sqlalchemy import select

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.models import JobState
from toolkit_hub.domain.runs import HOLDING
from toolkit_hub.store.tables import Run

#: The reconciler looks every 15 seconds; two rounds and a margin.
REST_TIMEOUT_S = 45


def check_invariants(site: RunningSite) -> None:
    """Fail with what is wrong, if it is still wrong after two rounds of the reconciler."""
    problems: list[str] = []

    def at_rest() -> bool:
        problems[:] = find_problems(site)
        return not problems

    wait_until(at_rest, "rows, servers and containers to agree", REST_TIMEOUT_S, lambda: "\n".join(problems))
    secrets = secrets_in_logs(site)
    assert not secrets, f"secrets in logs: {secrets}"


def find_problems(site: RunningSite) -> list[str]:
    store = site.store()
    with store.begin(write=False) as session:
        runs = list(session.scalars(select(Run)))
        named = {run.server_name: run for run in runs}
        running = {run.server_name for run in runs if run.state == JobState.RUNNING}
        changing = [run for run in runs if run.state in HOLDING and run.state != JobState.RUNNING]
        problems = [f"run {run.server_name} of job {run.job_id} is still {run.state}" for run in changing]
        problems += [
            f"job {run.job_id} is {run.job.state}, its newest run {run.state}"
            for run in runs
            if run is run.job.runs[-1] and run.job.state != run.state
        ]
        problems += [
            f"run {run.server_name} has ended and its server was not removed"
            for run in runs
            if not JobState(run.state).alive and not run.server_removed
        ]
    store.close()
    containers = [found.run for found in site.containers()]
    problems += [
        f"run {name} has {containers.count(name)} containers" for name in set(containers) if containers.count(name) > 1
    ]
    problems += [f"container of {name}: its run is {named[name].state}" for name in containers if name not in running]
    problems += [f"run {name} is RUNNING without a container" for name in running if name not in containers]
    servers = hub_servers(site)
    problems += [f"the hub lacks the server of {name}" for name in running if name not in servers]
    problems += [f"the hub has a server {name} without a running run" for name in servers if name not in running]
    return problems


def hub_servers(site: RunningSite) -> set[str]:
    reply = httpx.get(
        f"{site.settings.hub_url}/hub/api/users?include_stopped_servers=1",
        headers={"Authorization": f"token {site.settings.secret('service-token')}"},
    )
    return {name for user in reply.json() for name in user.get("servers", {}) if name}


def secrets_in_logs(site: RunningSite) -> list[str]:
    """Names of secrets whose text stands in a unit's log."""
    text = "".join(file.read_text(errors="replace") for file in (site.state / "logs").glob("*.log"))
    known = {file.name: file.read_text().strip() for file in (site.state / "secrets").iterdir() if file.is_file()}
    known |= {"admin-password": site.admin_password, "admin-token": site.admin_token}
    store = site.store()
    with store.begin(write=False) as session:
        known |= {f"secret of run {run.server_name}": run.secret for run in session.scalars(select(Run))}
    store.close()
    return [name for name, secret in known.items() if len(secret) > 8 and secret in text]
