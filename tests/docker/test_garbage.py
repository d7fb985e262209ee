"""Clean-up on the real engine: what the toolkit pulled or built goes when nobody uses it; nothing else ever does."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import tarfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from toolkit_client.models import JobSpec
from toolkit_hub import clock
from toolkit_hub.domain import jobs, retention, runs, users
from toolkit_hub.domain.access import actor_by_name
from toolkit_hub.domain.retention import Periods
from toolkit_hub.domain.site import Amount, Site
from toolkit_hub.garbage import Ground, folders
from toolkit_hub.garbage.engine_objects import built_images, containers, pulled_images
from toolkit_hub.garbage.sweep import LeftAlone, Sweep, Who
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.docker_api import INSTANCE_LABEL, RUN_LABEL, Engine
from toolkit_spawner.engine_stock import stocked_image
from toolkit_spawner.runtime.build import VERSION_LABEL

pytestmark = pytest.mark.engine

SITE = Site(Amount(4, 8), "toolkit-lab", Amount(1, 2), 2, "http", "localhost:1", "http://127.0.0.1:1", 10)


class Workshop:
    """An engine with images of this test's own."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.prefix = f"toolkit-test-{uuid.uuid4().hex[:8]}"
        self._containers: list[str] = []
        self._images: list[str] = []

    def do(self, call: Callable[[Any], Any]) -> Any:
        return asyncio.run(self.engine.call(call))

    def image(self, name: str, label: str | None = None) -> tuple[str, str]:
        """(reference, id) of a new image of some bytes."""
        reference = f"{self.prefix}/{name}:1"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            info = tarfile.TarInfo(uuid.uuid4().hex)
            tar.addfile(info)
        changes = [f"LABEL {VERSION_LABEL}={label}"] if label else []

        def make(client: Any) -> str:
            client.import_image_from_data(archive.getvalue(), repository=reference[:-2], tag="1", changes=changes)
            return str(client.inspect_image(reference)["Id"])

        image_id = self.do(make)
        self._images.append(image_id)
        return reference, image_id

    def container(self, image: str, labels: dict[str, str] | None = None, binds: list[str] | None = None) -> str:
        """A container that was created and never started."""

        def make(client: Any) -> str:
            config = {
                "Image": image,
                "Entrypoint": ["none"],
                "Labels": labels or {},
                "HostConfig": {"Binds": binds or []},
            }
            return str(client.create_container_from_config(config)["Id"])

        container_id = self.do(make)
        self._containers.append(container_id)
        return str(container_id)

    def has(self, image: str) -> bool:
        return asyncio.run(stocked_image(self.engine, image)) is not None

    def close(self) -> None:
        for container_id in self._containers:
            asyncio.run(self.engine.remove(container_id))
        for image_id in self._images:
            if self.has(image_id):
                self.do(lambda client, found=image_id: client.remove_image(found, force=True))
        self.engine.close()


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.close()


@pytest.fixture
def ground(workshop: Workshop, tmp_path: Path) -> Iterator[Ground]:
    store = Store(f"sqlite:///{tmp_path / 'toolkit.sqlite'}")
    store.migrate()
    with store.begin() as session:
        users.ensure_first_admin(session, "acme", "admin", "first password")
    places = [tmp_path / name for name in ("runs", "runtime", "accounts")]
    for place in places:
        place.mkdir()
    yield Ground(
        store,
        workshop.engine,
        workshop.prefix,
        *places,
        Volumes(tmp_path / "data"),
        Periods(),
        frozenset({f"{workshop.prefix}/default:1"}),
    )
    store.close()


@pytest.fixture
def later() -> Iterator[None]:
    """So much later that everything is past its period."""
    yield clock.set_clock(lambda: time.time() + timedelta(days=100).total_seconds())
    clock.set_clock()


def collect(ground: Ground, sweep: Sweep, mine: Collection[str] | None = None) -> set[str]:
    """Names of what was found and removed. `mine` bounds it where other things of this engine may be due as well."""

    async def work() -> set[str]:
        found = [due for due in await sweep(ground, 500) if mine is None or due.name in mine]
        for due in found:
            await due.remove(Who())
        return {due.name for due in found}

    return asyncio.run(work())


def pulled(ground: Ground, reference: str, image_id: str) -> None:
    """Recorded 100 days before `later`."""
    with ground.store.begin() as session:
        retention.record_pull(session, reference, image_id)
        session.flush()
        for row in session.query(retention.PulledImage).filter_by(reference=reference):
            row.pulled = datetime.now(UTC)


def test_only_pulled_and_unused_images_go(workshop: Workshop, ground: Ground, later: None) -> None:
    unused, unused_id = workshop.image("unused")
    used, used_id = workshop.image("used")
    own, _ = workshop.image("somebody-elses")
    default, default_id = workshop.image("default")
    workshop.container(used)
    for reference, image_id in ((unused, unused_id), (used, used_id), (default, default_id)):
        pulled(ground, reference, image_id)
    assert collect(ground, pulled_images) == {unused}
    assert not workshop.has(unused_id)
    assert all(workshop.has(reference) for reference in (used, own, default))
    assert collect(ground, pulled_images) == set()


