"""The base images: releases of Debian, from a registry where one answers, else made on this machine with debootstrap."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable
from toolkit_spawner.runtime.errors import RuntimeBuildError

__all__ = ["base_image", "ensure_base_image"]

#: Seconds that the registry is given to answer and deliver about 30 MB.
PULL_TIMEOUT_S = 120

Say = Callable[[str], None]


def base_image(suite: str) -> str:
    """The name at the engine of the base image with a release of Debian."""
    return f"toolkit-base:{suite}"


def ensure_base_image(engine: Engine, suite: str, scratch: Path, say: Say) -> None:
    """Have the base image of a release on the engine; `scratch` is a folder with room for 600 MB. Raises `RuntimeBuildError`."""
    if engine.has_image(base_image(suite)):
        return
    if _pulled(engine, suite, say):
        return
    _bootstrap(engine, suite, scratch, say)


def _pulled(engine: Engine, suite: str, say: Say) -> bool:
    pulled = f"debian:{suite}-slim"
    try:
        asyncio.run(asyncio.wait_for(engine.pull(pulled), PULL_TIMEOUT_S))
    except (EngineRefused, EngineUnavailable, TimeoutError):
        say(f"base image: no registry answers; Debian {suite} is made here instead (about 40 s)")
        return False
    engine.tag_image(pulled, base_image(suite))
    say(f"base image: {pulled} from the registry")
    return True


def _bootstrap(engine: Engine, suite: str, scratch: Path, say: Say) -> None:
    if not shutil.which("debootstrap") or os.geteuid() != 0:
        raise RuntimeBuildError(
            f"There is no base image for jobs: no registry answers for debian:{suite}-slim, and making it on this machine takes "
            "debootstrap and root. Install debootstrap (apt-get install debootstrap) and build as root, or load an image and "
            f"name it: docker tag IMAGE {base_image(suite)}"
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".base-") as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        _debootstrap(root, suite, say)
        _finish(root, suite)
        archive = Path(folder) / "root.tar"
        subprocess.run(
            ["tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", str(archive), "."], check=True
        )
        say("base image: handed to the engine")
        with archive.open("rb") as data:
            engine.import_image(data, *base_image(suite).split(":"))


def _debootstrap(root: Path, suite: str, say: Say) -> None:
    process = subprocess.Popen(
        ["debootstrap", "--variant=minbase", suite, str(root)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    phase, lines = "", []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip())
        word = line.removeprefix("I: ").split(" ")[0]
        if word in ("Retrieving", "Extracting", "Unpacking", "Configuring") and word != phase:
            phase = word
            say(f"base image: {word.lower()} packages")
    if process.wait() != 0:
        tail = "\n  ".join(lines[-15:])
        raise RuntimeBuildError(
            f"debootstrap could not make Debian {suite} (exit code {process.returncode}). Check that this machine reaches a "
            f"Debian mirror; its last lines were:\n  {tail}"
        )


def _finish(root: Path, suite: str) -> None:
    """Security updates on, packages' archives and lists away."""
    sources = root / "etc/apt/sources.list"
    lines = [line for line in sources.read_text().splitlines() if line.startswith("deb ")]
    for kind, mirror, name, *components in [line.split() for line in lines]:
        if name == suite:
            lines.append(" ".join([kind, mirror, f"{suite}-updates", *components]))
            lines.append(" ".join([kind, mirror.rstrip("/") + "-security", f"{suite}-security", *components]))
    sources.write_text("".join(f"{line}\n" for line in lines))
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / folder).iterdir():
            if path.is_file() and path.name != "lock":
                path.unlink()
