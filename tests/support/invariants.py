"""What is true of a site once it has come to rest, whatever happened to it before."""

from __future__ import annotations

from collections import Counter
from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.running_site import RunningSite, wait_until
from toolkit_client.models import JobState
from toolkit_hub.domain import dependencies, families
from toolkit_hub.domain.runs import HOLDING, held
from toolkit_hub.domain.site import Amount
from toolkit_hub.store.tables import DeviceHold, Event, Run

#: No row stays in a transitional state for longer.
REST_TIMEOUT_S = 60
FINAL_EVENTS = {f"run.{state.lower()}" for state in JobState if not state.alive}


def check_invariants(site: RunningSite) -> None:
    """Fail with what is wrong, if it is still wrong after `REST_TIMEOUT_S`."""
    wait_for_rest(site)
    secrets = secrets_in_logs(site)
    assert not secrets, f"secrets in logs: {secrets}"


def wait_for_rest(site: RunningSite, timeout: float = REST_TIMEOUT_S) -> None:
    problems: list[str] = []

    def at_rest() -> bool:
        try:
            problems[:] = find_problems(site)
        except httpx.HTTPError as error:
            problems[:] = [f"the hub does not answer: {error}"]
        return not problems

    wait_until(at_rest, "rows, servers and containers to agree", timeout, lambda: "\n".join(problems), interval=0.2)


def find_problems(site: RunningSite) -> list[str]:
    """What is wrong now; empty when all is well."""
    store = site.store()
    try:
        with store.begin(write=False) as session:
            runs = list(session.scalars(select(Run)))
            problems = [*row_problems(runs), *event_problems(session, runs), *ledger_problems(session, runs)]
            problems += order_problems(session)
            devices = {run.server_name: set(run.devices) for run in runs}
            holds = held(session)
            states = {run.server_name: run.state for run in runs}
    finally:
        store.close()
    if problems:
        return problems  # the others would only repeat it
    running = {name for name, state in states.items() if state == JobState.RUNNING}
    return [
        *container_problems(site, states, running, holds),
        *device_problems(site, devices),
        *server_problems(site, running),
    ]


def row_problems(runs: list[Run]) -> list[str]:
    return [
        *(
            f"run {run.server_name} of job {run.job_id} is still {run.state} ({run.state_info})"
            for run in runs
            if run.state in HOLDING and run.state != JobState.RUNNING
        ),
        *(
            f"job {run.job_id} is {run.job.state}, its newest run {run.state}"
            for run in runs
            if run is run.job.runs[-1] and run.job.state != run.state
        ),
        *(
            f"run {run.server_name} has ended and its server was not removed"
            for run in runs
            if not JobState(run.state).alive and not run.server_removed
        ),
        *(
            f"run {run.server_name} began at {run.started} and ended at {run.ended}"
            for run in runs
            if run.started and run.ended and run.ended < run.started
        ),
    ]


def order_problems(session: Session) -> list[str]:
    """Nothing outlives what it hangs on, and nothing waits for what has ended."""
    return [
        *(f"job {job.id} has ended, and a child of it goes on" for job in families.stranded(session)),
        *(f"job {job.id} has ended, and something waits for it" for job in dependencies.unsettled(session)),
    ]


def event_problems(session: Session, runs: list[Run]) -> list[str]:
    """Every step of every run was recorded, and its end once."""
    events = list(session.scalars(select(Event)))
    submitted = Counter(event.urn for event in events if event.type == "job.submitted")
    steps: dict[str, list[str]] = {}
    for event in events:
        if event.type.startswith("run.") and "runId" in event.data:
            steps.setdefault(event.data["runId"], []).append(event.type)
    problems = [f"job {urn} was submitted {count} times" for urn, count in submitted.items() if count != 1]
    for run in runs:
        seen = steps.get(run.id, [])
        ends = [step for step in seen if step in FINAL_EVENTS]
        wanted = [] if JobState(run.state).alive else [f"run.{run.state.lower()}"]
        if ends != wanted:
            problems.append(f"run {run.server_name} is {run.state}, and its recorded ends are {ends}")
        if run.queued and seen.count("run.queued") != 1:
            problems.append(
                f"run {run.server_name} was admitted, and that was recorded {seen.count('run.queued')} times"
            )
        if run.job.urn not in submitted:
            problems.append(f"job {run.job_id} has no record of its submission")
    return problems


