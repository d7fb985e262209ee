"""Builds the two images and the runtime folder of a site, and only what is out of date."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit_spawner.docker_api import Engine, EngineRefused
from toolkit_spawner.runtime import LAB_IMAGE, parts
from toolkit_spawner.runtime.base import ensure_base_image
from toolkit_spawner.runtime.errors import RuntimeBuildError
from toolkit_spawner.runtime.parts import Part, assemble, digest, folder_version, runtime_parts
from toolkit_spawner.runtime.wheel import job_wheel, project

__all__ = ["VERSION_LABEL", "build_all", "outdated"]

#: Label of an image: what it was made of.
VERSION_LABEL = "toolkit.version"
#: Debian releases: of the default image, and of what the runtime folder is made from.
LAB_SUITE, RUNTIME_SUITE = "bookworm", "trixie"

Say = Callable[[str], None]


def build_all(runtime_dir: Path, engine: Engine, say: Say, ca_bundle: Path | None = None) -> None:
    """Bring base images, default image and `runtime_dir` up to date. Blocks; returns at once when there is nothing to do.

    `say` gets a line for each step of what takes long. `ca_bundle` (PEM) is trusted in the images and the folder, at their
    build and later; it belongs there only where TLS is intercepted. Raises `RuntimeBuildError`, `EngineUnavailable`.
    """
    runtime_dir.mkdir(parents=True, exist_ok=True)
    bundle = ca_bundle.read_bytes() if ca_bundle else b""
    with _locked(runtime_dir / ".lock"):
        lab_files = _lab_files()
        lab_version = digest(lab_files)
        if engine.image_label(LAB_IMAGE, VERSION_LABEL) != lab_version:
            ensure_base_image(engine, LAB_SUITE, runtime_dir, say)
            _build(
                engine,
                LAB_IMAGE,
                {**lab_files, "site-ca.crt": bundle},
                {"TOOLKIT_VERSION": lab_version},
                "default image",
                say,
            )
        _ensure_folder(runtime_dir, engine, say, bundle)


def outdated(runtime_dir: Path, engine: Engine) -> list[str]:
    """What `build_all` would make anew now. Blocks. Raises `EngineUnavailable`."""
    old = []
    if engine.image_label(LAB_IMAGE, VERSION_LABEL) != digest(_lab_files()):
        old.append(f"the image {LAB_IMAGE}")
    current = runtime_dir / "current"
    if not current.is_symlink() or os.readlink(current) != folder_version(runtime_parts()):
        old.append("the runtime folder")
    return old


def _lab_files() -> dict[str, bytes]:
    name, wheel = job_wheel()
    return {
        "Dockerfile": (parts.RECIPES / "Dockerfile.lab").read_bytes(),
        "trust.py": (parts.RECIPES / "trust.py").read_bytes(),
        "requirements.txt": "".join(f"{line}\n" for line in sorted({*project().requirements, "ipykernel"})).encode(),
        name: wheel,
    }


def _ensure_folder(runtime_dir: Path, engine: Engine, say: Say, bundle: bytes) -> None:
    wanted = runtime_parts()
    version = folder_version(wanted)
    if not (runtime_dir / version).is_dir():
        begin = time.monotonic()
        for part in wanted:
            _ensure_image(part, runtime_dir, engine, say, bundle)
        folder = assemble(engine, runtime_dir, wanted)
        say(f"runtime folder: {_mebibytes(folder)} MiB, made in {time.monotonic() - begin:.0f} s")
    _point(runtime_dir / "current", version)


def _ensure_image(part: Part, runtime_dir: Path, engine: Engine, say: Say, bundle: bytes) -> None:
    if engine.image_label(part.image, VERSION_LABEL) == part.version:
        return
    files = dict(part.files)
    if part.trusts_site:
        ensure_base_image(engine, RUNTIME_SUITE, runtime_dir, say)
        files["site-ca.crt"] = bundle
    arguments = {"TOOLKIT_VERSION": part.version, **part.build_args}
    _build(engine, part.image, files, arguments, f"runtime folder ({part.name})", say)


def _mebibytes(folder: Path) -> int:
    return sum(path.lstat().st_blocks for path in folder.rglob("*")) * 512 >> 20


def _build(engine: Engine, image: str, files: dict[str, bytes], arguments: dict[str, str], what: str, say: Say) -> None:
    tail: deque[str] = deque(maxlen=25)

    def follow(line: str) -> None:
        tail.append(line)
        if line.startswith("Step "):
            step, _, instruction = line.partition(" : ")
            say(f"{what}: {step.lower().replace('/', ' of ')}: {instruction[:70]}")

    with tempfile.TemporaryDirectory(prefix="toolkit-build-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            engine.build_image(Path(folder), image, arguments, follow)
        except EngineRefused as error:
            lines = "\n  ".join(tail)
            raise RuntimeBuildError(
                f"The {what} ({image}) could not be built: {error}. The builder's last lines are below; where they speak of "
                "certificates, name your network's CA bundle in TOOLKIT_CA_BUNDLE and build again.\n  " + lines
            ) from error


def _point(link: Path, version: str) -> None:
    """Make `link` name the version; runs that start meanwhile see the old one or the new one."""
    if link.is_symlink() and os.readlink(link) == version:
        return
    fresh = link.with_name(f".current-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(link)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One build at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
