"""Places on the jobs' network that are made ready in advance: one run at a time has one, and a used one is used again."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.run_container import wait_for
from tests.support.confined_job import JobHouse
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.network_pool import NetworkPool
from toolkit_spawner.runtime import LAB_IMAGE

pytestmark = pytest.mark.engine

#: A server without SO_REUSEADDR; with an argument it closes a connection first and ends, which the kernel remembers (TIME_WAIT).
SERVER = """
import socket, sys, time
server = socket.socket(); server.bind(("127.0.0.1", 5000)); server.listen()
print("listening", flush=True)
if not sys.argv[1:]: time.sleep(1000)
client = socket.create_connection(("127.0.0.1", 5000)); server.accept()[0].close(); client.recv(1)
"""


@pytest.fixture
def house(engine: Engine, runtime_folder: Path, tmp_path: Path) -> Iterator[JobHouse]:
    house = JobHouse(engine, (runtime_folder / "current").resolve(), tmp_path, prepared=True)
    yield house
    house.close()


def holder_of(house: JobHouse, container: str) -> str:
    raw = house.call(house.engine.call(lambda client: client.inspect_container(container)))
    mode = str(raw["HostConfig"]["NetworkMode"])
    assert mode.startswith("container:")
    return mode.removeprefix("container:")


def test_a_run_has_its_place_for_itself_until_it_ends(house: JobHouse) -> None:
    jobs = [house.listener() for _ in range(4)]
    holders = {holder_of(house, job.id) for job in jobs}
    assert len(holders) == len({job.ip for job in jobs}) == 4
    for job in jobs:
        assert house.call(house.engine.inspect(job.id)).ip == job.ip
    house.call(house.engine.stop(jobs[0].id, grace=0))
    left = holder_of(house, jobs[0].id)
    for _ in range(3):
        again = holder_of(house, house.listener().id)
        assert again not in holders - {left}, "two runs that live have the same place"
        holders.add(again)


def test_places_of_ended_runs_are_used_again(house: JobHouse) -> None:
    for _ in range(5):
        house.start("true").output()
    house.call(house.pool.fill(house.network))
    assert len(house.holders()) <= 6  # three that are free, and at most as many to spare


def test_a_place_rests_while_its_last_runs_connections_are_remembered(house: JobHouse) -> None:
    """The next run's server could not listen on their ports."""
    first = house.start("python3", "-c", SERVER, "once")
    assert first.output() == "listening\n"
    left, quiet = holder_of(house, first.id), holder_of(house, (silent := house.start("true")).id)
    silent.output()
    holders = []
    for _ in range(5):
        house.call(house.pool.fill(house.network))
        job = house.start("python3", "-c", SERVER)
        job.wait_log("listening")
        holders.append(holder_of(house, job.id))
    assert left not in holders
    assert quiet in holders


def test_a_run_that_was_lent_a_place_is_trusted_before_the_listing_shows_it(house: JobHouse) -> None:
    """Between the loan and the container, and again while an older answer of the engine is on its way, nobody else gets it."""
    house.call(house.pool.fill(house.network))

    async def take() -> set[str]:
        places = [await house.pool.take(house.network) for _ in range(3)]
        await house.pool.fill(house.network)  # sees no borrower at the engine
        more = [await house.pool.take(house.network) for _ in range(3)]
        found = [place.holder for place in (*places, *more) if place is not None]
        assert len(found) == len(set(found)) == 6
        return set(found)

    house.call(take())


def test_a_place_that_is_being_made_is_left_alone(house: JobHouse) -> None:
    """By whoever counts meanwhile: the engine lists it as one that does not run."""

    async def fill_and_count() -> None:
        filling = asyncio.create_task(house.pool.fill(house.network))
        while not filling.done():
            await house.pool.fill(house.network)
            await asyncio.sleep(0)
        await filling

    house.call(fill_and_count())
    assert len(house.holders()) == 3


def test_a_holder_that_died_or_does_not_fit_any_more_is_replaced(house: JobHouse, engine: Engine) -> None:
    house.call(house.pool.fill(house.network))
    before = set(house.holders())
    dead = sorted(before)[0]
    house.call(engine.stop(dead, grace=0))
    house.call(house.pool.fill(house.network))
    assert dead not in house.holders()
    assert len(house.holders()) == 3
    closed = house.network.model_copy(update={"internet": False})
    house.call(house.pool.fill(closed))
    assert not set(house.holders()) & before


def test_a_pool_that_begins_finds_what_another_left(house: JobHouse, engine: Engine) -> None:
    """The hub was killed: its runs keep their places, its free places are used on."""
    job = house.listener()
    house.call(house.pool.fill(house.network))
    before = set(house.holders())
    other = NetworkPool(engine, house.keeper, LAB_IMAGE, 3)
    house.call(other.fill(house.network))
    assert set(house.holders()) == before
    places = [house.call(other.take(house.network)) for _ in range(3)]
    house.call(other.close())
    assert holder_of(house, job.id) not in {place.holder for place in places if place}


def test_a_pool_of_no_size_makes_nothing(house: JobHouse, engine: Engine) -> None:
    none = NetworkPool(engine, house.keeper, LAB_IMAGE, 0)
    assert house.call(none.take(house.network)) is None
    assert house.holders() == []


def test_a_holder_has_no_rights_and_next_to_no_memory(house: JobHouse) -> None:
    house.call(house.pool.fill(house.network))
    [first, *_] = house.holders()
    raw = house.call(house.engine.call(lambda client: client.inspect_container(first)))
    assert raw["Config"]["User"] == "13011:13011"
    assert raw["HostConfig"]["CapDrop"] == ["ALL"]
    assert raw["HostConfig"]["ReadonlyRootfs"]
    assert raw["HostConfig"]["Memory"] <= 64 * 2**20
    status = Path(f"/proc/{raw['State']['Pid']}/status").read_text()
    assert "CapEff:\t0000000000000000" in status
    isolated = subprocess.run(["cat", *map(str, _ports(house))], capture_output=True, text=True, check=True).stdout
    wait_for("ports kept apart", lambda: set(isolated.split()) == {"1"})


def _ports(house: JobHouse) -> list[Path]:
    return sorted(Path("/sys/class/net", house.network.bridge, "brif").glob("*/isolated"))