def ledger_problems(session: Session, runs: list[Run]) -> list[str]:
    """Each device that is held is held by a run that lives and asked for it; a run that has its room has all its devices."""
    holds: dict[str, set[str]] = {}
    for hold in session.scalars(select(DeviceHold)):
        holds.setdefault(hold.run_id, set()).add(hold.device)
    problems = []
    for run in runs:
        held_ = holds.pop(run.id, set())
        wanted = set(run.devices) if run.state in HOLDING else set()
        if held_ != wanted:
            problems.append(f"run {run.server_name} is {run.state}: the ledger has {held_}, its row {wanted}")
        if run.state in HOLDING and len(run.devices) != run.job.gpu:
            problems.append(f"run {run.server_name} asked for {run.job.gpu} GPUs and has {run.devices}")
    return [*problems, *(f"devices are held by no run: {devices}" for devices in holds.values())]


def device_problems(site: RunningSite, devices: dict[str, set[str]]) -> list[str]:
    """Containers were given the devices of their rows, and no device is in two of them."""
    seen: Counter[str] = Counter()
    problems = []
    for found in site.raw_containers():
        name = found["Config"]["Labels"]["toolkit.run"]
        variables = dict(item.partition("=")[::2] for item in found["Config"]["Env"])
        visible = variables.get("NVIDIA_VISIBLE_DEVICES", "")
        given = set() if visible == "void" else set(visible.split(","))
        seen.update(given)
        if given != devices.get(name, set()):
            problems.append(f"the container of {name} was given {given}, its row has {devices.get(name)}")
    return [*problems, *(f"{device} is in {count} containers" for device, count in seen.items() if count > 1)]


def container_problems(site: RunningSite, states: dict[str, str], running: set[str], holds: Amount) -> list[str]:
    """One container for each running row and the other way round, and together they have what the rows hold."""
    containers: list[dict[str, Any]] = site.raw_containers()
    names = [found["Config"]["Labels"]["toolkit.run"] for found in containers]
    problems = [f"run {name} has {names.count(name)} containers" for name in set(names) if names.count(name) > 1]
    problems += [f"container of {name}: its run is {states.get(name)}" for name in names if name not in running]
    problems += [f"run {name} is RUNNING without a container" for name in running if name not in names]
    for found, name in zip(containers, names, strict=True):
        if name in running and not found["State"]["Running"]:
            problems.append(f"run {name} is RUNNING, its container {found['State']['Status']}")
    shared = Counter(found["HostConfig"]["NetworkMode"] for found in containers if found["State"]["Running"])
    problems += [f"{count} runs are in {mode}" for mode, count in shared.items() if "container:" in mode and count > 1]
    cpu = sum(found["HostConfig"]["NanoCpus"] for found in containers) / 1e9
    mem = sum(found["HostConfig"]["Memory"] for found in containers) / 2**30
    if abs(cpu - holds.cpu) > 0.01 or abs(mem - holds.mem) > 0.01:
        problems.append(
            f"rows hold {holds.cpu:g} CPUs and {holds.mem:g} GiB, containers have {cpu:g} CPUs and {mem:g} GiB"
        )
    return problems


def server_problems(site: RunningSite, running: set[str]) -> list[str]:
    servers = hub_servers(site)
    return [
        *(f"the hub lacks the server of {name}" for name in running if name not in servers),
        *(f"the hub has a server {name} without a running run" for name in servers if name not in running),
    ]


def hub_servers(site: RunningSite) -> set[str]:
    reply = httpx.get(
        f"{site.settings.hub_url}/hub/api/users?include_stopped_servers=1",
        headers={"Authorization": f"token {site.settings.secret('service-token')}"},
    ).raise_for_status()
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
