"""``docs/cli.md`` is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from tests.unit.canned_service import Service
from tests.unit.cli.conftest import Cli
from toolkit_client.cli.app import EXIT_CODES
from toolkit_client.cli.reference_docs import PAGES
from toolkit_client.errors import ToolkitError

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_is_up_to_date() -> None:
    for name, page in PAGES.items():
        assert (DOCS / name).read_text() == page(), "python -m toolkit_client.cli.reference_docs docs"


def test_every_exit_code_is_told(cli: Cli, service: Service) -> None:
    def codes(error: type[ToolkitError]) -> set[int]:
        return {error.exit_code}.union(*(codes(below) for below in error.__subclasses__()))

    assert set(EXIT_CODES) == {0, 130} | codes(ToolkitError)
    help_text = " ".join(cli("-h").split())
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in help_text
