"""Folders of volumes as they are looked at: page by page, live ones and those of versions, and never through a link."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from toolkit_client.errors import InvalidRequest, NotFound, ServiceUnavailable
from toolkit_client.transfer.beneath import Beneath
from toolkit_client.transfer.walk import FOLDER, Entry, walk
from toolkit_hub.volumes.browse import LONGEST_PATH, FolderPage, Spot, look, spot_of
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.manifest import ManifestWriter

ID = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    made = Volumes(tmp_path / "data")
    made.ensure(ID)
    return made


def names(found: FolderPage) -> list[bytes]:
    return [spot_of(entry).name for entry in found.entries]


def test_the_pages_of_a_folder_have_everything_once(volumes: Volumes) -> None:
    live = volumes.live(ID)
    for number in range(53):
        (live / f"{number}").touch()
    for number in range(7):
        (live / f"folder {number}").mkdir()
    wanted = sorted(os.fsencode(path.name) for path in live.iterdir() if path.is_dir())
    wanted += sorted(os.fsencode(path.name) for path in live.iterdir() if path.is_file())
    seen: list[FolderPage] = []
    after = None
    while True:
        seen.append(look(volumes, ID, None, b"", after=after, page=10))
        after = seen[-1].after
        if after is None:
            break
        assert Spot.parse(bytes(after)) == after
    assert [name for found in seen for name in names(found)] == wanted
    assert [found.first for found in seen] == [0, 10, 20, 30, 40, 50]
    assert {found.total for found in seen} == {60}
    assert seen[0].before is None
    for earlier, later in pairwise(seen):
        back = look(volumes, ID, None, b"", before=later.before, page=10)
        assert (back.entries, back.first, back.before, back.after) == (
            earlier.entries,
            earlier.first,
            earlier.before,
            earlier.after,
        )


def write_manifest(volumes: Volumes, version: str) -> list[Entry]:
    with Beneath(volumes.live(ID)) as beneath, volumes.manifest(ID, version).open("wb") as file:
        writer = ManifestWriter(file, 0)
        entries = list(walk(beneath))
        for entry in entries:
            writer.add(entry)
        writer.end()
    return entries


def test_a_version_is_shown_from_its_list(volumes: Volumes) -> None:
    """Each folder as it was, and with the modes that were committed."""
    live = volumes.live(ID)
    for path in ("a/x", "a/deep/er/y", "a.b/z", "ab", "b/c"):
        (live / path).parent.mkdir(parents=True, exist_ok=True)
        (live / path).write_text(path)
    (live / "ab").chmod(0o751)
    (live / "link").symlink_to("a")
    for name in (b"line\nend", b"\xff", b"n" * 255):
        (live / "b" / os.fsdecode(name)).touch()
    entries = write_manifest(volumes, "v")
    folders = [b"", *(entry.path for entry in entries if entry.kind == FOLDER)]

    def facts(found: FolderPage) -> list[tuple[object, ...]]:
        return [(*entry[:5], entry.target) for entry in found.entries]

    before = {folder: facts(look(volumes, ID, None, folder)) for folder in folders}
    assert [row[:3] for row in before[b""]][3:] == [(b"ab", "file", 0o751), (b"link", "link", 0o777)]
    (live / "ab").unlink()
    (live / "a/x").write_text("other")
    assert {folder: facts(look(volumes, ID, "v", folder)) for folder in folders} == before
    for missing in (b"nothing", b"ab", b"link", b"a/deep/e", b"a/x"):
        with pytest.raises(NotFound):
            look(volumes, ID, "v", missing)
    assert look(volumes, ID, "empty", b"").entries == []
    volumes.manifest(ID, "v").write_bytes(volumes.manifest(ID, "v").read_bytes()[:-40])
    for broken in ("v", "gone"):
        with pytest.raises(ServiceUnavailable):
            look(volumes, ID, broken, b"")


def test_no_way_leads_out(volumes: Volumes, tmp_path: Path) -> None:
    live, outside = volumes.live(ID), tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    (live / "link").symlink_to(outside)
    (live / "file").touch()
    (live / "folder").mkdir()
    (live / "folder" / "up").symlink_to("..")
    os.mkfifo(live / "pipe")
    for path in (b"link", b"folder/up", b"folder/up/folder", b"file", b"pipe", b"nothing"):
        with pytest.raises(NotFound):
            look(volumes, ID, None, path)
    with pytest.raises(InvalidRequest):
        look(volumes, ID, None, b"x/" * (LONGEST_PATH // 2) + b"x")
    assert look(volumes, OTHER, None, b"").entries == []  # of which nothing is on the disk yet
    with pytest.raises(NotFound):
        look(volumes, OTHER, None, b"folder")
