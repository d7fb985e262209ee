"""Builds the two images and the runtime folder of a site, and only what is out of date."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit_spawner.docker_api import Engine, EngineRefused
from toolkit_spawner.runtime import LAB_IMAGE
from toolkit_spawner.runtime.base import ensure_base_image
from toolkit_spawner.runtime.errors import RuntimeBuildError
from toolkit_spawner.runtime.wheel import job_wheel, package_dir, project

__all__ = ["VERSION_LABEL", "build_all", "outdated"]

#: Label of an image: what it was made of.
VERSION_LABEL = "toolkit.version"
#: The image that the runtime folder is copied out of, by every site of this engine.
RUNTIME_IMAGE = "toolkit-runtime:latest"
RECIPES = Path(__file__).parent / "recipes"

Say = Callable[[str], None]


def build_all(runtime_dir: Path, engine: Engine, say: Say, ca_bundle: Path | None = None) -> None:
    """Bring base image, default image and `runtime_dir` up to date. Blocks; returns at once when there is nothing to do.

    `say` gets a line for each step of what takes long. `ca_bundle` (PEM) is trusted in the default image, at its build and
    later; it belongs there only where TLS is intercepted. Raises `RuntimeBuildError`, `EngineUnavailable`.
    """
    runtime_dir.mkdir(parents=True, exist_ok=True)
    with _locked(runtime_dir / ".lock"):
        lab_files = _lab_files()
        lab_version = _digest(lab_files)
        if engine.image_label(LAB_IMAGE, VERSION_LABEL) != lab_version:
            ensure_base_image(engine, runtime_dir, say)
            bundle = ca_bundle.read_bytes() if ca_bundle else b""
            _build(engine, LAB_IMAGE, {**lab_files, "site-ca.crt": bundle}, lab_version, "default image", say)
        _ensure_folder(runtime_dir, engine, say)


def outdated(runtime_dir: Path, engine: Engine) -> list[str]:
    """What `build_all` would make anew now. Blocks. Raises `EngineUnavailable`."""
    old = []
    if engine.image_label(LAB_IMAGE, VERSION_LABEL) != _digest(_lab_files()):
        old.append(f"the image {LAB_IMAGE}")
    current = runtime_dir / "current"
    if not current.is_symlink() or os.readlink(current) != _digest(_runtime_files()):
        old.append("the runtime folder")
    return old


def _lab_files() -> dict[str, bytes]:
    name, wheel = job_wheel()
    return {
        "Dockerfile": (RECIPES / "Dockerfile.lab").read_bytes(),
        "trust.py": (RECIPES / "trust.py").read_bytes(),
        "requirements.txt": "".join(f"{line}\n" for line in sorted({*project().requirements, "ipykernel"})).encode(),
        name: wheel,
    }


def _runtime_files() -> dict[str, bytes]:
    files = {
        "Dockerfile": (RECIPES / "Dockerfile.runtime").read_bytes(),
        "collect.py": (RECIPES / "collect.py").read_bytes(),
    }
    package = package_dir("toolkit_ext")
    for path in [package / "__init__.py", *sorted((package / "job_init").glob("*.py"))]:
        files[f"toolkit_ext/{path.relative_to(package)}"] = path.read_bytes()
    return files


def _ensure_folder(runtime_dir: Path, engine: Engine, say: Say) -> None:
    files = _runtime_files()
    version = _digest(files)
    if not (runtime_dir / version).is_dir():
        if engine.image_label(RUNTIME_IMAGE, VERSION_LABEL) != version:
            engine.remove_image(RUNTIME_IMAGE)
            _build(engine, RUNTIME_IMAGE, files, version, "runtime folder", say)
        _copy_out(engine, runtime_dir, version)
    _point(runtime_dir / "current", version)


def _build(engine: Engine, image: str, files: dict[str, bytes], version: str, what: str, say: Say) -> None:
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
            engine.build_image(Path(folder), image, {"TOOLKIT_VERSION": version}, follow)
        except EngineRefused as error:
            lines = "\n  ".join(tail)
            raise RuntimeBuildError(
                f"The {what} ({image}) could not be built: {error}. The builder's last lines are below; where they speak of "
                "certificates, name your network's CA bundle in TOOLKIT_CA_BUNDLE and build again.\n  " + lines
            ) from error


def _copy_out(engine: Engine, runtime_dir: Path, version: str) -> None:
    """Fill the version's folder. It appears under its name only when it is complete."""
    fresh = Path(tempfile.mkdtemp(dir=runtime_dir, prefix=".fresh-"))
    try:
        archive = io.BytesIO(b"".join(engine.copy_out(RUNTIME_IMAGE, "/runtime")))
        with tarfile.open(fileobj=archive) as tar:
            # Python before 3.11.4, as Debian 12's, knows no filters; the archive comes from an image of our own.
            tar.extraction_filter = getattr(tarfile, "tar_filter", None)
            tar.extractall(fresh)  # noqa: S202
        (fresh / "runtime").chmod(0o755)
        (fresh / "runtime").replace(runtime_dir / version)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _point(link: Path, version: str) -> None:
    """Make `link` name the version; runs that start meanwhile see the old one or the new one."""
    if link.is_symlink() and os.readlink(link) == version:
        return
    fresh = link.with_name(f".current-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(link)


def _digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name} {len(data)}\n".encode() + data)
    return total.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One build at a time."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
