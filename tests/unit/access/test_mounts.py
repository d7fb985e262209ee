"""Data in jobs: who may mount what and how, which version it is, and that each start asks again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from tests.unit.access.house import House
from tests.unit.conftest import People
from toolkit_client.access_models import Data, NewData, NewLock, NewRoleKey, RenamePatch
from toolkit_client.errors import NotFound, PermissionDenied
from toolkit_client.models import Job, JobSpec, JobState
from toolkit_hub.domain import access, data, jobs, launch, locks, members, mounts, role_keys, roles, runs, users
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.queue.loop import admit_now
from toolkit_hub.store.data_tables import DataVersion
from toolkit_hub.store.tables import Account, Event, Run
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.launch import LaunchSpec


class Site:
    """What the tests do to alice's data `images`."""

    def __init__(self, people: People) -> None:
        self.people, self.house = people, House(people.store)
        self.images: Data = self.house.do("alice", data.create_data, NewData(name="images"))[0]

    def submit(self, who: str, *items: str, **spec: Any) -> Job:
        return self.house.do(who, self._submit, *items, **spec)

    def _submit(self, session: Any, actor: Actor, *items: str, **spec: Any) -> Job:
        wanted = JobSpec.model_validate({"command": ["true"], "data": list(items), **spec})
        return jobs.submit_job(session, self.people.site, actor, wanted)[0]

    def submit_by_token(self, token: str, *items: str) -> Job:
        with self.people.store.begin() as session:
            actor = access.actor_by_key(session, token)
            assert actor is not None
            return self._submit(session, actor, *items, account="acme.bob", detach=True)

    def refused(self, error: type[Any], who: str, *items: str, **spec: Any) -> Any:
        return self.house.refused(error, who, self._submit, *items, **spec)

    def give(self, action: str, user: str = "bob") -> str:
        role = self.house.role("alice", f"acme.alice.{user}-{action.replace(':', '-')}", f"{action}@{self.images.urn}")
        self.house.join("alice", role, user)
        return role

    def leave(self, role: str, user: str = "bob") -> None:
        self.house.do("alice", members.remove_member, "role", role, "user", self._id(user))

    def _id(self, user: str) -> str:
        return self.house.do("admin", users.get_user, user).id

    def commit(self, number: int) -> str:
        with self.people.store.begin() as session:
            version = DataVersion(
                data_id=self.images.id, number=number, author="acme.alice", created=datetime.now(UTC), files=0, bytes=0
            )
            session.add(version)
            session.flush()
            return version.id

    def launch(self, job: Job, owner: str = "bob") -> LaunchSpec:
        with self.people.store.begin() as session:
            admit_now(session, self.people.site)
        with self.people.store.begin(write=False) as session:
            run = session.scalars(select(Run).where(Run.job_id == job.id).order_by(Run.index.desc())).first()
            assert run is not None
            return launch.launch_spec(session, self.people.site, self.people.places, run.owner, run.server_name)

    def not_launched(self, job: Job, words: str) -> None:
        with pytest.raises(mounts.MountRefused, match=words) as caught:
            self.launch(job)
        assert caught.value.hint

    def end(self, job: Job, **ending: Any) -> None:
        with self.people.store.begin() as session:
            runs.mark_ended(session, job.runs[-1].id, runs.Ending(None, **ending))


@pytest.fixture
def site(people: People) -> Site:
    return Site(people)


def modes(job: Job) -> list[tuple[str, str | None, str, str, str]]:
    assert job.mounts is not None
    return [(mount.data, mount.version, mount.subpath, mount.target, mount.mode) for mount in job.mounts]


IMAGES = "acme.alice.images"


def test_what_rights_give(site: Site) -> None:
    """None: it is not there. `data:get`: ro. `data:set` besides: rw, unless ro is asked for."""
    for item in (f"{IMAGES}:/d", f"{IMAGES}:/d:ro", f"{IMAGES}:/d:rw", f"{site.images.id}:/d"):
        unknown = site.refused(NotFound, "bob", item)
        assert unknown.message == site.refused(NotFound, "bob", "acme.alice.nothing:/d").message == "no such data"
    site.give("data:get")
    assert modes(site.submit("bob", f"{IMAGES}:/d")) == [(IMAGES, None, "", "/d", "ro")]
    assert modes(site.submit("bob", f"{site.images.id}/a/b:/d:ro")) == [(IMAGES, None, "a/b", "/d", "ro")]
    refusal = site.refused(PermissionDenied, "bob", f"{IMAGES}:/d:rw")
    assert refusal.message.startswith(f"acme.bob may not do data:set on {IMAGES}") or "data:set" in refusal.message
    site.give("data:set")
    assert [modes(site.submit("bob", f"{IMAGES}:/d{mode}"))[0][4] for mode in ("", ":ro", ":rw")] == ["rw", "ro", "rw"]


