"""Mounts as they are written: what is taken, in which form, and what is refused with the reason."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from toolkit_client.job_spec import JobSpec
from toolkit_client.mounts import Mount, canonical_target, parse_mount, with_target


@pytest.mark.parametrize(
    ("item", "mount"),
    [
        ("acme.joe.images:/images", Mount("acme.joe.images", "", "", "/images", None)),
        ("acme.joe..ssh:/home/work/.ssh:ro", Mount("acme.joe..ssh", "", "", "/home/toolkit/.ssh", "ro")),
        ("images@2/train//a/./b/:/d:ro", Mount("images", "2", "train/a/b", "/d", "ro")),
        ("images@latest:/d/", Mount("images", "latest", "", "/d", None)),
        ("images@empty:/d", Mount("images", "empty", "", "/d", None)),
        ("images@007:/d", Mount("images", "7", "", "/d", None)),
        ("images:/home/work:rw", Mount("images", "", "", "/home/toolkit", "rw")),
        ("images://data///x/./y", Mount("images", "", "", "/data/x/y", None)),
        ("images/sub folder:/tmp/x", Mount("images", "", "sub folder", "/tmp/x", None)),
        ("images:/home/workers", Mount("images", "", "", "/home/workers", None)),
        ("images:/etc/passwd2", Mount("images", "", "", "/etc/passwd2", None)),
        (
            "acme.joe.vscode:/home/coder/.local/share/code-server",
            Mount("acme.joe.vscode", "", "", "/home/coder/.local/share/code-server", None),
        ),
    ],
)
def test_well_formed(item: str, mount: Mount) -> None:
    assert parse_mount(item) == mount
    JobSpec(data=[item])


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["images"], "a mount is written NAME"),
        (["images:data"], "a mount is written NAME"),
        (["images:/d:wo"], "a mount is written NAME"),
        (["images:/d\nx"], "a mount is written NAME"),
        (["im ages:/d"], "a mount is written NAME"),
        (["images:/d\udce9"], "a mount is written NAME"),
        (["images@2:/d:rw"], "cannot be mounted rw: leave out :rw"),
        (["images@empty:/d:rw"], "a version, which never changes"),
        (["images@0:/d"], "'0' is no version"),
        (["images@newest:/d"], "write its number, `latest` or `empty`"),
        (["images@9999999999:/d"], "is no version"),
        (["images/../other:/d"], "no `..`"),
        (["images/" + "x" * 256 + ":/d"], "255 bytes at most"),
        (["images/" + "x/" * 2500 + "y:/d"], "4096 bytes at most"),
        (["images:/"], "over the whole container"),
        (["images://"], "over the whole container"),
        (["images:/a/../../etc"], "without `..`"),
        (["images:/" + "x" * 256], "too long"),
        (["images:/" + "x/" * 2500], "too long"),
        (["images:/proc"], "the container needs /proc"),
        (["images:/proc/sys"], "the container needs /proc"),
        (["images:/sys/fs"], "the container needs /sys"),
        (["images:/dev/shm"], "the container needs /dev"),
        (["images:/run"], "the container needs /run/toolkit"),
        (["images:/run/toolkit/log"], "the container needs /run/toolkit"),
        (["images:/opt"], "the container needs /opt/toolkit"),
        (["images:/opt/toolkit/bin"], "the container needs /opt/toolkit"),
        (["images:/etc"], "the container needs /etc/passwd"),
        (["images:/etc/group"], "the container needs /etc/group"),
        (["images://etc//resolv.conf"], "the container needs /etc/resolv.conf"),
        (["images:/home"], "the home /home/toolkit lies in it"),
        (["a:/d", "b:/d/"], "two mounts have the target /d"),
        (["a:/d", "b:/d/e"], "mounts cannot be nested"),
        (["a:/d/e/f", "b:/d/e"], "mounts cannot be nested"),
        (["a:/home/toolkit/x", "b:/home/work/x"], "two mounts have the target /home/toolkit/x"),
        (["a:/home/toolkit/x", "b:/home/work/x/y"], "/home/work is the same folder as /home/toolkit"),
        (["a:/home/work", "b:/home/toolkit/y"], "mounts cannot be nested"),
        (["a:/home/toolkit", "b:/home/work"], "two mounts have the target /home/toolkit"),
    ],
)
def test_refused(items: list[str], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        JobSpec(data=items)
    assert words in str(caught.value)


def test_names_side_by_side_are_not_nested() -> None:
    JobSpec(data=["a:/d", "b:/dd", "c:/home/toolkit/x", "d:/home/work/xy", "a:/e", "a:/home/coder"])


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("images", "images:/home/work/images"),
        ("acme.joe.images:ro", "acme.joe.images:/home/work/images:ro"),
        ("acme.joe..ssh", "acme.joe..ssh:/home/work/.ssh"),
        (".ssh", ".ssh:/home/work/.ssh"),
        ("images@2/train", "images@2/train:/home/work/images"),
        ("images:/d", "images:/d"),
        ("images:/d:rw", "images:/d:rw"),
    ],
)
def test_a_path_that_is_left_out(short: str, full: str) -> None:
    assert with_target(short) == full


def test_one_way_to_write_a_path() -> None:
    assert canonical_target("//home/./work//x/") == "/home/toolkit/x"
    assert canonical_target("/home/worker") == "/home/worker"
