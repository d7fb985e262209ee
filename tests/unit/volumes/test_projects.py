"""Project quotas: numbers of accounts, marks on files, and the limits, where the kernel of this machine has them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.conftest import People
from tests.unit.volumes.test_file_systems import mounted
from tests.unit.volumes.trees import DATA, Volume
from toolkit_client.access_models import NewData
from toolkit_client.data_models import QuotaPatch
from toolkit_client.errors import InsufficientStorage
from toolkit_hub.domain import data, data_usage
from toolkit_hub.domain.data_usage import DataLimits
from toolkit_hub.keeping.project_limits import ProjectLimits
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.projects import FIRST, Projects, project_of
from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID


def project(path: Path) -> int:
    file = os.open(path, os.O_RDONLY)
    try:
        return project_of(file)
    finally:
        os.close(file)


@contextmanager
def as_job(volumes: Volumes, data_id: str) -> Iterator[None]:
    """As the user that jobs run as, in the live folder: root may write beyond a limit on some file systems."""
    before = Path.cwd()
    os.chdir(volumes.live(data_id))
    os.setegid(CONTAINER_GID)
    os.seteuid(CONTAINER_UID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.chdir(before)


def refused(volumes: Volumes, data_id: str, files: int, size: int) -> None:
    """One of so many new files does not fit."""
    with pytest.raises(OSError) as caught, as_job(volumes, data_id):
        for number in range(files):
            Path(f"more-{number}").write_bytes(bytes(size))
    assert caught.value.errno in (errno.EDQUOT, errno.ENOSPC)
    for path in volumes.live(data_id).glob("more-*"):
        path.unlink()


def test_every_account_has_a_number_of_its_own_for_ever(tmp_path: Path) -> None:
    got: dict[str, set[int]] = {}

    def ask(account: str) -> None:
        for _ in range(20):
            got.setdefault(account, set()).add(Projects(tmp_path).number_of(account))

    threads = [threading.Thread(target=ask, args=(f"account-{number % 4}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(numbers) == 1 for numbers in got.values())
    assert set.union(*got.values()) == {FIRST, FIRST + 1, FIRST + 2, FIRST + 3}
    assert (tmp_path / "projects").read_text().count("\n") == 4


def test_where_there_are_none(tmp_path: Path) -> None:
    with mounted(tmp_path, "btrfs", 128 * 2**20) as place:
        assert not Projects(place).available()


def test_marks_are_inherited_and_versions_still_link(tmp_path: Path) -> None:
    with mounted(tmp_path, "xfs", 320 * 2**20) as place:
        volume = Volume(place)
        volume.write("a/b/file", "x")
        outside = place / "outside"
        outside.mkdir()
        (volume.live / "link").symlink_to(outside)
        os.mkfifo(volume.live / "fifo")
        projects = Projects(place)
        number = projects.number_of("account")
        assert projects.mark(volume.volumes.folder(DATA), number)
        assert not projects.mark(volume.volumes.folder(DATA), number)
        assert project(outside) == 0
        volume.write("a/new/file", "x")
        staged = volume.volumes.staging(DATA) / "upload"
        staged.write_text("x")
        staged.rename(volume.live / "pushed")
        things = [path for path in volume.live.rglob("*") if path.name not in ("link", "fifo")]
        assert {project(path) for path in things} == {number}
        volume.commit()
        assert volume.commit().linked == 3
        assert project(volume.version() / "a/b/file") == number


@pytest.fixture(params=["xfs", "ext4"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system with project quotas."""
    made_with = {"xfs": (), "ext4": ("-O", "quota,project", "-E", "quotatype=prjquota")}[request.param]
    with mounted(tmp_path, request.param, 320 * 2**20, "prjquota", made_with=made_with) as place:
        yield place


def test_the_file_system_keeps_the_limits(limited: Path) -> None:
    volume, other = Volume(limited), limited / "other"
    other.mkdir()
    projects = Projects(limited)
    assert projects.available()
    number = projects.number_of("account")
    assert projects.taken(number).bytes == 0
    projects.mark(volume.volumes.folder(DATA), number)
    volume.write("file", os.urandom(4 * 2**20))
    volume.commit()
    os.sync()
    taken = projects.taken(number)
    assert 8 * 2**20 <= taken.bytes < 9 * 2**20, "a clone counts as a copy does"
    assert taken.inodes == 4 + 1 + 3
    projects.limit(number, 12 * 2**20, 20)
    refused(volume.volumes, DATA, 1, 8 * 2**20)
    (other / "more").write_bytes(os.urandom(8 * 2**20))
    volume.write("large", os.urandom(3 * 2**20))
    if limited.name == "xfs":  # ext4 lets root write on
        with pytest.raises(InsufficientStorage):
            volume.commit()
        assert volume.left() == []
    projects.limit(number, None, None)
    assert volume.commit().files == 2
    projects.limit(number, None, projects.taken(number).inodes)
    # What was removed a moment ago may still be counted, so it is not the first one that does not fit.
    refused(volume.volumes, DATA, 40, 0)


def test_the_limits_of_accounts_reach_the_file_system(limited: Path, people_sqlite: People) -> None:
    """From the row to a job that is refused while it writes, and back when the limit goes."""
    volumes, store = Volumes(limited), people_sqlite.store
    with store.begin() as session:
        made = data.create_data(session, people_sqlite.actor(session, "alice"), NewData(name="images"))[0]
    volumes.ensure(made.id)
    keeper = ProjectLimits(store, volumes, DataLimits())

    def limit(size: int | None) -> None:
        with store.begin() as session:
            admin = people_sqlite.actor(session, "admin")
            data_usage.set_quota(session, admin, "acme.alice", QuotaPatch(data_limit=size), DataLimits())
        asyncio.run(keeper.round())

    limit(4 * 2**20)
    refused(volumes, made.id, 1, 8 * 2**20)
    limit(None)
    (volumes.live(made.id) / "file").write_bytes(bytes(8 * 2**20))


@pytest.fixture
def people_sqlite(populated_file: Path, tmp_path: Path) -> Iterator[People]:
    shutil.copy(populated_file, tmp_path / "people.sqlite")
    opened = Store(f"sqlite:///{tmp_path / 'people.sqlite'}")
    yield People(opened, tmp_path)
    opened.close()