def test_right_to_write_alone_is_none_to_read(site: Site) -> None:
    site.give("data:set")
    site.refused(NotFound, "bob", f"{IMAGES}:/d:rw")


def test_bare_names_are_of_the_jobs_account(site: Site) -> None:
    assert modes(site.submit("alice", "images:/d"))[0][0] == IMAGES
    site.house.account("alice", "acme.alice.x")
    site.refused(NotFound, "alice", "images:/d", account="acme.alice.x")
    inner = site.house.do("alice", data.create_data, NewData(name="acme.alice.x.images"))[0]
    assert modes(site.submit("alice", "images:/d", account="acme.alice.x"))[0][0] == inner.full_name
    assert modes(site.submit("alice", "images:/d", f"{IMAGES}:/e:ro", account="acme.alice.x"))[1][0] == IMAGES


def test_versions(site: Site) -> None:
    for version in ("latest", "1"):
        refusal = site.refused(NotFound, "alice", f"images@{version}:/d")
        assert "nothing of it has been committed yet" in refusal.message
        assert f"toolkit data commit {IMAGES}" in refusal.hint
    first = site.commit(1)
    pinned = site.submit("alice", "images@latest:/d", "images@empty:/e", "images:/f")
    second = site.commit(2)
    assert [mount[1] for mount in modes(pinned)] == ["1", "empty", None]
    assert [mount[4] for mount in modes(pinned)] == ["ro", "ro", "rw"]
    assert "it has the versions 1 to 2" in site.refused(NotFound, "alice", "images@3:/d").hint
    volumes = Volumes(site.people.places.data_root)
    spec = site.launch(pinned)
    assert [(mount.source, mount.read_only) for mount in spec.mounts] == [
        (str(volumes.version(site.images.id, first)), True),
        (str(volumes.empty), True),
        (str(volumes.live(site.images.id)), False),
    ]
    assert volumes.live(site.images.id).is_dir()
    # The same words again mean the newest of now.
    site.end(pinned, info="x")
    again, _ = site.house.do("alice", lambda s, a: jobs.retry_job(s, site.people.site, a, pinned.id))
    assert modes(again)[0][1] == "2"
    assert site.launch(again).mounts[0].source.endswith(second)
    with site.people.store.begin() as session:
        session.delete(session.get_one(DataVersion, second))
    site.not_launched(again, "the version has been removed")


def test_archived_data_is_not_mounted(site: Site) -> None:
    job = site.submit("alice", "images:/d")
    site.house.do("alice", data.archive_data, "images")
    site.refused(NotFound, "alice", "images:/d")
    site.refused(NotFound, "alice", f"{site.images.id}:/d")
    site.not_launched(job, f"{IMAGES} cannot be mounted at /d: it has been archived")


def test_a_start_asks_again(site: Site) -> None:
    reader, writer = site.give("data:get"), site.give("data:set")
    first, second = site.submit("bob", f"{IMAGES}:/d"), site.submit("bob", f"{IMAGES}:/d:ro")
    site.leave(writer)
    site.not_launched(first, "acme.bob may not do data:set on it any more: no statement allows it")
    site.house.do("alice", data.change_data, "images", RenamePatch(name="pictures"))
    assert [mount.read_only for mount in site.launch(second).mounts] == [True], "a rename changes nothing"
    site.leave(reader)
    site.not_launched(second, "acme.alice.pictures cannot be mounted at /d: acme.bob may not do data:get")
    with site.people.store.begin() as session:
        runs.mark_started(session, second.runs[0].server_name, "c" * 64, None, "sha256:1", "node")
    assert site.launch(second).started, "what runs goes on"


