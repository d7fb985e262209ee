"""What counts as written by a run."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit_hub.queue.disk_guard import deleted_bytes, measure
from toolkit_spawner.run_files import remove_tree

MIB = 2**20


def test_files_count_once_and_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(os.urandom(8 * MIB))
    run = tmp_path / "run"
    run.mkdir()
    (run / "file").write_bytes(os.urandom(2 * MIB))
    os.link(run / "file", run / "again")
    (run / "link").symlink_to(outside)
    with (run / "sparse").open("wb") as file:
        file.truncate(2**40)
    used = measure([str(run)], 0)
    assert used is not None
    assert 2 * MIB <= used < 3 * MIB


def test_a_tree_of_any_depth_is_measured_and_removed(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    with os.fdopen(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder), "wb") as file:
        file.write(os.urandom(MIB))
    os.close(folder)
    used = measure([str(tmp_path)], 0)
    remove_tree(tmp_path / "d")
    assert not (tmp_path / "d").exists()
    assert used is not None
    assert used > MIB


def test_a_deleted_file_that_is_still_open_counts(tmp_path: Path) -> None:
    before = deleted_bytes([str(tmp_path)], os.getpid())
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(3 * MIB))
        file.flush()
        os.fsync(file.fileno())
        (tmp_path / "file").unlink()
        assert deleted_bytes([str(tmp_path)], os.getpid()) - before >= 3 * MIB


def test_what_is_gone_meanwhile_is_nothing(tmp_path: Path) -> None:
    assert measure([str(tmp_path / "gone")], 0) == 0
