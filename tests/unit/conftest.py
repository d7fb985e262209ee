"""A store with three users, on SQLite and on PostgreSQL, for tests of domain functions: no unit, no engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.support.postgres import Cluster
from toolkit_client.models import Job, JobSpec, NewUser
from toolkit_hub import clock
from toolkit_hub.domain import access, jobs, users
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.launch import Places
from toolkit_hub.domain.site import Amount, Site
from toolkit_hub.store import Store
from toolkit_spawner.launch import JobNetwork


class People:
    """admin, alice and bob of `acme`, on a site with 4 CPUs and 8 GiB."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.site = Site(
            total=Amount(4, 8),
            default_image="toolkit-lab",
            server_asks=Amount(1, 2),
            interactive_limit=2,
            jobs_scheme="http",
            jobs_domain="localhost:8001",
            public_url="http://127.0.0.1:8000",
            stop_grace=10,
            image_names={"python": "toolkit-lab"},
        )
        network = JobNetwork(name="net", bridge="tk-net", instance="instance")
        folders = (folder / "runs", folder / "data", folder / "runtime", folder / "accounts")
        self.places = Places("instance", *folders, network, True, 256)

    @staticmethod
    def new_user(name: str) -> NewUser:
        return NewUser(name=name, password="a good password")

    @staticmethod
    def actor(session: Session, name: str) -> Actor:
        actor = access.actor_by_name(session, name)
        assert actor is not None
        return actor

    def submit(self, user: str, key: str | None = None, **spec: Any) -> Job:
        with self.store.begin() as session:
            wanted = JobSpec.model_validate({"command": ["true"], **spec})
            return jobs.submit_job(session, self.site, self.actor(session, user), wanted, key)[0]


def fill(store: Store) -> None:
    """The three users. Hashing passwords takes its time by design, so it is done once a session and database."""
    store.migrate()
    with store.begin() as session:
        assert users.ensure_first_admin(session, "acme", "admin", "first password")
        for name in ("alice", "bob"):
            users.create_user(session, People.actor(session, "admin"), People.new_user(name))
    store.close()


@pytest.fixture(scope="session")
def populated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQLite with the three users, to copy."""
    file = tmp_path_factory.mktemp("populated") / "toolkit.sqlite"
    fill(Store(f"sqlite:///{file}"))
    return file


@pytest.fixture(scope="session")
def populated_template(postgres: Cluster) -> str:
    """Name of a PostgreSQL database with the three users, to copy."""
    name = postgres.create()
    fill(Store(postgres.url(name)))
    return name


@pytest.fixture(scope="session")
def migrated_template(postgres: Cluster) -> str:
    """Name of a PostgreSQL database with empty tables, to copy."""
    name = postgres.create()
    made = Store(postgres.url(name))
    made.migrate()
    made.close()
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each test of the store and of what stands on it runs on both databases."""
    return str(request.param)


@pytest.fixture
def store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with empty tables."""
    if backend == "sqlite":
        url = f"sqlite:///{tmp_path / 'toolkit.sqlite'}"
        made = Store(url)
        made.migrate()
        made.close()
        yield url
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database(request.getfixturevalue("migrated_template")) as name:
        yield cluster.url(name)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def people_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database with the three users."""
    if backend == "sqlite":
        shutil.copy(request.getfixturevalue("populated_file"), tmp_path / "people.sqlite")
        yield f"sqlite:///{tmp_path / 'people.sqlite'}"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database(request.getfixturevalue("populated_template")) as name:
        yield cluster.url(name)


@pytest.fixture
def people(people_url: str, tmp_path: Path) -> Iterator[People]:
    opened = Store(people_url)
    yield People(opened, tmp_path)
    opened.close()


@pytest.fixture
def move() -> Iterator[Callable[[float], None]]:
    """Put the clock forward by seconds."""
    start, ahead = time.time(), [0.0]
    clock.set_clock(lambda: start + ahead[0])

    def forward(seconds: float) -> None:
        ahead[0] += seconds

    yield forward
    clock.set_clock()
