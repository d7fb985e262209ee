"""Data in real containers: what a mount lets through, and that no link in a volume leads a mount out of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.confined_job import JobHouse
from toolkit_hub.volumes.layout import Volumes
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.launch import MountSpec
from toolkit_spawner.mounting import PLACE, HeldParts, MountProblem, make_mount_points

USER = 13011
INSTANCE = "toolkit-tests"
#: Prints what each folder of its arguments is to a job: its owner, whether it is writable, and what is in it.
LOOK = """
import os, sys
for path in sys.argv[1:]:
    try:
        open(f"{path}/.probe", "w").close()
        os.unlink(f"{path}/.probe")
        mode = "rw"
    except OSError as error:
        mode = error.strerror
    print(path, os.stat(path).st_uid, mode, sorted(os.listdir(path)), sep="|")
"""


@pytest.fixture(scope="module")
def house(engine: Engine, runtime_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobHouse]:
    made = JobHouse(engine, (runtime_folder / "current").resolve(), tmp_path_factory.mktemp("house"))
    yield made
    made.close()


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """The live content of some data: `sub/deep`, each with a file."""
    volumes = Volumes(tmp_path / "data")
    volumes.ensure("images")
    folder = volumes.live("images")
    (folder / "sub" / "deep").mkdir(parents=True)
    for place in (folder, folder / "sub", folder / "sub" / "deep"):
        (place / f"in-{place.name}").write_text("x")
        os.chown(place, USER, USER)
    return folder


@pytest.fixture
def parts() -> Iterator[HeldParts]:
    made = HeldParts(INSTANCE)
    yield made
    made.close()


def mount(source: Path, target: str, subpath: str = "", read_only: bool = False) -> MountSpec:
    return MountSpec(data="acme.joe.images", source=str(source), subpath=subpath, target=target, read_only=read_only)


def look(house: JobHouse, mounts: list[MountSpec], *paths: str, **fields: str) -> dict[str, list[str]]:
    """Path → owner, `rw` or why not, names in it."""
    output = house.start("python3", "-c", LOOK, *paths, mounts=mounts, **fields).output()
    return {line.split("|")[0]: line.split("|")[1:] for line in output.splitlines()}


def test_what_a_job_sees_of_its_mounts(house: JobHouse, live: Path) -> None:
    mounts = [
        mount(live, "/data/rw"),
        mount(live, "/data/ro", read_only=True),
        mount(live, "/home/toolkit/a/part", "sub"),
        mount(live, "/home/toolkit/ro", "sub/deep", read_only=True),
        mount(live, "/tmp"),
        mount(live, "/usr/share", "sub", read_only=True),
    ]
    paths = [
        "/data/rw", "/data/ro", "/home/toolkit/a/part", "/home/work/a/part", "/home/toolkit/ro", "/home/work/ro", "/tmp",
        "/usr/share", "/home/toolkit/a",
    ]  # fmt: skip
    seen = look(house, mounts, *paths)
    whole, sub, deep = "['in-live', 'sub']", "['deep', 'in-sub']", "['in-deep']"
    refused = "Read-only file system"
    assert seen == {
        "/data/rw": ["13011", "rw", whole],
        "/data/ro": ["13011", refused, whole],
        "/home/toolkit/a/part": ["13011", "rw", sub],
        "/home/work/a/part": ["13011", "rw", sub],
        "/home/toolkit/ro": ["13011", refused, deep],
        "/home/work/ro": ["13011", refused, deep],
        "/tmp": ["13011", "rw", whole],
        "/usr/share": ["13011", refused, sub],
        "/home/toolkit/a": ["13011", "rw", "['part']"],
    }
    assert not list((PLACE / house.network.instance).iterdir()), "a part was held longer than the start"


def test_data_as_the_home(house: JobHouse, live: Path) -> None:
    """By both names, and in an image that has neither; what one job leaves there is there for the next."""
    home = mount(live, "/home/toolkit")
    house.start("sh", "-c", "echo $HOME > ~/kept; echo more >> /home/work/kept", mounts=[home]).output()
    assert house.start("sh", "-c", "cat /home/work/kept", mounts=[home]).output() == "/home/toolkit\nmore\n"
    assert (live / "kept").stat().st_uid == USER


def test_an_image_with_nothing_in_it(house: JobHouse, live: Path, scratch_image: str) -> None:
    script = "cat /deep/down/here/in-sub && echo y > /deep/down/here/new"
    job = house.start("/bin/sh", "-c", script, image=scratch_image, mounts=[mount(live, "/deep/down/here", "sub")])
    assert job.output() == "x"
    assert (live / "sub" / "new").stat().st_uid == USER


@pytest.mark.parametrize("to", ["/etc", "../../../..", "sub"], ids=["absolute", "relative", "within"])
@pytest.mark.parametrize("subpath", ["link", "link/deep"])
def test_links_are_no_folders(parts: HeldParts, live: Path, to: str, subpath: str) -> None:
    (live / "link").symlink_to(to)
    with pytest.raises(MountProblem, match="a symbolic link, which is not followed; only folders are"):
        hold(parts, mount(live, "/data", subpath))


def test_other_things_are_no_folders(parts: HeldParts, live: Path) -> None:
    os.mkfifo(live / "fifo")
    for subpath, words in (("in-live", "is no folder"), ("fifo", "is no folder"), ("none", "there is no 'none' in it")):
        with pytest.raises(MountProblem, match=words):
            hold(parts, mount(live, "/data", subpath))
    assert not any((PLACE / INSTANCE).iterdir())


def hold(parts: HeldParts, *mounts: MountSpec) -> None:
    with parts.hold("run", list(mounts)):
        pass


def test_what_a_killed_hub_held_is_let_go(parts: HeldParts, live: Path) -> None:
    dead, next_one = HeldParts(INSTANCE), parts
    broken_off = dead.hold("run", [mount(live, "/data", "sub")])
    (held,) = broken_off.__enter__()
    assert sorted(os.listdir(held)) == ["deep", "in-sub"]
    with next_one.hold("other", [mount(live, "/data", "sub/deep")]) as sources:
        assert not os.path.exists(held)
        assert os.listdir(sources[0]) == ["in-deep"]
    with next_one.hold("run", [mount(live, "/data", "sub")]) as sources:
        assert sorted(os.listdir(sources[0])) == ["deep", "in-sub"]
    assert (live / "sub" / "deep" / "in-deep").exists()
    assert not [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{INSTANCE}/" in line]


def test_a_folder_that_is_swapped_for_a_link_meanwhile(
    house: JobHouse, parts: HeldParts, live: Path, tmp_path: Path
) -> None:
    """Another job of the same data swaps the folder, and its parent, for links onto the machine, as fast as it can."""
    secret = tmp_path / "machine"
    (secret / "deep").mkdir(parents=True)
    for place in (secret, secret / "deep"):
        (place / "secret").write_text("of the machine")
    done = threading.Event()

    def swap() -> None:
        link = live / "link"
        while not done.is_set():
            link.symlink_to(secret)
            os.rename(live / "sub", live / "away")
            os.rename(link, live / "sub")
            os.unlink(live / "sub")
            os.rename(live / "away", live / "sub")

    swapper = threading.Thread(target=swap)
    swapper.start()
    found, refused = 0, 0
    try:
        for round_ in range(1500):
            try:
                with parts.hold("run", [mount(live, "/data", ("sub", "sub/deep")[round_ % 2])]) as (source,):
                    assert "secret" not in os.listdir(source)
                    found += 1
            except MountProblem:
                refused += 1
        assert found > 20
        assert refused > 20
        for _ in range(4):
            try:
                output = house.start("ls", "-R", "/data", mounts=[mount(live, "/data", "sub")]).output()
            except MountProblem:
                continue
            assert "in-deep" in output
            assert "secret" not in output
    finally:
        done.set()
        swapper.join()


@pytest.mark.parametrize("there", ["file", "link"])
def test_what_stands_in_the_place_of_a_mount_point(tmp_path: Path, live: Path, there: str) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    home.mkdir()
    outside.mkdir()
    if there == "file":
        (home / "a").write_text("")
    else:
        (home / "a").symlink_to(outside)
    with pytest.raises(MountProblem, match="in the home stands 'a', which is no folder"):
        make_mount_points(home, [mount(live, "/home/toolkit/a/b")])
    assert not list(outside.iterdir())
    make_mount_points(
        home, [mount(live, "/home/toolkit/x/y"), mount(live, "/data/z"), mount(live, "/home/toolkit/x/z")]
    )
    made = {str(path.relative_to(home)): path.lstat().st_uid for path in home.rglob("*") if path.is_dir()}
    assert {path: uid for path, uid in made.items() if path != "a"} == {"x": USER, "x/y": USER, "x/z": USER}
