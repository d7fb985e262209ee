"""The README's commands, as they stand there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running_site import PASSWORD, REPOSITORY, RunningSite

pytestmark = pytest.mark.engine

README = (REPOSITORY / "README.md").read_text()


def commands() -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith((".venv/bin/toolkit", "mkdir"))]


def test_the_first_ten_minutes(site: RunningSite, tmp_path: Path) -> None:
    """Every `toolkit` line of the README works on a site that was just started, in its order."""
    assert len(commands()) >= 5
    program = str(Path(sys.executable).with_name("toolkit"))
    said = ""
    for line in commands():
        text = line.replace(".toolkit/", f"{site.state}/").replace(".venv/bin/toolkit", shlex.quote(program))
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=tmp_path,
            env={**site.environment, "TOOLKIT_URL": site.url},
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        said += done.stdout
    assert "\nhello\n" in said
    assert re.search(r"FAILED .* 3 ", said)
    assert (tmp_path / "photos" / "b.txt").read_text() == "hello\n"


def test_the_make_targets_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target} is in the README only"


def test_the_readmes_links_lead_somewhere() -> None:
    for path in re.findall(r"\]\(([a-zA-Z/_.-]+)\)", README):
        assert (REPOSITORY / path).exists(), path