def test_a_restart_asks_again_and_a_retry_by_who_retries(site: Site) -> None:
    reader = site.give("data:get")
    job = site.submit("bob", f"{IMAGES}:/d", restartable=True)
    site.launch(job)
    site.end(job, info="lost", interrupted=True)
    assert [mount.target for mount in site.launch(job).mounts] == ["/d"]
    site.leave(reader)
    site.not_launched(job, "data:get")
    site.end(job_of(site, job), info="x")
    retry = lambda who: site.house.do(who, lambda s, a: jobs.retry_job(s, site.people.site, a, job.id))  # noqa: E731
    with pytest.raises(NotFound):
        retry("bob")
    assert modes(retry("admin")[0])[0][4] == "rw"


def job_of(site: Site, job: Job) -> Job:
    return site.house.do("admin", lambda s, a: jobs.get_job(s, site.people.site, a, job.id))


def test_a_stopped_user_starts_nothing(site: Site) -> None:
    site.give("data:get")
    job = site.submit("bob", f"{IMAGES}:/d")
    site.house.do("admin", locks.lock, NewLock(type="user", ref="acme.bob", why="stolen laptop"))
    site.not_launched(job, "locked")


def test_roles_by_key_and_by_a_jobs_token(site: Site) -> None:
    """What a role may do counts, and not what whoever has its key or submitted the job may."""
    account = site.house.do("bob", lambda s, a: s.get_one(Account, a.home_account_id).urn)
    role = site.house.role("bob", "acme.bob.robot", f"*@{account}+{account}:*")
    key = site.house.do("bob", role_keys.create_key, "acme.bob.robot", NewRoleKey(name="k"))
    token = key[0].token
    bob_reads = site.give("data:get")
    with pytest.raises(NotFound):
        site.submit_by_token(token, f"{IMAGES}:/d")
    outer = site.submit("bob", role="acme.bob.robot")
    with site.people.store.begin() as session:
        admit_now(session, site.people.site)
        job_key = job_token(session.get_one(Run, outer.runs[0].id))
    with pytest.raises(NotFound):
        site.submit_by_token(job_key, f"{IMAGES}:/d")
    site.house.grant("admin", role, f"data:get@{site.images.urn}")
    by_key, by_job = site.submit_by_token(token, f"{IMAGES}:/d"), site.submit_by_token(job_key, f"{IMAGES}:/d")
    site.leave(bob_reads)
    site.end(outer, info="x")
    for job in (by_key, by_job):
        assert modes(job)[0][4] == "ro"
        assert len(site.launch(job).mounts) == 1
    site.house.do("bob", roles.archive_role, "acme.bob.robot")
    for job in (by_key, by_job):
        site.not_launched(job, "the role that submitted the job is gone")


def test_the_home_of_an_own_server(site: Site) -> None:
    start = lambda: site.house.do("alice", lambda s, a: jobs.own_server(s, site.people.site, a)[0])  # noqa: E731
    account = site.house.do("alice", lambda _, actor: actor.home_account_id)
    old = site.people.places.data_root / f"home-{account}"
    old.mkdir(parents=True)
    (old / "notes").write_text("from before")
    server = start()
    assert modes(server) == [("acme.alice.home", None, "", "/home/toolkit", "rw")]
    with site.people.store.begin() as session:
        told = session.scalars(select(Event.type).where(Event.urn == data_urn(site)).order_by(Event.seq)).all()
    assert told == ["data.created"]
    (home,) = site.launch(server).mounts
    live = Volumes(site.people.places.data_root).live(site.house.do("alice", data.get_data, "home").id)
    assert (home.source, home.target, home.read_only) == (str(live), "/home/toolkit", False)
    assert (live / "notes").read_text() == "from before"
    assert not old.exists()
    site.end(server, info="x")
    again = start()
    assert again.mounts == server.mounts, "the same home"
    site.end(again, info="x")
    site.house.do("alice", data.archive_data, "home")
    assert (start().mounts or [])[0].data_id != (server.mounts or [])[0].data_id


def data_urn(site: Site) -> str:
    return site.house.do("alice", data.get_data, "home").urn


def test_lists_do_not_look_for_mounts(site: Site) -> None:
    job = site.submit("alice", "images:/d")
    assert job_of(site, job).mounts == job.mounts
    assert JobState(job.state) is JobState.QUEUING
