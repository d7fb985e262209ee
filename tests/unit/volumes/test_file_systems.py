"""Commits on file systems that share blocks, and on one that is full: on loop devices, where this machine lets us."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.volumes.trees import Volume, contents
from toolkit_client.errors import InsufficientStorage


@contextmanager
def mounted(folder: Path, kind: str, size: int, *options: str, made_with: Sequence[str] = ()) -> Iterator[Path]:
    """A new file system of `size` bytes in a file. Skips where that is impossible."""
    maker = shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() != 0 or maker is None:
        pytest.skip(f"needs root and mkfs.{kind}")
    image, place = folder / f"{kind}.image", folder / kind
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([maker, "-q", *made_with, str(image)], check=True, capture_output=True)
    command = ["mount", "-o", ",".join(["loop", *options]), str(image), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        wanted = " with ".join([kind, *options])
        pytest.skip(f"{wanted} cannot be mounted on a loop device here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        image.unlink()


def free(place: Path) -> int:
    subprocess.run(["sync", "-f", str(place)], check=True)
    found = os.statvfs(place)
    return found.f_bfree * found.f_frsize


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_commit_shares_the_blocks_of_the_live_files(tmp_path: Path, kind: str) -> None:
    with mounted(tmp_path, kind, 512 * 2**20) as place:
        volume = Volume(place / "data")
        volume.write("large", os.urandom(64 * 2**20))
        before = free(place)
        volume.commit()
        assert before - free(place) < 8 * 2**20
        with (volume.live / "large").open("r+b") as file:
            file.write(b"changed in place")
        volume.commit()
        assert before - free(place) < 8 * 2**20
        first, second = (volume.version(number) / "large" for number in (0, 1))
        assert second.read_bytes()[:16] == b"changed in place" != first.read_bytes()[:16]
        assert second.read_bytes()[16:] == first.read_bytes()[16:]


def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path) -> None:
    with mounted(tmp_path, "ext4", 48 * 2**20) as place:
        volume = Volume(place / "data")
        volume.write("small", "kept")
        volume.commit()
        was = contents(volume.version())
        volume.write("large", os.urandom(24 * 2**20))
        with pytest.raises(InsufficientStorage, match="does not fit on the disk") as caught:
            volume.commit()
        assert caught.value.status == 507
        assert volume.left() == []
        assert contents(volume.version()) == was
        assert (volume.live / "large").stat().st_size == 24 * 2**20
