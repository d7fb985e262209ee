"""The folder tree of volumes: which folder is what, and who may write in it.

::

    DATA_ROOT/empty/                 the version @empty of all data
    DATA_ROOT/ID/live/               what jobs mount and transfers change; everything in it belongs to uid 13011
    DATA_ROOT/ID/staging/            what is on its way in: whole files are renamed from here into `live`
    DATA_ROOT/ID/versions/VID/       the files of one version, of another uid, never written again
    DATA_ROOT/ID/versions/VID.list   its manifest

Only root passes DATA_ROOT/ID; a job sees the one folder that it mounts. `live` and `staging` are on one file system.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID

__all__ = ["VERSION_UID", "Volumes"]

#: Owner of the files of versions: no job runs as it. Their group is the jobs', who read them by it.
VERSION_UID = 13012


@dataclass(frozen=True)
class Volumes:
    """All volumes of a site, below `root` (the setting `data_root`)."""

    root: Path

    @property
    def empty(self) -> Path:
        return self.root / "empty"

    def folder(self, data_id: str) -> Path:
        return self.root / data_id

    def live(self, data_id: str) -> Path:
        return self.folder(data_id) / "live"

    def staging(self, data_id: str) -> Path:
        return self.folder(data_id) / "staging"

    def versions(self, data_id: str) -> Path:
        return self.folder(data_id) / "versions"

    def version(self, data_id: str, version_id: str) -> Path:
        return self.versions(data_id) / version_id

    def manifest(self, data_id: str, version_id: str) -> Path:
        return self.versions(data_id) / f"{version_id}.list"

    def ensure(self, data_id: str) -> None:
        """Make the folders of one volume, or what is missing of them. Any number of processes may, at any time.

        Raises:
            OSError: the disk is full, or cannot be written.
        """
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(self.empty, 0o755, 0, 0)
        _make(self.folder(data_id), 0o700, 0, 0)
        _make(self.versions(data_id), 0o711, 0, 0)
        _make(self.staging(data_id), 0o700, CONTAINER_UID, CONTAINER_GID)
        _make(self.live(data_id), 0o755, CONTAINER_UID, CONTAINER_GID)

    def prepare(self, data_id: str, name: str, account_id: str) -> None:
        """`ensure`, for data of this name and account. A `home` takes over the home folder of its account from before homes
        were data; a job that has that mounted goes on with it."""
        old = self.root / f"home-{account_id}"
        if name == "home" and old.is_dir() and not old.is_symlink() and not self.live(data_id).exists():
            _make(self.folder(data_id), 0o700, 0, 0)
            old.rename(self.live(data_id))
        self.ensure(data_id)


def _make(folder: Path, mode: int, uid: int, gid: int) -> None:
    """The folder as it should be, in one step: nobody meets it with another owner."""
    if folder.is_dir():
        return
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.{os.urandom(4).hex()}")
    fresh.mkdir(mode=0o700)
    try:
        if os.geteuid() == 0:
            os.chown(fresh, uid, gid)
        fresh.chmod(mode)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        if fresh.exists():
            fresh.rmdir()
