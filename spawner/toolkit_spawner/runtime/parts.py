"""The runtime folder of a site: made of parts, each gathered in an image of its own and kept by the digest of its recipe.

========  =========================================================================  =============
part      what                                                                        changes
========  =========================================================================  =============
base      Python, the job server's packages, ssh, ttyd, tmux, libraries, certificates  seldom
code      code-server and Node.js                                                      seldom
own       this project's packages and the programs on the jobs' PATH                   often
========  =========================================================================  =============

A version of the folder is named by the digest of all three. It shares the files of unchanged parts with the versions that are
there, so that a change of our own code costs a moment and some MB.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit_spawner.docker_api import Engine
from toolkit_spawner.runtime import PARTS_IMAGE
from toolkit_spawner.runtime.wheel import job_wheel

__all__ = ["RECIPES", "Part", "assemble", "digest", "folder_version", "runtime_parts"]

RECIPES = Path(__file__).parent / "recipes"
#: In a part's folder: what it was made of.
STAMP = ".version"


@dataclass(frozen=True)
class Part:
    """A part of the runtime folder, and what it is made of. `inner`: its place in the folder."""

    name: str
    files: dict[str, bytes]
    #: Where it is gathered in its image.
    gathered: str
    inner: str
    #: Whether it is made with the network, and trusts the site's own certificates.
    trusts_site: bool
    build_args: dict[str, str]

    @property
    def image(self) -> str:
        return f"{PARTS_IMAGE}:{self.name}"

    @property
    def version(self) -> str:
        return digest(self.files)


def runtime_parts() -> list[Part]:
    """All parts, in the order in which they are built."""
    base = Part("base", _recipes("relocate.py", "collect_base.py", "packages.txt", "trust.py", dockerfile="base"),
                "/opt/toolkit/base", "base", True, {})  # fmt: skip
    code = Part("code", _recipes("relocate.py", "collect_code.py", "node.txt", "trust.py", dockerfile="code"),
                "/opt/toolkit/code", "code", True, {})  # fmt: skip
    name, wheel = job_wheel()
    files = _recipes("collect_own.py", dockerfile="own") | {name: wheel, "base-version": base.version.encode()}
    return [base, code, Part("own", files, "/own", "", False, {"BASE": base.image})]


def folder_version(parts: Iterable[Part]) -> str:
    return digest({part.name: part.version.encode() for part in parts})


def digest(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name} {len(data)}\n".encode() + data)
    return total.hexdigest()[:16]


def assemble(engine: Engine, runtime_dir: Path, parts: Iterable[Part]) -> Path:
    """Make the folder of the parts' version. It appears under its name only when it is complete. Blocks."""
    parts = list(parts)
    target = runtime_dir / folder_version(parts)
    fresh = Path(tempfile.mkdtemp(dir=runtime_dir, prefix=".fresh-"))
    try:
        for part in sorted(parts, key=lambda part: part.inner):
            present = _present(runtime_dir, part)
            if present is not None:
                shutil.copytree(present, fresh / "folder" / part.inner, symlinks=True, copy_function=os.link)
            else:
                _copy_out(engine, part, fresh)
        (fresh / "folder").replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _recipes(*names: str, dockerfile: str) -> dict[str, bytes]:
    files = {name: (RECIPES / name).read_bytes() for name in names}
    return {"Dockerfile": (RECIPES / f"Dockerfile.{dockerfile}").read_bytes(), **files}


def _present(runtime_dir: Path, part: Part) -> Path | None:
    """The part in a version that is there."""
    if not part.inner:
        return None
    for folder in runtime_dir.iterdir():
        stamp = folder / part.inner / STAMP
        if not folder.name.startswith(".") and stamp.is_file() and stamp.read_text() == part.version:
            return folder / part.inner
    return None


def _copy_out(engine: Engine, part: Part, fresh: Path) -> None:
    pieces = _Pieces(engine.copy_out(part.image, part.gathered))
    with tarfile.open(fileobj=io.BufferedReader(pieces, 1 << 20), mode="r|") as tar:
        # Python before 3.11.4, as Debian 12's, knows no filters; the archive comes from an image of our own.
        tar.extraction_filter = getattr(tarfile, "tar_filter", None)
        tar.extractall(fresh)  # noqa: S202
    gathered = fresh / Path(part.gathered).name
    gathered.chmod(0o755)
    if part.inner:
        (gathered / STAMP).write_text(part.version)
    gathered.replace(fresh / "folder" / part.inner)


class _Pieces(io.RawIOBase):
    """An iterator of pieces as a file, so that no archive is ever held as a whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._left:
            self._left = next(self._pieces, b"")
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size
