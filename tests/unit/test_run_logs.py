"""Logs of runs: what job-init keeps of any output, and how it is read, also from files that their run has spoilt."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit_ext.job_init.log import Log
from toolkit_ext.job_init.log_files import FILES, SEGMENT_HEADER, TIMES_HEADER, TimeIndex, shares
from toolkit_hub.domain.log_guard import MARGIN, cut_to_limits
from toolkit_hub.domain.run_logs import RunLog, file_limits
from toolkit_spawner.run_files import prepare_run_files

HEAD, SEGMENT = 100, 40


def prepare(folder: Path, head: int = HEAD, segment: int = SEGMENT) -> Path:
    prepare_run_files(folder, folder / "home", {"log_head": head, "log_segment": segment})
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(tmp_path / "run")


def writer(folder: Path, head: int = HEAD, segment: int = SEGMENT) -> Log:
    log = Log(str(folder / "log"))
    log.limit(head, segment)
    return log


def output(size: int, start: int = 0) -> bytes:
    """Bytes that tell where in the output they stand."""
    numbered = b"".join(b"%09d\n" % number for number in range(start // 10, (start + size) // 10 + 1))
    return numbered[start % 10 : start % 10 + size]


def read_all(log: RunLog, position: int = 0, size: int = 1000) -> list[tuple[int, bytes]]:
    """What is kept, as stretches without a gap and the position of each."""
    stretches: list[tuple[int, bytes]] = []
    while found := log.read(position, size):
        assert 0 < len(found.data) <= size
        if stretches and found.position == position:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + found.data)
        else:
            stretches.append((found.position, found.data))
        position = found.position + len(found.data)
    return stretches


def kept(folder: Path) -> list[tuple[int, bytes]]:
    log = RunLog(folder)
    try:
        return read_all(log)
    finally:
        log.close()


# --- what is kept -----------------------------------------------------------------------------------------------------


def expected(total: int, head: int, segment: int) -> list[tuple[int, bytes]]:
    """Head, and the last one or two segments of what follows it."""
    if total <= head:
        return [(0, output(total))] if total else []
    newest = (total - head - 1) // segment
    start = head + max(0, newest - 1) * segment
    if start == head:
        return [(0, output(total))]
    return [(0, output(head)), (start, output(total - start, start))]


@settings(max_examples=150, deadline=None)
@given(
    chunks=st.lists(st.integers(1, 130), max_size=25),
    head=st.integers(1, 120),
    segment=st.integers(1, 60),
    size=st.integers(1, 70),
)
def test_head_and_tail_are_exact_for_any_chunks(chunks: list[int], head: int, segment: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = prepare(Path(name, "run"), head, segment)
        log, reader, total = writer(folder, head, segment), RunLog(folder), 0
        live = b""
        for chunk in chunks:
            log.write(output(chunk, total))
            total += chunk
            assert reader.end == total
            # Who follows closely misses nothing but what one write put past two segments.
            for start, data in read_all(reader, len(live) if len(live) < total else total, size):
                assert data == output(len(data), start)
                live = output(start) + data
        assert len(live) == total
        assert kept(folder) == expected(total, head, segment)
        for name_, limit in file_limits(folder).items():
            assert (folder / name_).stat().st_size <= limit
        last_lines = b"".join(data for _, data in read_all(reader, reader.tail(2)))
        assert last_lines.count(b"\n") <= 2
        reader.close()


def test_the_quota_is_shared_out_whole() -> None:
    for quota in (1, 3, 4, 2**20, 256 * 2**20 + 3):
        head, segment = shares(quota)
        assert head + 2 * segment == quota


def test_a_follower_at_the_writers_speed_gets_everything(folder: Path) -> None:
    log, reader, got = writer(folder), RunLog(folder), b""
    for start in range(0, 5000, 17):
        log.write(output(17, start))
        while found := reader.read(len(got), 8):
            assert found.position == len(got)
            got += found.data
    assert got == output(start + 17)
    reader.close()


def test_a_follower_who_is_late_is_told_where_it_goes_on(folder: Path) -> None:
    log, reader = writer(folder), RunLog(folder)
    log.write(output(90))
    assert reader.read(80, 100) == (80, output(10, 80))
    log.write(output(910, 90))
    assert reader.first_kept(95) == 95
    assert reader.first_kept(100) == reader.first_kept(500) == 940
    assert reader.read(100, 100) == (940, output(40, 940))
    assert reader.read(1000, 100) is None
    assert (reader.first_kept(1000), reader.first_kept(5000)) == (1000, 5000)
    reader.close()


def test_lines_are_counted_back_across_what_is_not_kept(folder: Path) -> None:
    writer(folder).write(output(1000))
    reader = RunLog(folder)
    assert [reader.tail(lines) for lines in (0, 1, 3, 5)] == [1000, 990, 970, 950]
    assert reader.tail(6) == 100  # where the sixth line begins is not kept; the line end before it is the head's last
    assert reader.tail(7) == 90
    assert reader.tail(100) == 0
    reader.close()


@pytest.mark.parametrize(
    ("text", "lines", "tail"), [(b"", 3, b""), (b"a\nb", 1, b"b"), (b"a\nb\n", 1, b"b\n"), (b"\n", 1, b"\n")]
)
def test_tails_of_short_logs(folder: Path, text: bytes, lines: int, tail: bytes) -> None:
    writer(folder).write(text)
    reader = RunLog(folder)
    assert text[reader.tail(lines) :] == tail
    reader.close()


def test_a_full_disk_in_the_tail_is_said(folder: Path) -> None:
    head = 10_000
    prepare(folder, head, 5000)
    log = writer(folder, head, 5000)
    log.write(output(head))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SEGMENT_HEADER + 100, hard))
        log.write(output(3000, head))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    log.write(b"after\n")
    [(start, data)] = kept(folder)
    assert start == 0
    assert data == output(head + 100) + b"toolkit: 2900 bytes of output were lost here: File too large\nafter\n"


def test_without_limits_everything_is_head(folder: Path) -> None:
    Log(str(folder / "log")).write(output(1000))
    assert (folder / "log").read_bytes() == output(1000)


def test_no_log_yet(tmp_path: Path) -> None:
    reader = RunLog(tmp_path / "run")
    assert (reader.end, reader.read(0, 10), reader.tail(5), reader.first_kept(7)) == (0, None, 0, 7)
    writer(prepare(tmp_path / "run")).write(b"now")
    assert reader.read(0, 10) == (0, b"now")
    reader.close()


# --- times ------------------------------------------------------------------------------------------------------------


def test_output_since_a_time(folder: Path) -> None:
    log, reader = writer(folder, 10_000), RunLog(folder)
    prepare(folder, 10_000)
    begin = datetime.now(UTC)
    log.write(b"first\n")
    time.sleep(1.1)
    middle = datetime.now(UTC)
    log.write(b"second\n")
    assert reader.at_time(begin - timedelta(days=1)) == 0
    assert reader.at_time(begin) == 0
    assert reader.at_time(middle) == 6
    assert reader.at_time(middle + timedelta(hours=1)) == reader.end == 13
    reader.close()


def test_notes_of_times_are_bounded_and_stay_true(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_700_000_000.0
    monkeypatch.setattr("toolkit_ext.job_init.log_files.TIMES_RECORDS", 64)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9))
    index, begin = TimeIndex(str(folder / "log.times")), now
    for second in range(5000):
        index.note(second * 1000)
        now += 1
    assert (folder / "log.times").stat().st_size <= TIMES_HEADER + 64 * 16
    (folder / "log").write_bytes(b"x" * HEAD)
    reader = RunLog(folder)
    monkeypatch.setattr(RunLog, "end", 5_000_000)
    for second in range(0, 5000, 111):
        found = reader.at_time(datetime.fromtimestamp(begin + second, UTC)) // 1000
        assert second - 2 * 128 <= found <= second
    reader.close()


@pytest.mark.parametrize(
    "garbage",
    [b"", b"short", b"\xff" * 1000, b"\0" * 5000, (500).to_bytes(8, "big") + b"\xff" * 16 + b"\0" * 16, b"x" * 10**6],
)
def test_spoilt_times_harm_nobody(folder: Path, garbage: bytes) -> None:
    writer(folder).write(output(60))
    (folder / "log.times").write_bytes(garbage)
    reader = RunLog(folder)
    assert 0 <= reader.at_time(datetime.now(UTC)) <= 60
    assert reader.at_time(datetime.fromtimestamp(0, UTC)) in (0, 60)
    reader.close()


# --- files that their run has spoilt ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["link", "fifo", "socket", "folder", "device", "missing"])
def test_only_plain_files_are_read(folder: Path, name: str, kind: str) -> None:
    secret = folder / "secret"
    secret.write_bytes(b"%020d\nof somebody else" % HEAD)
    writer(folder).write(output(1000))
    path = folder / name
    path.unlink()
    match kind:
        case "link":
            path.symlink_to(secret)
        case "fifo":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, 0o140600)
        case "folder":
            path.mkdir()
        case "device":
            os.mknod(path, 0o20600, os.makedev(1, 5))
    text = b"".join(data for _, data in kept(folder))
    assert b"somebody" not in text
    reader = RunLog(folder)
    assert reader.at_time(datetime.now(UTC)) <= 1000
    assert reader.tail(5) <= 1000
    reader.close()
    assert cut_to_limits(folder) == 0
    assert secret.exists()


@pytest.mark.parametrize(
    "mark",
    [
        b"",
        b"x" * 21,
        b"%020d" % 5,
        b"-0000000000000000005\n",
        b"%020d\n" % 10**16,
        b"%020d\n" % 5,
        b"%020d\n" % (10**15 - 3),
    ],
)
def test_segments_that_lie(folder: Path, mark: bytes) -> None:
    writer(folder).write(output(150))
    (folder / "log.2").write_bytes(mark + b"lies " * 100)
    reader = RunLog(folder)
    stretches = read_all(reader, size=7)
    assert stretches[0] == (0, output(140)) or stretches[0][1].startswith(output(100))
    assert sum(len(data) for _, data in stretches) <= HEAD + 2 * SEGMENT
    assert reader.tail(10**6) == 0
    reader.close()


def test_a_log_that_is_emptied_while_it_is_read(folder: Path) -> None:
    log, reader = writer(folder), RunLog(folder)
    log.write(output(1000))
    assert reader.read(0, 50) == (0, output(50))
    for name in FILES:
        os.truncate(folder / name, 0)
    assert reader.read(50, 50) is None
    assert (reader.end, reader.tail(3), reader.at_time(datetime.now(UTC))) == (0, 0, 0)
    log.write(output(50, 1000))
    assert reader.end <= 1050
    reader.close()


def test_sizes_past_the_quota_are_not_believed(folder: Path) -> None:
    writer(folder).write(output(1000))
    for name in FILES:
        os.truncate(folder / name, 2**40)
    begin = time.monotonic()
    assert sum(len(data) for _, data in kept(folder)) <= HEAD + 2 * SEGMENT
    reader = RunLog(folder)
    reader.tail(10**9)
    reader.at_time(datetime.now(UTC))
    reader.close()
    assert time.monotonic() - begin < 2


def test_a_lease_does_not_make_us_wait(folder: Path) -> None:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the kernel asks for the lease back
    with (folder / "log.1").open("rb+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        assert fcntl.fcntl(file, fcntl.F_GETLEASE) == fcntl.F_WRLCK
        begin = time.monotonic()
        assert kept(folder) == []
        assert time.monotonic() - begin < 1
    signal.signal(signal.SIGIO, before)


# --- the guard --------------------------------------------------------------------------------------------------------


def test_the_guard_cuts_what_is_too_much_and_nothing_else(folder: Path) -> None:
    log = writer(folder)
    log.write(output(1000))
    before = kept(folder)
    assert cut_to_limits(folder) == 0
    for name in ("log.2", "log.times"):
        os.truncate(folder / name, 2**40)
    with (folder / "log").open("ab") as file:
        file.write(b"x" * (MARGIN + 1))
    assert cut_to_limits(folder) > 2**40
    for name, limit in file_limits(folder).items():
        assert (folder / name).stat().st_size <= limit
    assert kept(folder)[0] == before[0]
    log.write(output(100, 1000))
    assert kept(folder)[-1] == (1020, output(80, 1020))
    assert cut_to_limits(folder) == 0


def test_the_guard_frees_what_is_reserved_behind_the_end(folder: Path) -> None:
    writer(folder).write(output(50))
    done = os.system(f"fallocate -n -l 50M {folder / 'log'}")
    if done != 0:
        pytest.skip("this file system cannot reserve blocks")
    assert (folder / "log").stat().st_blocks * 512 > 2**25
    assert cut_to_limits(folder) > 2**25
    assert (folder / "log").stat().st_blocks * 512 <= 8192
    assert kept(folder) == [(0, output(50))]


def test_the_guard_of_no_log(tmp_path: Path) -> None:
    assert cut_to_limits(tmp_path / "missing") == 0
