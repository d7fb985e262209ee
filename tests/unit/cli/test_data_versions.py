"""``toolkit data commit|log|size`` and ``toolkit quota``: what they send and what they print."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.canned_service import CREATED, ME, Service
from tests.unit.cli.access_things import sent
from tests.unit.cli.conftest import Cli
from toolkit_client.data_models import Commit, DataSize, DataVersion, Quota, RoomLimits

HEADER = "version created              author   message files bytes"


def version(number: int, message: str = "") -> DataVersion:
    return DataVersion(
        id=f"v{number}", data="acme.joe.images", version=number, created=CREATED, author="acme.joe", message=message,
        files=3, bytes=1024,
    )  # fmt: skip


def test_commit_prints_the_version(cli: Cli, service: Service) -> None:
    service.answers = {("POST", "/data/images/versions"): Commit(state="made", version=version(2, "the last"))}
    out = cli("data", "commit", "images", "-m", "the last")
    assert sent(service) == ("POST", "/data/images/versions", {"message": "the last", "allowEmpty": False})
    assert out.splitlines()[0].split() == HEADER.split()
    assert out.splitlines()[1].startswith("2       2019-12-06T20:49:41Z acme.joe the last 3     1024")
    assert cli.err == ""
    service.answers = {("POST", "/data/acme.cocos..ssh/versions"): Commit(state="made", version=version(2))}
    cli("--account", "acme.cocos", "data", "commit", ".ssh")
    assert sent(service)[1] == "/data/acme.cocos..ssh/versions"


def test_commit_asks_on_while_it_lasts_with_one_key(cli: Cli, service: Service) -> None:
    answers = [Commit(state="running", files=number) for number in (0, 10)]
    answers.append(Commit(state="made", version=version(1)))
    service.answers = {("POST", "/data/images/versions"): lambda: answers.pop(0)}
    assert cli("data", "commit", "images", "--field", "version") == "1\n"
    assert len(service.seen) == 3
    assert len({one.headers["Idempotency-Key"] for one in service.seen}) == 1


@pytest.mark.parametrize(("known", "said"), [(None, "the data is empty"), (version(4), "since version 4")])
def test_nothing_to_commit_is_no_failure(cli: Cli, service: Service, known: Any, said: str) -> None:
    service.answers = {("POST", "/data/images/versions"): Commit(state="unchanged", version=known)}
    out = cli("data", "commit", "images", "--field", "version")
    assert out == ("" if known is None else "4\n")
    assert said in cli.err


def test_what_changed_meanwhile_is_told(cli: Cli, service: Service) -> None:
    warnings = ["'a\\x1b[2J' changed while it was committed", *["more"] * 30]
    made = Commit(state="made", version=version(1), warnings=warnings, warning_count=40)
    service.answers = {("POST", "/data/images/versions"): made}
    cli("data", "commit", "images")
    assert "warning: 'a" in cli.err
    assert "\x1b" not in cli.err
    assert "and 30 more like these" in cli.err


def test_log_and_size(cli: Cli, service: Service) -> None:
    service.answers = {
        ("GET", "/data/images/versions"): [version(2, "second"), version(1)],
        ("GET", "/data/images/size"): DataSize(
            data="acme.joe.images", bytes=5, disk=4096, files=1, inodes=2, as_of=CREATED
        ),
    }
    lines = cli("data", "log", "images").splitlines()
    assert lines[0] == HEADER
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[2].split()[3] == "-"
    assert cli("data", "log", "images", "-n", "1", "--field", "message") == "second\n"
    assert service.seen[-1].query == {"limit": "1"}
    assert cli("data", "size", "images").splitlines() == [
        "bytes disk files asOf",
        "5     4096 1     2019-12-06T20:49:41Z",
    ]


def test_size_measured_now_waits_for_a_newer_one(cli: Cli, service: Service) -> None:
    size = DataSize(data="acme.joe.images", bytes=5, disk=4096, files=1, inodes=2, as_of=CREATED)
    newer = size.model_copy(update={"as_of": CREATED + timedelta(hours=1), "bytes": 6})
    answers = [size, size, newer]
    service.answers = {("GET", "/data/images/size"): lambda: answers.pop(0)}
    assert cli("data", "size", "images", "--measure", "--field", "bytes") == "6\n"
    assert [one.query for one in service.seen] == [{}, {"measure": "true"}, {"measure": "true"}]


ROOM = RoomLimits(gpus=8, mem=64)
QUOTA = Quota(
    type="account", name="acme.joe", id="a", data_used=5, data_limit=100, files_used=2, as_of=CREATED, room=ROOM
)


def test_quotas_are_listed_and_set(cli: Cli, service: Service) -> None:
    service.answers = {
        ("GET", "/quotas"): [QUOTA],
        ("GET", "/quotas/acme.joe"): QUOTA,
        ("PATCH", "/quotas/acme.joe"): QUOTA,
    }
    header, row = (line.split() for line in cli("quota", "ls").splitlines())
    data, room = (
        ["dataUsed", "dataLimit", "filesUsed", "filesLimit"],
        ["gpus", "cpus", "mem", "running", "queued", "bid"],
    )
    assert header == ["type", "name", *data, *(f"room.{name}" for name in room), "asOf"]
    assert row == ["account", "acme.joe", "5", "100", "2", "-", "8", "-", "64", "-", "-", "-", "2019-12-06T20:49:41Z"]
    table = cli("quota", "ls").splitlines()
    assert cli("quota", "ls", "acme.joe").splitlines() == table
    assert cli("quota", "set", "acme.joe", "--data-size", "1.5g", "--data-files", "none").splitlines() == table
    assert sent(service)[2] == {"dataLimit": 3 * 2**29, "filesLimit": None}
    cli("quota", "set", "acme.joe", "--data-size", "none")
    assert sent(service)[2] == {"dataLimit": None}
    cli("quota", "set", "acme.joe", "gpus=4", "mem=1.5t", "queued=none", "bid=-3")
    assert sent(service)[2] == {"room": {"gpus": 4, "mem": 1536, "queued": None, "bid": -3}}
    seen = len(service.seen)
    for words in (["gpus=x"], ["gpus=1.5"], ["disks=1"], ["gpus"]):
        cli("quota", "set", "acme.joe", *words, code=2)
    for words in ([], ["--data-size", "-1"], ["--data-size", "much"], ["--data-files", "1.5"]):
        cli("quota", "set", "acme.joe", *words, code=2)
    assert len(service.seen) == seen


def test_quotas_of_users_and_the_organization(cli: Cli, service: Service) -> None:
    user = Quota(type="user", name="acme.joe", id="u", room=ROOM)
    service.answers = {
        ("GET", "/me"): ME,
        ("GET", "/quotas/user/joe"): user,
        ("PATCH", "/quotas/user/joe"): user,
        ("GET", "/quotas/organization/o"): Quota(type="organization", name="acme", id="o"),
        ("PATCH", "/quotas/organization/o"): Quota(type="organization", name="acme", id="o", room=ROOM),
    }
    assert cli("quota", "ls", "--user", "joe", "--fields", "type,name,room.gpus").splitlines()[1].split() == [
        "user",
        "acme.joe",
        "8",
    ]
    assert cli("quota", "ls", "--organization", "--field", "room.gpus") == "-\n"
    cli("quota", "set", "--user", "joe", "gpus=8", "bid=none")
    cli("quota", "set", "gpus=8", "--organization")
    assert [one.body for one in service.seen if one.method == "PATCH"] == [
        {"room": {"gpus": 8, "bid": None}},
        {"room": {"gpus": 8}},
    ]
    seen = len(service.seen)
    for words in (
        ["gpus=1"],
        ["acme.joe", "--user", "joe", "gpus=1"],
        ["--user", "joe", "--organization", "gpus=1"],
        ["--user", "joe"],
        ["--user", "joe", "--data-size", "1g"],
        ["--organization", "gpus=1", "--data-files", "1"],
    ):
        cli("quota", "set", *words, code=2)
    cli("quota", "ls", "acme.joe", "--user", "joe", code=2)
    assert len(service.seen) == seen
