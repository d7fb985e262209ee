"""Apps of a job and visits to them; and what an interactive job is, on the rows alone."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from tests.unit.conftest import People
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_client.models import Job, JobSpec, Visit, VisitWish
from toolkit_hub.domain import job_changes, launch, visits
from toolkit_hub.domain.access import actor_by_key
from toolkit_hub.domain.job_apps import apps_of, find_app
from toolkit_hub.domain.job_tokens import job_token
from toolkit_hub.store.access_tables import AuditEntry
from toolkit_hub.store.tables import Run


def visit(people: People, job: Job, app: str, path: str = "", user: str = "alice") -> Visit:
    with people.store.begin() as session:
        wish = VisitWish(app=app, path=path)
        return visits.make_visit(session, people.site, people.actor(session, user), job.id, wish)


def goal(made: Visit) -> str:
    return parse_qs(urlsplit(made.url).query)["next"][0]


def test_the_apps_of_a_job(people: People) -> None:
    job = people.submit("alice", ports=[9000, "9001:public"])
    apps = {app.name: app for app in apps_of(job)}
    assert list(apps) == ["jupyter", "ttyd", "code-server", "sshd", "8080", "9000", "9001"]
    assert apps["jupyter"].address == job.lab_url
    assert apps["code-server"].address == job.lab_url.removesuffix("lab") + "code-server/"
    assert [apps[name].needs for name in ("jupyter", "sshd", "8080", "9000", "9001")] == [
        "job:exec",
        "job:exec",
        "job:get",
        "job:get",
        "public",
    ]
    assert [name for name, app in apps.items() if not app.page] == ["sshd"]
    with pytest.raises(NotFound, match="no app 'tensorboard'") as error:
        find_app(job, "tensorboard")
    assert "jupyter, ttyd" in error.value.hint


def test_where_a_visit_leads(people: People) -> None:
    job = people.submit("alice", ports=[9000])
    lab = urlsplit(job.lab_url)
    root = lab.path.removesuffix("lab")
    made = visit(people, job, "jupyter")
    assert made.url.startswith(f"http://{lab.netloc}/.toolkit/visit?code=")
    assert goal(made) == lab.path
    assert goal(visit(people, job, "jupyter", "/tree/a%20b?x=1&y")) == f"{root}tree/a%20b?x=1&y"
    assert goal(visit(people, job, "jupyter", f"{root}lab")) == f"{root}lab"
    assert goal(visit(people, job, "ttyd")) == f"{root}ttyd/"
    assert goal(visit(people, job, "code-server", "/?folder=/data")) == f"{root}code-server/?folder=/data"
    port = visit(people, job, "9000", "/docs")
    assert urlsplit(port.url).netloc == f"{job.id}-9000.localhost:8001"
    assert goal(port) == "/docs"
    for path in ("docs", "//\\evil", "/a b", "/a#b", "/a\nb", '/"'):
        with pytest.raises(ValidationError):
            VisitWish(app="9000", path=path)


def test_a_visit_is_told_to_the_audit_log_without_its_code(people: People) -> None:
    job = people.submit("alice")
    made = visit(people, job, "ttyd")
    code = parse_qs(urlsplit(made.url).query)["code"][0]
    with people.store.begin() as session:
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(1)).one()
        assert (entry.actor, entry.action, entry.urn) == ("acme.alice", "job:exec", job.urn)
        assert entry.data == {"event": "job.visit", "app": "ttyd"}
        assert code not in f"{entry.reason} {entry.data}"


def test_who_gets_no_visit(people: People) -> None:
    job = people.submit("alice")
    with pytest.raises(NotFound):
        visit(people, job, "ttyd", user="bob")
    with pytest.raises(InvalidRequest, match="nothing for a browser"):
        visit(people, job, "sshd")
    with people.store.begin() as session:
        run = session.get_one(Run, job.runs[0].id)
        own = actor_by_key(session, job_token(run))
        assert own is not None
        with pytest.raises(PermissionDenied, match="only users"):
            visits.make_visit(session, people.site, own, job.id, VisitWish(app="8080"))
    with people.store.begin() as session:
        job_changes.kill_job(session, people.site, people.actor(session, "alice"), job.id)
    with pytest.raises(Conflict, match="has ended"):
        visit(people, job, "ttyd")


def test_an_interactive_job_without_a_command(people: People) -> None:
    job = people.submit("alice", command=[], interactive=True, shareable=True, image="python")
    assert (job.command, job.image, job.interactive, job.shareable) == ([], "toolkit-lab", True, True)
    with people.store.begin() as session:
        run = session.get_one(Run, job.runs[0].id)
        spec = launch._spec_of(session, run, people.site, people.places)
        assert (spec.command, spec.image_name, spec.prewarm) == ([], "toolkit-lab", True)
        assert run.job.spec["shareable"] is True


def test_what_only_interactive_jobs_may_be() -> None:
    with pytest.raises(ValidationError, match="only interactive jobs have none"):
        JobSpec(command=[])
    with pytest.raises(ValidationError, match="only an interactive job"):
        JobSpec(shareable=True)
    assert JobSpec(command=[], interactive=True, shareable=True).command == []


def test_too_many_interactive_jobs_are_named(people: People) -> None:
    first = people.submit("alice", interactive=True, name="notes")
    second = people.submit("alice", interactive=True)
    people.submit("alice")
    people.submit("bob", interactive=True)
    with pytest.raises(Conflict, match="the site allows 2") as error:
        people.submit("alice", interactive=True)
    assert f"notes ({first.id}), {second.id}" in error.value.message
