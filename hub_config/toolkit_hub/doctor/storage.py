"""Disks: free space and inodes where the site and the engine write; and who may read the site's secrets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from toolkit_client.admin_models import Finding
from toolkit_hub.doctor.check import Patient, ok, problem, warning
from toolkit_hub.doctor.engine import engine_facts
from toolkit_spawner.docker_api import EngineRefused, EngineUnavailable

__all__ = ["check_disk", "check_secrets", "space_finding"]

GIB = 2**30
#: Parts of the inodes that are left: below the first one it is said, below the second nothing can be created soon.
FEW_INODES, NO_INODES = 0.10, 0.02
#: A disk with less than this many times the floor is said to become full.
WARN_AT_FLOORS = 2
#: Without a floor of the site's own, in GiB.
LEAST_FREE = 1.0


def check_disk(patient: Patient) -> Iterator[Finding]:
    site = patient.site
    places = {"state": site.state, "runs": site.runs_dir, "data": site.data_root}
    try:
        places["engine"] = Path(str(engine_facts(patient.engine)["DockerRootDir"]))
    except (EngineUnavailable, EngineRefused):
        yield warning("disk: engine", "the engine does not say where it keeps images", "see the finding `engine`")
    seen: dict[int, list[tuple[str, Path]]] = {}
    for name, path in places.items():
        try:
            seen.setdefault(path.stat().st_dev, []).append((name, path))
        except FileNotFoundError:
            continue  # made at the first use, below the state folder; or the engine is on another machine
        except OSError as error:
            yield problem(
                f"disk: {name}", f"{path} cannot be read: {error.strerror}", "run as the site's own user, or root"
            )
    for here in seen.values():
        yield space_finding(" and ".join(name for name, _ in here), here[0][1], patient.site.disk_floor)


def space_finding(name: str, path: Path, floor_gib: float) -> Finding:
    """Free space and inodes of the file system that `path` is on, against the site's floor in GiB."""
    found, name = os.statvfs(path), f"disk: {name}"
    free, total = found.f_bavail * found.f_frsize / GIB, found.f_blocks * found.f_frsize / GIB
    inodes = found.f_favail / found.f_files if found.f_files else 1.0
    text = f"{path}: {free:.1f} of {total:.1f} GiB free" + (f", {inodes:.0%} of the inodes" if found.f_files else "")
    if found.f_flag & os.ST_RDONLY:
        return problem(
            name, f"{path} is mounted read-only", "look at `dmesg` for errors of the disk, and mount it again"
        )
    floor = floor_gib or LEAST_FREE
    advice = "free space: `toolkit admin gc`, `docker system df`, data that nobody needs; or add a disk"
    if free < floor:
        return problem(name, f"{text}, less than the floor of {floor:g} GiB: jobs that write are killed", advice)
    if inodes < NO_INODES:
        return problem(name, f"{text}: soon no file can be created", "remove folders with many small files")
    if free < WARN_AT_FLOORS * floor or inodes < FEW_INODES:
        return warning(name, f"{text}: it is becoming full (floor: {floor:g} GiB)", advice)
    return ok(name, text)


def check_secrets(patient: Patient) -> Iterator[Finding]:
    """Whoever reads these files can be every user of the site."""
    site = patient.site
    if not site.state.is_dir():
        yield problem(
            "secrets",
            f"there is no state folder {site.state}",
            "TOOLKIT_STATE names another one, or `make run` makes it",
        )
        return
    owner = site.state.stat().st_uid
    kept = [site.state, site.state / "secrets", *sorted((site.state / "secrets").glob("*"))]
    kept += [site.state / name for name in ("admin-password", "admin-token", "instance-id")]
    problems = [found for path in kept for found in _openness(path, owner)]
    yield from problems
    if not problems:
        yield ok("secrets", f"{site.state} and the secrets in it are open to their owner only")
    yield from _database_password(patient)


def _openness(path: Path, owner: int) -> Iterator[Finding]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        yield problem(
            "secrets", f"{path} is a symbolic link", "put the file itself there: links can be pointed elsewhere"
        )
    elif found.st_uid != owner:
        yield problem(
            "secrets", f"{path} belongs to uid {found.st_uid}, not to the state folder's owner", f"chown {owner} {path}"
        )
    elif found.st_mode & 0o077:
        right = "700" if stat.S_ISDIR(found.st_mode) else "600"
        yield problem(
            "secrets",
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others on this machine can read or change it",
            f"chmod {right} {path}; if others may have read it, remove the file and restart the units: a new one is made",
        )


def _database_password(patient: Patient) -> Iterator[Finding]:
    config = os.environ.get("TOOLKIT_CONFIG")
    if not patient.store.engine.url.password or not config or not Path(config).exists():
        return
    if Path(config).stat().st_mode & 0o077:
        yield warning(
            "secrets: database",
            f"the database's password stands in {config}, which others on this machine can read",
            "put it in ~/.pgpass or name a file by ?passfile=… in c.Toolkit.database_url; or chmod 600 the file",
        )
