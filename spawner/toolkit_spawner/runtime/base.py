"""The base image: Debian, from a registry where one answers, else made on this machine with debootstrap."""

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

__all__ = ["BASE_IMAGE", "ensure_base_image"]

SUITE = "bookworm"
BASE_IMAGE = f"toolkit-base:{SUITE}"
#: Where the base comes from when a registry answers.
PULLED_IMAGE = f"debian:{SUITE}-slim"
#: Seconds that the registry is given to answer and deliver about 30 MB.
PULL_TIMEOUT_S = 120

Say = Callable[[str], None]


def ensure_base_image(engine: Engine, scratch: Path, say: Say) -> None:
    """Have `BASE_IMAGE` on the engine; `scratch` is a folder with room for 600 MB. Raises `RuntimeBuildError`."""
    if engine.has_image(BASE_IMAGE):
        return
    if _pulled(engine, say):
        return
    _bootstrap(engine, scratch, say)


def _pulled(engine: Engine, say: Say) -> bool:
    try:
        asyncio.run(asyncio.wait_for(engine.pull(PULLED_IMAGE), PULL_TIMEOUT_S))
    except (EngineRefused, EngineUnavailable, TimeoutError):
        say("base image: no registry answers; Debian is made here instead (about 40 s)")
        return False
    engine.tag_image(PULLED_IMAGE, BASE_IMAGE)
    say(f"base image: {PULLED_IMAGE} from the registry")
    return True


def _bootstrap(engine: Engine, scratch: Path, say: Say) -> None:
    if not shutil.which("debootstrap") or os.geteuid() != 0:
        raise RuntimeBuildError(
            f"There is no base image for jobs: no registry answers for {PULLED_IMAGE}, and making Debian on this machine takes "
            "debootstrap and root. Install debootstrap (apt-get install debootstrap) and build as root, or load an image and "
            f"name it: docker tag IMAGE {BASE_IMAGE}"
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".base-") as folder:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        _debootstrap(root, say)
        _finish(root)
        archive = Path(folder) / "root.tar"
        subprocess.run(
            ["tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", str(archive), "."], check=True
        )
        say("base image: handed to the engine")
        with archive.open("rb") as data:
            engine.import_image(data, *BASE_IMAGE.split(":"))


def _debootstrap(root: Path, say: Say) -> None:
    process = subprocess.Popen(
        ["debootstrap", "--variant=minbase", SUITE, str(root)],
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
            f"debootstrap could not make Debian {SUITE} (exit code {process.returncode}). Check that this machine reaches a "
            f"Debian mirror; its last lines were:\n  {tail}"
        )


def _finish(root: Path) -> None:
    """Security updates on, packages' archives and lists away."""
    sources = root / "etc/apt/sources.list"
    lines = [line for line in sources.read_text().splitlines() if line.startswith("deb ")]
    for kind, mirror, suite, *components in [line.split() for line in lines]:
        if suite == SUITE:
            lines.append(" ".join([kind, mirror, f"{SUITE}-updates", *components]))
            lines.append(" ".join([kind, mirror.rstrip("/") + "-security", f"{SUITE}-security", *components]))
    sources.write_text("".join(f"{line}\n" for line in lines))
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
        for path in (root / folder).iterdir():
            if path.is_file() and path.name != "lock":
                path.unlink()
