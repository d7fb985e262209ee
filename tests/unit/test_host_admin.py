"""The first administrator: made once, the password in a private file, no password left behind that is nobody's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from traitlets.config import Config

from toolkit_hub.configure import Toolkit
from toolkit_hub.host.admin import prepare_store
from toolkit_hub.host.steps import SetupError
from toolkit_hub.site_secrets import private_dir


def site_in(state: Path, database_url: str = "") -> Toolkit:
    values = {"state_dir": str(private_dir(state))}
    if database_url:
        values["database_url"] = database_url
    return Toolkit(config=Config({"Toolkit": values}))


def test_made_at_the_first_start_only(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    first = prepare_store(site)
    assert first.password == first.password_file.read_text().strip()
    assert len(first.password) >= 20
    for name in ("admin-password", "admin-user"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert prepare_store(site).password is None
    assert first.password_file.read_text().strip() == first.password


def test_start_cut_off_before_the_commit_keeps_the_password_of_the_file(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    (tmp_path / "admin-password").write_text("written-before-the-cut\n")
    assert prepare_store(site).password == "written-before-the-cut"


def test_older_database_leaves_no_invented_password(tmp_path: Path) -> None:
    old = site_in(tmp_path / "old")
    prepare_store(old)
    new = site_in(tmp_path / "new", old.database_url)
    admin = prepare_store(new)
    assert admin.password is None
    assert not admin.password_file.exists()


def test_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.sqlite").write_text("this is no database, and long enough to be read as one" * 100)
    site = site_in(tmp_path / "state", f"sqlite:///{tmp_path / 'broken.sqlite'}")
    with pytest.raises(SetupError) as caught:
        prepare_store(site)
    assert "broken.sqlite" in caught.value.hint
    assert not (tmp_path / "state" / "admin-password").exists()
