"""Arrays, dependencies and families on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.canned_service import JOB_ID, Service, make_job
from tests.unit.cli.conftest import Cli
from toolkit_client.cli.job_tree import tree_lines
from toolkit_client.models import Job, JobState, KilledJob

ARRAY_ID = "11111111-2222-4333-8444-555555555555"


def as_json(jobs: list[Job]) -> list[dict[str, Any]]:
    return [job.model_dump(by_alias=True, mode="json") for job in jobs]


def child(number: int, parent: str | None, **other: Any) -> Job:
    return make_job(id=f"job-{number}", parent_id=parent, command=["true"], **other)


def test_the_flags_make_the_spec(service: Service, cli: Cli) -> None:
    cli("job", "submit", "--after", "a", "--after", "b:any", "--array", "0-9%2", "--detach", "--", "true")
    (asked,) = service.asked("POST", "/jobs")
    assert asked.body == {"after": ["a", "b:any"], "array": "0-9%2", "detach": True, "command": ["true"]}


def test_a_job_file_has_the_same_keys(service: Service, cli: Cli, tmp_path: Any) -> None:
    file = tmp_path / "job.yml"
    file.write_text("after: [a, b:any]\narray: 007\ndetach: yes\ncommand: ['true']\n")
    cli("job", "submit", "-f", str(file), "--after", "c")
    (asked,) = service.asked("POST", "/jobs")
    assert asked.body == {"after": ["c"], "array": "007", "detach": True, "command": ["true"]}
    file.write_text("array: 5-3\n")
    cli("job", "submit", "-f", str(file), code=2)
    assert "job.yml, line 1, column 1: array: the range 5-3 ends before it begins" in cli.err


def test_an_array_cannot_be_followed(service: Service, cli: Cli) -> None:
    cli("job", "submit", "--array", "0-1", "--follow", "--", "true", code=2)
    assert "job logs ARRAY:INDEX -f" in cli.err
    assert service.asked("POST", "/jobs") == []


def test_a_child_says_that_it_ends_with_its_parent(service: Service, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.canned_service.make_job", lambda **_: make_job(parent_id="p"))
    assert cli("job", "submit", "--field", "id", "--", "true") == f"{JOB_ID}\n"
    assert cli.err == "it ends with job p, which has submitted it; --detach lets it go on\n"


def test_last_means_the_array_of_the_newest_job(service: Service, cli: Cli) -> None:
    array = make_job(id=ARRAY_ID, name="sweep", kind="array", exit_codes=(), array_states={"QUEUING": 2})
    service.jobs = [make_job(array_id=ARRAY_ID, array_index=1), array]
    assert cli("job", "get", "--last", "--field", "id") == f"{ARRAY_ID}\n"
    assert cli("job", "get", "sweep").splitlines()[1].split()[:3] == [ARRAY_ID, "QUEUING", "sweep"]
    cli("job", "exec", "sweep", "true", code=1)
    assert "name one of its jobs by its index" in cli.err
    service.jobs[0].retry_of = "another"
    assert cli("job", "get", "--last", "--field", "id") == f"{JOB_ID}\n", "one that was done again is meant by itself"


def test_a_kill_says_how_many_end(service: Service, cli: Cli) -> None:
    family = KilledJob(**{**make_job(name="father").model_dump(), "killed": 3})
    array = KilledJob(**{**make_job(id=ARRAY_ID, name="sweep", kind="array").model_dump(), "killed": 8})
    service.jobs = [family, array, make_job(id="alone", name="alone")]
    cli("job", "kill", "father", "sweep", "alone")
    assert cli.err.splitlines() == [
        "father: 3 jobs, with its family, end",
        "sweep: 8 jobs of the array and of their families end",
    ]


def test_the_tree_of_a_family() -> None:
    jobs = [
        child(5, "job-1", state=JobState.RUNNING, detach=True),
        child(4, "job-2", name="s_1", array_id="a", array_index=1),
        child(3, "job-2", name="s_0", array_id="a", array_index=0, state=JobState.RUNNING),
        child(2, "job-1", name="x\x1b[31m", state=JobState.RUNNING),
        child(1, "gone"),
        child(0, None),
    ]
    assert tree_lines(as_json(jobs)) == [
        "job-0 QUEUING true",
        "job-1 QUEUING true",
        "├─ job-2 x\\x1b[31m RUNNING true",
        "│  └─ array a s 2 jobs: 1 RUNNING, 1 QUEUING",
        "│     ├─ job-3 s_0 RUNNING true",
        "│     └─ job-4 s_1 QUEUING true",
        "└─ job-5 RUNNING detached true",
    ]
    assert tree_lines([]) == []


def test_the_tree_asks_for_the_family(service: Service, cli: Cli) -> None:
    service.jobs = [make_job(name="train")]
    assert cli("job", "tree", "train").startswith(f"{JOB_ID} train QUEUING code-server")
    assert service.asked("GET", "/jobs")[-1].query["family"] == JOB_ID
    service.jobs = [make_job(name="sweep", kind="array", exit_codes=())]
    cli("job", "tree", "sweep")
    assert service.asked("GET", "/jobs")[-1].query["array"] == JOB_ID
    cli("job", "tree")
    assert service.asked("GET", "/jobs")[-1].query == {"limit": "100", "mine": "true", "state": "alive"}
    cli("job", "ls", "--array", "sweep", "--family", f"{ARRAY_ID}:3")
    query = service.asked("GET", "/jobs")[-1].query
    assert (query["array"], query["family"], query["state"]) == ("sweep", f"{ARRAY_ID}:3", "all")
    cli("--account", "acme.x", "job", "get", f"{JOB_ID}:3", "sweep:3", code=5)
    assert [one.path for one in service.seen[-2:]] == [f"/jobs/{JOB_ID}%3A3", "/jobs/acme.x.sweep%3A3"]
