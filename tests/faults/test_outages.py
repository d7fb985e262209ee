"""Parts that are away, slow, held or wrong about the time, while jobs are submitted and run."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.faults.scenarios import PATIENT, Scene
from tests.support.engine_relay import EngineRelay
from tests.support.fault_plan import FaultPlan
from tests.support.invariants import hub_servers, wait_for_rest
from tests.support.running_site import RunningSite, wait_until
from toolkit_client.models import Job

pytestmark = pytest.mark.engine

ResultT = TypeVar("ResultT")


def at_once(count: int, call: Callable[[], ResultT]) -> list[ResultT]:
    with ThreadPoolExecutor(count) as people:
        return [task.result() for task in [people.submit(call) for _ in range(count)]]


def running_scene(site: RunningSite, relay: EngineRelay, **spec: object) -> Scene:
    scene = Scene(site, relay)
    scene.submit(**spec)
    assert scene.wait("RUNNING").alive
    return scene


def ends_well(scene: Scene) -> None:
    scene.finish()
    wait_for_rest(scene.site)
    scene.ended_as_it_should()


# --- many at once -------------------------------------------------------------------------------------------------------


def test_fifty_submits_with_one_key_are_one_job(shaky: RunningSite, relay: EngineRelay) -> None:
    scene = Scene(shaky, relay)

    def submit() -> str:
        with shaky.client() as client:
            return client.jobs.submit({"command": PATIENT}, scene.key).id

    before = len(all_jobs(shaky))
    ids = set(at_once(50, submit))
    assert len(ids) == 1
    assert len(all_jobs(shaky)) == before + 1
    scene.job_id = ids.pop()
    ends_well(scene)


def all_jobs(site: RunningSite) -> list[Job]:
    with site.client() as client:
        return list(client.jobs.list(state="all"))


@pytest.mark.parametrize("moment", ["queued", "running"])
def test_two_kills_at_once(shaky: RunningSite, relay: EngineRelay, moment: str) -> None:
    scene = Scene(shaky, relay)
    scene.submit()
    if moment == "running":
        scene.wait("RUNNING")
    at_once(2, scene.kill)
    assert scene.wait("CANCELLED").state == "CANCELLED"
    [kill] = [event for event in events_of(shaky, scene.job_id) if event == "job.kill"]
    assert kill


def events_of(site: RunningSite, job_id: str) -> list[str]:
    from sqlalchemy import select

    from toolkit_hub.store.tables import Event, Job

    store = site.store()
    with store.begin(write=False) as session:
        urn = session.get_one(Job, job_id).urn
        found = list(session.scalars(select(Event.type).where(Event.urn == urn).order_by(Event.seq)))
    store.close()
    return found


# --- units --------------------------------------------------------------------------------------------------------------


def test_a_job_survives_the_hubs_readiness_time_out(shaky: RunningSite, relay: EngineRelay) -> None:
    """Nobody answers for the new server, so the hub gives it up and wants to stop it."""
    scene = Scene(shaky, relay)
    shaky.unit("stop", "gate")
    try:
        scene.submit()
        assert scene.wait("RUNNING").alive
        container = [found.id for found in shaky.containers()]
        log = shaky.state / "logs" / "hub.log"
        wait_until(lambda: "its container is left alone" in log.read_text(errors="replace"), "the hub to give up", 30)
        assert [found.id for found in shaky.containers() if found.running] == container
        assert scene.job().state == "RUNNING"
    finally:
        shaky.unit("start", "gate")
    wait_until(lambda: scene.job().runs[0].server_name in hub_servers(shaky), "the hub to take it back", 40)
    assert [found.id for found in shaky.containers() if found.running] == container
    ends_well(scene)


def test_a_killed_proxy_has_its_routes_back_at_once(shaky: RunningSite, relay: EngineRelay) -> None:
    scene = running_scene(shaky, relay)
    wait_for_rest(shaky)
    os.kill(shaky.unit_pid("proxy"), signal.SIGKILL)
    wait_until(shaky.is_ready, "the routes", 15)
    ends_well(scene)


def test_a_kill_works_while_the_hub_is_away(shaky: RunningSite, relay: EngineRelay) -> None:
    scene = running_scene(shaky, relay)
    wait_for_rest(shaky)
    run = scene.job().runs[0].server_name
    # Held, not stopped: its answer stays open, which is worse than a refusal. Who asks was identified before.
    hub = shaky.unit_pid("hub")
    scene.job()
    os.kill(hub, signal.SIGSTOP)
    try:
        with shaky.client() as client:
            client.jobs.kill(scene.job_id)
        wait_until(lambda: not any(found.run == run for found in shaky.containers()), "the container to go", 20)
    finally:
        os.kill(hub, signal.SIGCONT)
    assert scene.wait("CANCELLED").state == "CANCELLED"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "slow"])
def test_the_job_server_is_the_jobs_own_affair(shaky: RunningSite, number: signal.Signals) -> None:
    with shaky.client() as client:
        job = client.servers.start()
    shaky.wait_state(job.id, "RUNNING")
    pid = wait_until(lambda: job_server_pid(shaky, job.id), "the job server", 40)
    os.kill(pid, number)
    try:
        time.sleep(2)
        wait_for_rest(shaky)
        with shaky.client() as client:
            assert client.jobs.get(job.id).state == "RUNNING"
    finally:
        if number == signal.SIGSTOP:
            os.kill(pid, signal.SIGCONT)
    with shaky.client() as client:
        client.jobs.kill(job.id)
    shaky.wait_state(job.id, "CANCELLED")


def job_server_pid(site: RunningSite, job_id: str) -> int | None:
    """As the machine numbers it."""
    with site.client() as client:
        name = client.jobs.get(job_id).runs[-1].server_name
    [container] = [found.id for found in site.containers() if found.run == name]
    listed = site.engine_call(lambda engine: engine.call(lambda client: client.top(container)))
    assert isinstance(listed, dict)
    column = listed["Titles"].index("PID")
    return next((int(row[column]) for row in listed["Processes"] if "toolkit-job-server" in " ".join(row)), None)


# --- the engine, the database, the time -----------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_an_engine_that_hangs_holds_nobody_up(shaky: RunningSite, relay: EngineRelay) -> None:
    scene = running_scene(shaky, relay)
    relay.flowing.clear()
    try:
        began = time.monotonic()
        assert scene.job().state == "RUNNING"
        assert time.monotonic() - began < 3
        later = Scene(shaky, relay)
        later.submit()
        assert time.monotonic() - began < 20
        wait_until(lambda: "Docker Engine" in later.job().state_info, "the reason to be said", 40)
    finally:
        relay.flowing.set()
    for each in (scene, later):
        ends_well(each)


@pytest.mark.exhaustive
def test_a_locked_database_loses_no_acknowledged_write(shaky: RunningSite, relay: EngineRelay) -> None:
    running = running_scene(shaky, relay)
    scenes = [Scene(shaky, relay) for _ in range(5)]
    holder = sqlite3.connect(shaky.state / "toolkit.sqlite", isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    threading.Timer(10, lambda: holder.execute("ROLLBACK")).start()
    with ThreadPoolExecutor(6) as people:
        killing = people.submit(running.kill)
        began = time.monotonic()
        assert running.job().alive, "readers do not wait for writers"
        assert time.monotonic() - began < 3
        for task in [people.submit(scene.submit) for scene in scenes]:
            task.result()
        killing.result()
    holder.close()
    assert running.wait("CANCELLED").state == "CANCELLED"
    for scene in scenes:
        ends_well(scene)


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_ends_and_revives_nothing(
    shaky: RunningSite, relay: EngineRelay, plan: FaultPlan, hours: int
) -> None:
    ended, running = running_scene(shaky, relay), running_scene(shaky, relay)
    ends_well(ended)
    containers = {found.id for found in shaky.containers()}
    plan.move_clock(3600 * hours)
    try:
        meanwhile = running_scene(shaky, relay)
        ends_well(meanwhile)
        shaky.unit("restart", "service")
        time.sleep(1)
        wait_for_rest(shaky)
        assert {found.id for found in shaky.containers()} == containers
        assert running.job().state == "RUNNING"
        assert not ended.job().alive
        still_running = running_scene(shaky, relay)
    finally:
        plan.move_clock(0)
    for scene in (running, still_running):
        ends_well(scene)
    for scene in (ended, meanwhile, running, still_running):
        assert (scene.job().runs[0].run_time or 0) >= 0