def test_a_name_that_somebody_has_given_to_another_image_is_not_ours(
    workshop: Workshop, ground: Ground, later: None
) -> None:
    reference, ours = workshop.image("moved")
    pulled(ground, reference, ours)
    other, _ = workshop.image("other")
    workshop.do(lambda client: client.tag(other, reference[:-2], "1"))
    assert collect(ground, pulled_images) == {reference}
    assert not workshop.has(ours), "ours was left without a name"
    assert workshop.has(reference)
    assert collect(ground, pulled_images) == set(), "and the name is forgotten"


def test_an_image_with_a_second_name_keeps_it(workshop: Workshop, ground: Ground, later: None) -> None:
    reference, image_id = workshop.image("kept")
    workshop.do(lambda client: client.tag(reference, f"{workshop.prefix}/mine", "1"))
    pulled(ground, reference, image_id)
    [due] = asyncio.run(pulled_images(ground, 10))
    assert due.size == 0, "it stays on the disk"
    assert collect(ground, pulled_images) == {reference}
    assert workshop.has(f"{workshop.prefix}/mine:1")
    assert not workshop.has(reference)


def test_old_versions_of_our_own_images(workshop: Workshop, ground: Ground) -> None:
    reference, old = workshop.image("lab", label="old")
    _, wanted = workshop.image("lab", label="newer")
    _, held = workshop.image("lab", label="held")
    _, current = workshop.image("lab", label="current")
    workshop.container(held)
    with ground.store.begin() as session:
        actor = actor_by_name(session, "admin")
        assert actor is not None
        job, _ = jobs.submit_job(session, SITE, actor, JobSpec(command=["true"]))
        session.get_one(runs.Job, job.id).image_digest = wanted
    mine = {old, wanted, held, current}
    assert collect(ground, built_images, mine) == set(), "they are a minute old"
    clock.set_clock(lambda: time.time() + timedelta(days=2).total_seconds())
    try:
        assert collect(ground, built_images, mine) == {old}
    finally:
        clock.set_clock()
    assert not workshop.has(old)
    assert all(workshop.has(image) for image in (wanted, held, current, reference))


def test_containers_of_ended_runs_and_only_those(workshop: Workshop, ground: Ground) -> None:
    reference, _ = workshop.image("job")
    with ground.store.begin() as session:
        actor = actor_by_name(session, "admin")
        assert actor is not None
        made = [jobs.submit_job(session, SITE, actor, JobSpec(command=["true"]))[0] for _ in range(2)]
        admit_now(session, SITE)
        runs.mark_ended(session, made[0].runs[0].id, runs.Ending(0))
    labels = [{INSTANCE_LABEL: workshop.prefix, RUN_LABEL: job.runs[0].server_name} for job in made]
    ended, living = (workshop.container(reference, label) for label in labels)
    foreign = workshop.container(reference, {**labels[0], INSTANCE_LABEL: "another site"})
    assert not collect(ground, containers), "it has just ended: the reconciler is at it"
    clock.set_clock(lambda: time.time() + 700)
    try:
        assert collect(ground, containers) == {made[0].runs[0].server_name}
    finally:
        clock.set_clock()
    left = {item["Id"] for item in workshop.do(lambda client: client.containers(all=True))}
    assert {ended, living, foreign} & left == {living, foreign}


def test_runtimes_that_no_container_mounts(workshop: Workshop, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    current, held, old = (ground.runtime_dir / (letter * 16) for letter in "abc")
    for folder in (current, held, old):
        (folder / "init").mkdir(parents=True)
    (ground.runtime_dir / "current").symlink_to(current.name)
    reference, _ = workshop.image("job")
    workshop.container(reference, binds=[f"{held / 'init'}:/opt/toolkit:ro"])
    assert not collect(ground, folders.runtimes), "a start may still hold the old link"
    monkeypatch.setattr(folders, "SWITCH_GRACE_S", -1)
    with (ground.runtime_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LeftAlone, match="being built"):
            collect(ground, folders.runtimes)
        assert old.exists()
    assert collect(ground, folders.runtimes) == {old.name}
    assert sorted(path.name for path in ground.runtime_dir.iterdir() if path.name != ".lock") == [
        current.name,
        held.name,
        "current",
    ]


def test_account_files_go_with_their_image(workshop: Workshop, ground: Ground) -> None:
    _, image_id = workshop.image("job")
    kept, gone = image_id.replace(":", "-"), f"sha256-{'0' * 64}"
    for name in (kept, gone, "notes"):
        (ground.accounts_dir / name).mkdir()
    assert collect(ground, folders.account_files) == {gone}
    assert set(os.listdir(ground.accounts_dir)) == {kept, "notes"}
