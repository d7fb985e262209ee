"""The sampler on folders that stand for control groups: runs that come and go, a database that is away, devices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from tests.unit.conftest import People
from toolkit_client.errors import ServiceUnavailable
from toolkit_hub.domain import runs
from toolkit_hub.domain.running import running_runs, site_counts
from toolkit_hub.domain.samples import DEVICES, RUNS
from toolkit_hub.metrics.exposition import Moment, exposition
from toolkit_hub.metrics.sampler import Sampler
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store import Store
from toolkit_spawner.device_readings import DeviceReading
from toolkit_spawner.docker_api import Engine


@dataclass
class Devices:
    """Two devices, of which one does not tell its temperature."""

    found: dict[str, DeviceReading] = field(
        default_factory=lambda: {"GPU-1": DeviceReading(75.0, 2**30, None, 2**34), "GPU-2": DeviceReading(0.0, 0, 30.0)}
    )

    def read(self) -> Mapping[str, DeviceReading]:
        return self.found


class House:
    """A store with running runs, and the folder of their control groups."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people, self.folder = people, folder
        self.containers: dict[str, str] = {}
        self.held: dict[str, list[str]] = {}
        self.engine = Engine(f"unix://{folder}/no-engine.sock")
        self.devices = Devices()

    def sampler(self) -> Sampler:
        return Sampler(
            self.people.store,
            self.engine,
            lambda: self.containers,
            devices=self.devices,
            held_devices=lambda session: self.held,
            cgroups=self.folder,
        )

    def run(self, user: str = "alice") -> str:
        """The id of a run that has its room, with a control group."""
        run = self.people.submit(user, resources={"cpu": 1, "mem": 1}).runs[0]
        with self.people.store.begin() as session:
            assert admit_now(session, self.people.site).starts == (run.id,)
        self.containers[run.server_name] = run.id.ljust(64, "0")
        self.use(run.id, 1.0)
        return run.id

    def use(self, run_id: str, cpu: float, memory: int = 2**28) -> None:
        group = self.folder / "docker" / run_id.ljust(64, "0")
        group.mkdir(parents=True, exist_ok=True)
        (group / "cpu.stat").write_text(f"usage_usec {int(cpu * 1e6)}\n")
        (group / "memory.current").write_text(f"{memory}\n")
        (group / "io.stat").write_text("")

    def gone(self, run_id: str) -> None:
        group = self.folder / "docker" / run_id.ljust(64, "0")
        for file in group.iterdir():
            file.unlink()
        group.rmdir()

    def stored(self) -> list[tuple[str, float | None, int | None]]:
        columns = RUNS.table.c
        query = select(columns.run_id, columns.cpu, columns.memory).where(columns.step == 5)
        with self.people.store.begin(write=False) as session:
            return [tuple(row) for row in session.execute(query)]


@pytest.fixture
def house(people: People, tmp_path: Path) -> Iterator[House]:
    made = House(people, tmp_path)
    yield made
    made.engine.close()


def text_of(house: House, sampler: Sampler) -> str:
    with house.people.store.begin(write=False) as session:
        counts = site_counts(session)
    return exposition(Moment(house.people.site, counts, sampler.seen(), sampler.device_readings)).decode()


def test_a_run_that_vanishes_while_it_is_read_disturbs_no_other(house: House) -> None:
    async def scenario() -> None:
        sampler = house.sampler()
        one, two = house.run("alice"), house.run("bob")
        await sampler.sample()
        assert {seen.run.run_id for seen in sampler.seen()} == {one, two}
        assert [(seen.run.account, seen.run.user) for seen in sampler.seen()] == [
            ("acme.alice", "acme.alice"),
            ("acme.bob", "acme.bob"),
        ]
        house.gone(one)  # its container has ended; nobody has said so yet, and the engine does not answer
        house.use(two, 3.0)
        await sampler.sample()
        (seen,) = sampler.seen()
        assert seen.run.run_id == two
        assert seen.sample.cpu is not None
        assert seen.sample.cpu > 0
        assert f'toolkit_run_memory_bytes{{account="acme.bob",job_id="{seen.run.job_id}"' in text_of(house, sampler)
        await sampler.store()

    asyncio.run(scenario())
    assert {row[0] for row in house.stored()} == {run.run_id for run in _running(house)}


def _running(house: House) -> list[object]:
    with house.people.store.begin(write=False) as session:
        return list(running_runs(session))


def test_an_ended_run_has_no_series(house: House) -> None:
    async def scenario() -> None:
        sampler, run_id = house.sampler(), house.run()
        await sampler.sample()
        job_id = sampler.seen()[0].run.job_id
        assert job_id in text_of(house, sampler)
        with house.people.store.begin() as session:
            runs.mark_ended(session, run_id, runs.Ending(0))
        assert job_id not in text_of(house, sampler), "also before the next reading"
        await sampler.sample()

    asyncio.run(scenario())


def test_the_first_reading_knows_no_rates(house: House) -> None:
    async def scenario() -> None:
        sampler, run_id = house.sampler(), house.run()
        await sampler.sample()
        await sampler.store()
        assert house.stored() == [(run_id, None, 2**28)]

    asyncio.run(scenario())


def test_readings_wait_for_a_database_that_is_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        sampler, run_id = house.sampler(), house.run()
        await sampler.sample()
        good, away = house.people.store, Store("postgresql://nobody@127.0.0.1:1/none")
        monkeypatch.setattr(sampler, "_store", away)
        with pytest.raises(ServiceUnavailable):
            await sampler.store()
        assert [sample.run_id for sample in sampler.fresh()] == [run_id]
        monkeypatch.setattr(sampler, "_store", good)
        await sampler.store()
        assert sampler.fresh() == []
        assert len(house.stored()) == 1
        away.close()

    asyncio.run(scenario())


def test_devices_are_those_that_a_run_holds(house: House) -> None:
    async def scenario() -> None:
        sampler, run_id = house.sampler(), house.run()
        house.held = {run_id: ["GPU-1", "GPU-gone"]}
        await sampler.sample()
        await sampler.sample()
        text = text_of(house, sampler)
        series = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("toolkit_run_gpu_")]
        assert [line for line in text.splitlines() if "GPU-2" in line or "GPU-gone" in line] == []
        assert len(series) == 2, "the temperature is unknown, so there is none"
        assert "toolkit_gpus 2.0" in text.splitlines()
        assert "toolkit_gpus_held 2.0" in text.splitlines()
        await sampler.store()

    asyncio.run(scenario())
    with house.people.store.begin(write=False) as session:
        found = _devices(session)
    assert found == {("GPU-1", 75.0, 2**30, None)}


def _devices(session: Session) -> set[tuple[str, float, int, float | None]]:
    columns = DEVICES.table.c
    query = select(columns.device, columns.use, columns.memory, columns.temperature)
    return {tuple(row) for row in session.execute(query)}  # type: ignore[misc]


def test_which_runs_there_are_is_asked_only_when_that_changes(house: House) -> None:
    async def scenario() -> None:
        sampler = house.sampler()
        house.devices.found = {}
        house.run("alice")
        await sampler.sample()
        asked: list[str] = []
        event.listen(house.people.store.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
        await sampler.sample()
        assert asked == []
        house.run("bob")
        before = len(asked)
        await sampler.sample()
        selects = [text for text in asked[before:] if text.startswith("SELECT runs.id")]
        assert len(selects) == 1, "one question for all runs"
        assert len(sampler.seen()) == 2

    asyncio.run(scenario())
