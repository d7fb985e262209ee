"""Versions, sizes and quotas of data on the whole site, through the command line."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.running_site import RunningSite
from toolkit_client.transfer.link import DataLink
from toolkit_hub.volumes.layout import Volumes

pytestmark = pytest.mark.engine


@pytest.fixture
def images(site: RunningSite) -> str:
    """Id of new data in an account of its own, with a file in it."""
    account = site.cli("account", "new", f"acme.x{uuid4().hex[:10]}", "--field", "fullName").stdout.strip()
    data_id = site.cli("data", "new", f"{account}.images", "--field", "id").stdout.strip()
    Volumes(site.state / "data").ensure(data_id)
    (live(site, data_id) / "file").write_bytes(bytes(range(256)) * 400)
    return data_id


def live(site: RunningSite, data_id: str) -> Path:
    return site.state / "data" / data_id / "live"


def test_commit_log_and_what_a_version_holds(site: RunningSite, images: str) -> None:
    assert site.cli("data", "commit", images, "-m", "the first", "--field", "version").stdout == "1\n"
    again = site.cli("data", "commit", images)
    assert again.returncode == 0
    assert "nothing has changed since version 1" in again.stderr
    (live(site, images) / "file").write_text("changed")
    assert site.cli("data", "commit", images, "--field", "version").stdout == "2\n"
    header, *rows = site.cli("data", "log", images).stdout.splitlines()
    assert header.split() == ["version", "created", "author", "message", "files", "bytes"]
    assert [row.split()[0] for row in rows] == ["2", "1"]
    assert "acme.admin the first 1     102400" in rows[1]
    with site.client() as client:
        first = client.data.version(images, 1)
        assert [one.version for one in client.data.versions(images)] == [2, 1]
        told = [event for event in client.audit.list(action="data:set", limit=50) if event.urn.endswith(images)]
        assert [event.data["version"] for event in told] == [2, 1]
    assert (site.state / "data" / images / "versions" / first.id / "file").stat().st_size == 102400


def test_names_that_are_no_text_are_told_as_text(site: RunningSite, images: str) -> None:
    """Whoever reads the audit log must not stumble over what somebody calls a folder."""
    DataLink(site.url, site.admin_token).json("POST", images, "mkdir", body={"paths": ["a\udcff"]})
    assert b"a\xff" in os.listdir(os.fsencode(live(site, images)))
    with site.client() as client:
        told = [event for event in client.audit.list(action="data:set", limit=50) if event.urn.endswith(images)]
    assert told[0].data["path"] == "a\\xff"


def test_a_quota_is_kept_by_commits(site: RunningSite, images: str) -> None:
    assert site.cli("data", "size", images, "--measure", "--field", "bytes").stdout == "102400\n"
    account = site.cli("data", "get", images, "--field", "account").stdout.strip()
    assert site.cli("quota", "set", account, "--data-size", "150k", "--field", "dataLimit").stdout == "153600\n"
    refused = site.cli("data", "commit", images)
    assert refused.returncode == 1
    assert "the quota of the account has no room" in refused.stderr
    headers = {"Authorization": f"Bearer {site.admin_token}"}
    answer = httpx.post(f"{site.url}/services/toolkit/api/v1/data/{images}/versions", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "insufficient_storage")
    assert site.cli("quota", "set", account, "--data-size", "none", "--field", "dataLimit").stdout == "-\n"
    assert site.cli("data", "commit", images).returncode == 0
    used = int(site.cli("quota", "ls", account, "--field", "dataUsed").stdout)
    assert 2 * 102400 <= used < 3 * 102400
