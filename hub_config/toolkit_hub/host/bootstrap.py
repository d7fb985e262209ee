"""The first step of set-up: the Python environment `.venv`. Runs on the machine's own Python with nothing installed.

``python -m toolkit_hub.host.bootstrap run|dev`` in the source tree, with PYTHONPATH=hub_config; the Makefile calls it when
pyproject.toml is newer than what it left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit_hub.host.steps import Console, Say

#: What each purpose installs besides the base, and the stamps that say so to make.
EXTRAS = {"run": "hub", "dev": "hub,job,dev"}
STAMPS = {"run": ("run",), "dev": ("run", "dev")}
OLDEST_PYTHON = (3, 11)


def main(arguments: list[str]) -> int:
    purpose = arguments[0] if arguments else "run"
    if purpose not in EXTRAS:
        print("usage: python -m toolkit_hub.host.bootstrap run|dev", file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        print(_old_python_words(), file=sys.stderr)
        return 1
    # Not earlier: these modules do not even load on an old Python.
    from toolkit_hub.host.packages import VENV, ensure_packages
    from toolkit_hub.host.steps import Console, SetupError, show_failure
    from toolkit_hub.site_secrets import private_dir

    os.environ.pop("PYTHONPATH", None)  # it was for this program, not for pip
    state = private_dir(Path(os.environ.get("TOOLKIT_STATE", ".toolkit")).absolute())
    console = Console(state / "setup.log")
    try:
        if not VENV.present():
            console.run("Python's venv", lambda say: "installed " + ", ".join(ensure_packages([VENV], say)))
        _make_environment(console, Path(".venv").absolute(), purpose)
    except SetupError as error:
        show_failure(error, console.log_path)
        return 1
    return 0


def _make_environment(console: Console, folder: Path, purpose: str) -> None:
    from toolkit_hub.host.certificates import tool_environment
    from toolkit_hub.host.steps import run_command

    python = str(folder / "bin" / "python")

    def create(say: Say) -> str:
        # Where an earlier one was copied from elsewhere or lost its interpreter, it is made anew.
        run_command(
            [sys.executable, "-m", "venv", "--clear", str(folder)], say, "Is there space, and may you write here?"
        )
        return str(folder)

    def install(say: Say) -> str:
        argv = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        hint = "Check that pip reaches a package index from here (proxy: HTTPS_PROXY, certificates: TOOLKIT_CA_BUNDLE)."
        run_command([*argv, "-e", f".[{EXTRAS[purpose]}]"], say, hint, env=tool_environment())
        for stamp in STAMPS[purpose]:
            (folder / f".{stamp}").touch()
        return f"extras {EXTRAS[purpose]}"

    if not _works(python):
        console.run("Python environment", create)
    console.run("Python packages", install)


def _works(python: str) -> bool:
    if shutil.which(python) is None:
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def _old_python_words() -> str:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return (
        f"{sys.executable} is Python {found}; 3.11 or newer is needed.\n"
        "Install one (Debian 12, Ubuntu 24.04 and newer have it), and name it: PYTHON=python3.12 make run"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
