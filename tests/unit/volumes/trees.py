"""Trees on the disk for tests of volumes: made, looked at, compared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from toolkit_client.transfer.walk import Entry
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.ledger import Budget, Outcome
from toolkit_hub.volumes.manifest import read_manifest
from toolkit_hub.volumes.snapshot import Snapshot

DATA = "7f3f2b39-92c7-4bb8-8bc4-2f3f1ea4a5a1"


class Volume:
    """One volume and its commits, without a database."""

    def __init__(self, root: Path) -> None:
        self.volumes = Volumes(root)
        self.volumes.ensure(DATA)
        self.live = self.volumes.live(DATA)
        self.versions: list[str] = []

    def write(self, name: str, content: bytes | str = b"") -> Path:
        path = self.live / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def snapshot(self, version_id: str, budget: Budget | None = None) -> Snapshot:
        before = self.versions[-1] if self.versions else None
        return Snapshot(self.volumes, DATA, version_id, before, budget=budget)

    def commit(self, budget: Budget | None = None) -> Outcome:
        version_id = f"00000000-0000-4000-8000-{len(self.versions):012d}"
        with self.snapshot(version_id, budget) as snapshot:
            made = snapshot.build()
        self.versions.append(version_id)
        return made

    def nothing_new(self) -> bool:
        with self.snapshot("ffffffff-0000-4000-8000-000000000000") as snapshot:
            return snapshot.nothing_new()

    def version(self, number: int = -1) -> Path:
        return self.volumes.version(DATA, self.versions[number])

    def listed(self, number: int = -1) -> dict[bytes, Entry]:
        with self.volumes.manifest(DATA, self.versions[number]).open("rb") as file:
            entries = list(read_manifest(file))
        found = {entry.path: entry for entry in entries}
        assert len(found) == len(entries)
        return found

    def left(self) -> list[str]:
        """What lies in `versions` beside whole versions."""
        whole = {name for version in self.versions for name in (version, f"{version}.list")}
        return sorted(set(os.listdir(self.volumes.versions(DATA))) - whole)


def contents(folder: Path) -> dict[bytes, object]:
    """Path → what a file holds, where a link points, the mark of a folder. Small trees only."""
    found: dict[bytes, object] = {}
    root = os.fsencode(folder)
    for at, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(at, name)
            relative = os.path.relpath(path, root)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                found[relative] = ("link", os.readlink(path))
            elif stat.S_ISDIR(mode):
                found[relative] = "folder"
            elif stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    found[relative] = file.read()
    return found
