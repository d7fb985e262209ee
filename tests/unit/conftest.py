"""A store with three users, for tests of domain functions: no unit, no engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from toolkit_client.models import Job, JobSpec, NewUser
from toolkit_hub.domain import access, jobs, users
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.launch import Places
from toolkit_hub.domain.site import Site
from toolkit_hub.queue.plan import Amount
from toolkit_hub.store import Store


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
        )
        self.places = Places("instance", folder / "runs", folder / "data", folder / "runtime", "net", True)

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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'toolkit.sqlite'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the three users, made once: hashing passwords takes its time by design."""
    file = tmp_path_factory.mktemp("populated") / "toolkit.sqlite"
    made = Store(f"sqlite:///{file}")
    made.migrate()
    with made.begin() as session:
        assert users.ensure_first_admin(session, "acme", "admin", "first password")
        for name in ("alice", "bob"):
            users.create_user(session, People.actor(session, "admin"), People.new_user(name))
    made.close()
    return file


@pytest.fixture
def people(populated: Path, tmp_path: Path) -> Iterator[People]:
    shutil.copy(populated, tmp_path / "people.sqlite")
    opened = Store(f"sqlite:///{tmp_path / 'people.sqlite'}")
    yield People(opened, tmp_path)
    opened.close()
