"""Settings and secrets of a site."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from traitlets.config import Config

from toolkit_hub.configure import Toolkit, configure, load_settings
from toolkit_hub.reference_docs import PAGES
from toolkit_hub.site_secrets import site_secret, write_private

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_setting_says_what_it_means() -> None:
    for name, trait in Toolkit.class_traits(config=True).items():
        assert len(trait.help.strip()) > 20, f"{name} has no help"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_made_from_code_are_up_to_date(name: str) -> None:
    assert (REPOSITORY / "docs" / name).read_text() == PAGES[name](), "run: python -m toolkit_hub.reference_docs docs"


def test_the_config_file_is_short_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = REPOSITORY / "jupyterhub_config.py"
    assert len(file.read_text().splitlines()) <= 40
    monkeypatch.setenv("TOOLKIT_STATE", str(tmp_path))
    monkeypatch.setenv("TOOLKIT_PORT", "9100")
    settings = load_settings(str(file))
    assert settings.public_url == "http://127.0.0.1:9100"
    assert settings.jobs_domain == "localhost:9101"
    assert settings.state == tmp_path


def test_the_service_can_start_servers_and_nothing_more(tmp_path: Path) -> None:
    config = Config()
    config.Toolkit.state_dir = str(tmp_path)
    configure(config)
    scopes = {scope for role in config.JupyterHub.load_roles if "services" in role for scope in role["scopes"]}
    assert scopes == {"servers", "list:users", "read:users:name", "custom:toolkit:users", "proxy"}
    assert config.JupyterHub.cleanup_servers is False
    assert "shares" not in str(config.JupyterHub.load_roles)


def test_a_secret_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    first = site_secret(tmp_path, "one")
    assert first == site_secret(tmp_path, "one")
    assert first != site_secret(tmp_path, "two")
    assert len(first) == 64
    mode = (tmp_path / "secrets" / "one").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "private"
    assert write_private(file, "a", replace=False)
    assert not write_private(file, "b", replace=False)
    assert file.read_text() == "a"
    assert write_private(file, "c")
    assert file.read_text() == "c"
    assert list(tmp_path.iterdir()) == [file]
