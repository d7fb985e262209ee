"""Content of data going in and out over loopback, as whole commands, beside rsync, tar and ls of this machine.

Each round does the same with ours and with the reference, one after the other, into folders that are new; what was moved is
looked at. Small files stay until the end of it all: for minutes, ext4 passes one by one over the inodes of files that were
removed, whenever it makes a file, and so who comes after a removal takes many times as long. (For the same reason: do not
measure just after something has removed many files.)
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from tests.bench.data_world import (
    BIG,
    FILE_SIZE,
    FILES,
    Peak,
    clear,
    contents,
    digest,
    shared_data_world,
    tally,
    write_files,
)
from tests.bench.rows import Row, rate_row, ratio_row
from tests.support.running_site import RunningSite

#: Seconds of each round, by what was done.
Times = dict[str, list[float]]

_MIB = 2**20
_ALL_FILES = (FILES, FILES * FILE_SIZE)
_TAR, _RSYNC = "tar | ssh", "rsync"


# --- one big file, many small ones --------------------------------------------------------------------------------------


@cache
def _big(site: RunningSite, rounds: int = 3) -> Times:
    world = shared_data_world(site)
    source, out, times = world.big(), world.fresh("big-out"), defaultdict[str, list[float]](list)
    right = digest(source / "file")
    for number in range(rounds):
        name = f"bench-big-{number}"
        live = world.new(name)
        times["push"].append(world.timed(world.toolkit("push", name, source)))
        assert number or digest(live / "file") == right
        assert tally(live) == (1, BIG)
        times["push rsync"].append(world.timed(world.rsync(source, world.there(out), "-W")))
        assert tally(out) == (1, BIG)
        clear(out)
        times["pull"].append(world.timed(world.toolkit("pull", name, ".", out)))
        assert number or digest(out / "file") == right
        assert tally(out) == (1, BIG)
        clear(live, out)
        times["pull rsync"].append(world.timed(world.rsync(world.there(source), out, "-W")))
        assert tally(out) == (1, BIG)
        clear(out)
    clear(source)
    return times


def _big_row(site: RunningSite, way: str) -> Row:
    times = _big(site)
    name = f"{way} one file of {BIG >> 30} GiB, rsync -W"
    return rate_row(name, BIG / _MIB, "MiB/s", times[way], times[f"{way} {_RSYNC}"], 0.8)


def push_big(site: RunningSite) -> Row:
    return _big_row(site, "push")


def pull_big(site: RunningSite) -> Row:
    return _big_row(site, "pull")


@cache
def _many(site: RunningSite, rounds: int = 5) -> Times:
    world = shared_data_world(site)
    source, times = world.many(), defaultdict[str, list[float]](list)
    right = contents(source)
    for number in range(rounds):
        name = f"bench-many-{number}"
        live, out = world.new(name), world.fresh(name)
        for way, command, folder in (
            ("push", world.toolkit("push", name, source), live),
            ("pull", world.toolkit("pull", name, ".", out), out),
        ):
            times[way].append(world.timed(command))
            assert contents(folder) == right
            tar, rsync = (world.fresh(f"{name}-{way}-{reference}") for reference in ("tar", "rsync"))
            times[f"{way} {_TAR}"].append(world.timed(world.tar(source, tar, push=way == "push")))
            ends = (source, world.there(rsync)) if way == "push" else (world.there(source), rsync)
            times[f"{way} {_RSYNC}"].append(world.timed(world.rsync(*ends)))
            assert tally(tar) == tally(rsync) == _ALL_FILES
    return times


def _many_row(site: RunningSite, way: str, reference: str, reach: float) -> Row:
    times = _many(site)
    name = f"{way} {FILES} files of {FILE_SIZE >> 10} KiB, {reference}"
    return rate_row(name, FILES * FILE_SIZE / _MIB, "MiB/s", times[way], times[f"{way} {reference}"], reach)


def push_many_tar(site: RunningSite) -> Row:
    return _many_row(site, "push", _TAR, 0.8)


def push_many_rsync(site: RunningSite) -> Row:
    return _many_row(site, "push", _RSYNC, 1.3)


def pull_many_tar(site: RunningSite) -> Row:
    return _many_row(site, "pull", _TAR, 0.8)


def pull_many_rsync(site: RunningSite) -> Row:
    return _many_row(site, "pull", _RSYNC, 1.3)


# --- what differs, what is there, what it takes -------------------------------------------------------------------------


def second_push(site: RunningSite, rounds: int = 7, changed: int = 10) -> Row:
    """Only some files differ from what was pushed before."""
    world = shared_data_world(site)
    source, name = world.many(), "bench-second"
    live, out = world.new(name), world.fresh(name)
    ours, theirs = world.toolkit("push", name, source), world.rsync(source, world.there(out))
    world.timed(ours)
    world.timed(theirs)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    values, references = [], []
    for number in range(rounds):
        touched = files[number :: len(files) // changed][:changed]
        for path in touched:
            path.write_bytes(os.urandom(FILE_SIZE))
        values.append(world.timed(ours))
        references.append(world.timed(theirs))
        for path in touched:
            inside = path.relative_to(source)
            assert path.read_bytes() == (live / inside).read_bytes() == (out / inside).read_bytes()
    assert tally(live) == tally(out) == _ALL_FILES
    return ratio_row(f"push again, {changed} of {FILES} changed, rsync", values, references, 1.5)


def content_ls(site: RunningSite, rounds: int = 15, entries: int = 10_000) -> Row:
    """A whole process that lists, beside `ls -lR` of the same folder."""
    world = shared_data_world(site)
    source, name = world.fresh("wide"), "bench-wide"
    for number in range(entries):
        (source / f"f{number:05}").write_bytes(b"%d\n" % number)
    live = world.new(name)
    world.timed(world.toolkit("push", name, source))
    listing = subprocess.run(
        world.toolkit("content", "ls", name), env=world.environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line.split()[0] for line in listing if line.startswith("f")] == [f"f{n:05}" for n in range(entries)]
    values, references = [], []
    for number in range(rounds + 2):
        ours = world.timed(world.toolkit("content", "ls", name))
        theirs = world.timed(["ls", "-lR", str(live)])
        if number >= 2:  # the first ones warm up caches of both
            values.append(ours)
            references.append(theirs)
    value, reference = statistics.median(values), statistics.median(references)
    title = f"content ls of {entries} entries, ls -lR"
    added = value - reference
    return Row(
        title, value * 1000, "ms", reference * 1000, value / reference, "<= +250 ms", added <= 0.250, len(values)
    )


def memory(site: RunningSite, size: int = 256 * _MIB, files: int = 4000) -> Row:
    """Service and gate at their peak with four pushes and four pulls at once, beside the same two when nobody asks them."""
    world = shared_data_world(site)
    source = write_files(world.big(size, "mixed"), files, FILE_SIZE)
    whole = (files + 1, files * FILE_SIZE + size)
    first = world.new("bench-mixed")
    world.timed(world.toolkit("push", "bench-mixed", source))
    pushed = [world.new(f"bench-mixed-{number}") for number in range(4)]
    pulled = [world.fresh(f"mixed-{number}") for number in range(4)]
    commands = [world.toolkit("push", f"bench-mixed-{number}", source) for number in range(4)]
    commands += [world.toolkit("pull", "bench-mixed", ".", folder) for folder in pulled]
    for unit in ("service", "gate"):
        site.unit("restart", unit)
    time.sleep(3)
    with Peak(site, "service", "gate") as idle:
        time.sleep(2)
    with Peak(site, "service", "gate") as peak, ThreadPoolExecutor(len(commands)) as pool:
        list(pool.map(world.timed, commands))
    assert idle.count > 10
    assert peak.count > 10
    assert [tally(folder) for folder in (*pushed, *pulled)] == [whole] * len(commands)
    for folder in (first, source, *pushed, *pulled):
        (folder / "file").unlink()
    value, reference = peak.most / _MIB, idle.most / _MIB
    name = f"memory with {len(commands)} transfers at once, idle"
    return Row(name, value, "MiB", reference, value / reference, "<= +128 MiB", value - reference <= 128, peak.count)
