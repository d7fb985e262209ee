"""The log of a run in a container: its quota, what it costs, and what its own user can do to it."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docker.run_container import RunContainer
from toolkit_ext.job_init.log_files import FILES
from toolkit_hub.domain.run_logs import RunLog

pytestmark = pytest.mark.engine

MIB = 2**20
HEAD, SEGMENT = MIB // 2, MIB // 4
LIMITS = {"log_head": HEAD, "log_segment": SEGMENT}


def kept(folder: Path) -> tuple[list[tuple[int, bytes]], int]:
    """What is kept of a run's output, in stretches, and how much there was."""
    (folder / "log.limits").write_text(json.dumps({"head": HEAD, "segment": SEGMENT}))
    log, position, stretches = RunLog(folder), 0, list[tuple[int, bytes]]()
    while found := log.read(position, 2 * MIB):
        stretches.append((found.position, found.data))
        position = found.position + len(found.data)
    log.close()
    return stretches, position


def test_head_and_tail_of_a_long_output(start_run: Callable[..., RunContainer]) -> None:
    size = 20_000_000
    run = start_run(["sh", "-c", f"yes 123456789 | head -c {size}; exit 4"], **LIMITS)
    assert run.code() == 4
    stretches, end = kept(run.folder)
    assert end == size
    assert stretches[0] == (0, (b"123456789\n" * HEAD)[:HEAD])
    tail = b"".join(data for _, data in stretches[1:])
    assert SEGMENT <= len(tail) <= 2 * SEGMENT
    assert stretches[1][0] == size - len(tail)
    assert (b"123456789\n" * HEAD).endswith(tail)
    assert sum((run.folder / name).stat().st_size for name in FILES) < MIB + 4096


def test_the_user_can_only_write_to_the_files(start_run: Callable[..., RunContainer]) -> None:
    script = """
    cd /run/toolkit
    for name in log log.1 log.2 log.times run.json; do
        rm -f $name; mv $name /tmp/; ln -sf /etc/passwd $name; mkfifo $name; ln /etc/passwd $name; mknod $name c 1 5
    done
    touch new; mkdir new; umount /run/toolkit/log; chmod 777 .
    printf forged > log.1
    echo end
    """
    run = start_run(["sh", "-c", script], **LIMITS)
    assert run.code() == 0
    for name in FILES:
        found = (run.folder / name).lstat()
        assert stat.S_ISREG(found.st_mode)
        assert found.st_nlink == 1
    assert {path.name for path in run.folder.iterdir()} == {*FILES, "run.json", "home"}
    stretches, _ = kept(run.folder)
    assert len(stretches) == 1
    assert stretches[0][1].endswith(b"end\n")


def test_job_init_is_cheap_and_small_under_load(start_run: Callable[..., RunContainer]) -> None:
    """400 MB as fast as they come: what PID 1 takes of processor and memory."""
    run = start_run(["sh", "-c", "head -c 400000000 /dev/zero; cat /proc/1/stat /proc/1/status >&2"], **LIMITS)
    assert run.code() == 0
    stretches, end = kept(run.folder)
    assert end > 400_000_000
    text = stretches[-1][1][-4000:].decode(errors="replace")
    fields = text[text.index("1 (") :].partition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / 100
    memory = int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0])
    print(f"job-init: {seconds:.2f} s of CPU for 400 MB, {memory / 1024:.1f} MiB at most")
    assert seconds < 4
    assert memory < 40 * 1024
