"""The part of this distribution that belongs in a job's image, as a wheel: the client and the job side, not the hub.

It is made of the packages that this process would import, so it works from a source tree and from a site's installation
alike, without network or build tools, and its bytes depend on its contents alone.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["job_wheel", "package_dir", "project"]

DISTRIBUTION = "jupyterhub-toolkit"
PACKAGES = ("toolkit_client", "toolkit_ext")
#: Zip archives cannot tell an earlier time.
EPOCH = (1980, 1, 1, 0, 0, 0)


def package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the package {name} is not installed", name=name)
    return Path(spec.origin).parent


@dataclass(frozen=True)
class Project:
    """What a job's image needs to know of this distribution."""

    version: str
    #: Of the job side: the base's and those of the extra `job`.
    requirements: tuple[str, ...]
    scripts: dict[str, str]


def project() -> Project:
    """As the source tree says, where there is one: what pip noted at an editable installation may be older."""
    source = Path(__file__).parents[3] / "pyproject.toml"
    if source.is_file():
        table = tomllib.loads(source.read_text())["project"]
        if table["name"] == DISTRIBUTION:
            wanted = (*table["dependencies"], *table["optional-dependencies"]["job"])
            return Project(table["version"], wanted, table["scripts"])
    installed = metadata.distribution(DISTRIBUTION)
    scripts = {point.name: point.value for point in installed.entry_points if point.group == "console_scripts"}
    return Project(installed.version, tuple(_installed_requirements(installed.requires or [])), scripts)


def _installed_requirements(lines: list[str]) -> Iterator[str]:
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", "job")):
            requirement.marker = None
            yield str(requirement)


def job_wheel() -> tuple[str, bytes]:
    """File name and contents of the wheel."""
    this = project()
    stem = f"{DISTRIBUTION.replace('-', '_')}-{this.version}"
    info = f"{stem}.dist-info"
    headers = ["Metadata-Version: 2.1", f"Name: {DISTRIBUTION}", f"Version: {this.version}"]
    headers += [f"Requires-Dist: {requirement}" for requirement in this.requirements]
    points = ["[console_scripts]", *(f"{name} = {place}" for name, place in sorted(this.scripts.items()))]
    tags = ["Wheel-Version: 1.0", "Generator: toolkit", "Root-Is-Purelib: true", "Tag: py3-none-any"]
    texts = {"METADATA": headers, "entry_points.txt": points, "WHEEL": tags}
    files = _sources() | {
        f"{info}/{name}": "".join(f"{line}\n" for line in lines).encode() for name, lines in texts.items()
    }
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return f"{stem}-py3-none-any.whl", archive.getvalue()


def _sources() -> dict[str, bytes]:
    files = {}
    for package in PACKAGES:
        root = package_dir(package)
        for path in sorted(root.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                files[f"{package}/{path.relative_to(root)}"] = path.read_bytes()
    return files


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
