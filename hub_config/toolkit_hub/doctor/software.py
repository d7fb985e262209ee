"""Versions of what the toolkit stands on, and whether runtime and default image are there and up to date."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from toolkit_client.admin_models import Finding
from toolkit_hub.doctor.check import Patient, ok, problem, warning
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime import MOUNT_POINT, job_init_command
from toolkit_spawner.runtime.build import outdated

__all__ = ["check_runtime", "check_versions"]

OLDEST_PYTHON = "3.11"
OLDEST_NODE = 20
PROXY_MAJOR = 5
#: Of the packages the ones whose version decides whether hub and jobs work together; all of them are checked.
SHOWN = ("jupyterhub", "dockerspawner")
PROGRAM = "configurable-http-proxy"
#: Where set-up installs the proxy: hub_config/node of the source tree.
NODE_DIR = Path(__file__).resolve().parents[2] / "node"


def check_versions(_patient: Patient) -> Iterator[Finding]:
    yield from _python_packages()
    yield _node()
    yield _proxy()


def _python_packages() -> Iterator[Finding]:
    wrong = []
    for line in requires("jupyterhub-toolkit") or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": "hub"}):
            continue
        try:
            present = version(needed.name)
        except PackageNotFoundError:
            wrong.append(f"{needed.name} is missing (needed: {needed.specifier})")
            continue
        if not needed.specifier.contains(present, prereleases=True):
            wrong.append(f"{needed.name} {present} (needed: {needed.specifier})")
    if wrong:
        words = f"packages that do not fit: {'; '.join(wrong)}"
        yield problem(
            "versions",
            words,
            "install what the toolkit asks for: `make setup`, or pip install 'jupyterhub-toolkit[hub]'",
        )
        return
    shown = ", ".join(f"{name} {version(name)}" for name in SHOWN)
    yield ok("versions", f"Python {platform.python_version()} (needed: {OLDEST_PYTHON}), {shown}: all packages fit")


def _node() -> Finding:
    try:
        text = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        return problem(
            "versions: node",
            f"Node.js cannot be run ({error}); the proxy needs it to start",
            "install Node.js 20 or newer",
        )
    found = re.match(r"v(\d+)", text)
    if found is None or int(found[1]) < OLDEST_NODE:
        return problem(
            "versions: node", f"Node.js {text} is older than {OLDEST_NODE}", f"install Node.js {OLDEST_NODE} or newer"
        )
    return ok("versions: node", f"Node.js {text.lstrip('v')}")


def _proxy() -> Finding:
    name, text = "versions: proxy", _proxy_version()
    if text is None:
        return problem(name, f"{PROGRAM} is not installed; the proxy cannot be restarted", "`make setup` installs it")
    if text.partition(".")[0] != str(PROXY_MAJOR):
        return warning(
            name,
            f"{PROGRAM} {text}; the toolkit is made for {PROXY_MAJOR}.x",
            f"npm install -g {PROGRAM}@{PROXY_MAJOR}",
        )
    return ok(name, f"{PROGRAM} {text}")


def _proxy_version() -> str | None:
    """Of the pinned one, else of the one on PATH, as the proxy unit chooses; read, not run."""
    program = shutil.which(PROGRAM)
    candidates = [NODE_DIR / "node_modules" / PROGRAM]
    if program:
        candidates.append(Path(program).resolve().parent.parent)
    for folder in candidates:
        try:
            return str(json.loads((folder / "package.json").read_text())["version"])
        except (OSError, ValueError, KeyError):
            continue
    return None


def check_runtime(patient: Patient) -> Iterator[Finding]:
    """What is mounted in every job, and the image of jobs that name none."""
    site = patient.site
    current = site.runtime_dir / "current"
    first = Path(job_init_command()[0]).relative_to(MOUNT_POINT)  # what a container begins with
    if not (current / first).exists():
        yield problem("runtime", f"there is no runtime at {current}: no job can start", "`make runtime` builds it")
        return
    old = outdated(site.runtime_dir, patient.engine)
    if old:
        yield warning(
            "runtime", f"made from another version of the toolkit: {', '.join(old)}", "`make runtime` builds them again"
        )
    else:
        yield ok("runtime", f"runtime {current.resolve().name} is current")
    yield _default_image(patient.engine, site.default_image, pulls=site.pull_images)


def _default_image(engine: Engine, image: str, *, pulls: bool) -> Finding:
    if engine.has_image(image):
        return ok("default image", f"{image} is on this machine")
    if pulls:
        words = f"{image} is not on this machine; the first job that needs it waits while it is pulled"
        return warning("default image", words, f"docker pull {image}; or `make runtime` if it is the toolkit's own")
    return problem(
        "default image", f"{image} is not on this machine: jobs that name no image fail", "`make runtime` builds it"
    )
