"""Mounts as users write them: ``NAME[@VERSION][/SUBPATH]:/PATH[:ro|:rw]``, and where in a container they may lie.

Everything here can be said without knowing the data. Rights, versions and what the subpath is are the service's to look at.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from toolkit_client.errors import InvalidRequest
from toolkit_client.transfer.paths import LONGEST_NAME, path_of_text, text_of_path

__all__ = [
    "EMPTY",
    "HOME",
    "HOME_ALIAS",
    "LATEST",
    "Mount",
    "canonical_target",
    "parse_mount",
    "parse_mounts",
    "with_target",
]

#: The home of every run, and the second name of the same folder.
HOME = "/home/toolkit"
HOME_ALIAS = "/home/work"
#: Names of versions that are no numbers.
LATEST, EMPTY = "latest", "empty"
#: Bytes of a target and of a subpath (PATH_MAX of Linux).
LONGEST_PATH = 4096
#: What a container is made of, or what the toolkit puts there: nothing is mounted on it, above it or below it.
TAKEN = (
    "/proc",
    "/sys",
    "/dev",
    "/run/toolkit",
    "/opt/toolkit",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
)

_MOUNT = re.compile(
    r"(?P<name>[^:@/\s\0]+)(?:@(?P<version>[^:@/\s\0]+))?(?:/(?P<subpath>[^:\0]+))?"
    r":(?P<target>/[^:\0]*)(?::(?P<mode>ro|rw))?"
)
_WITHOUT_TARGET = re.compile(r"(?P<source>(?P<name>[^:@/\s\0]+)(?:@[^:@/\s\0]+)?(?:/[^:\0]+)?)(?P<mode>:ro|:rw)?")


@dataclass(frozen=True)
class Mount:
    """One mount. `name` is what the user calls the data; `version` a number, `latest` or `empty`, and empty for the live
    content; `subpath` has no slash at its ends; `mode` is `ro`, `rw` or None, which leaves it to the rights."""

    name: str
    version: str
    subpath: str
    target: str
    mode: str | None


def parse_mounts(items: list[str]) -> list[Mount]:
    """All mounts of one job.

    Raises:
        ValueError: one is not well-formed or lies where nothing may, or two of them lie in each other.
    """
    mounts: list[Mount] = []
    for item in items:
        mount = parse_mount(item)
        for other in mounts:
            if mount.target == other.target:
                raise ValueError(f"two mounts have the target {mount.target}: give each a folder of its own")
            if _within(mount.target, other.target) or _within(other.target, mount.target):
                raise ValueError(
                    f"{mount.target} and {other.target} lie in each other; mounts cannot be nested: choose folders side by "
                    f"side{_both_homes(mount, other)}"
                )
        mounts.append(mount)
    return mounts


def parse_mount(item: str) -> Mount:
    """Raises ValueError saying what is wrong with it, and what to write instead."""
    found = _MOUNT.fullmatch(item)
    if not found or not item.isprintable():
        raise ValueError(f"a mount is written NAME[@VERSION][/SUBPATH]:/PATH[:ro|:rw], not {item[:80]!r}")
    version = _version(found["version"])
    if version and found["mode"] == "rw":
        raise ValueError(
            f"{found['name']}@{version} is a version, which never changes, so it cannot be mounted rw: leave out :rw, or "
            "the version for the live content"
        )
    return Mount(found["name"], version, _subpath(found["subpath"]), _target(found["target"]), found["mode"])


def with_target(item: str) -> str:
    """``NAME[@VERSION][/SUBPATH][:/PATH][:ro|:rw]`` with a path, which is a folder of the home if there is none in it."""
    found = _WITHOUT_TARGET.fullmatch(item)
    if not found:
        return item
    head, dot, name = found["name"].rpartition(".")
    # Only a dot in front belongs to a name: `acme.joe..ssh` is the data `.ssh` of `acme.joe`.
    folder = f".{name}" if dot and (not head or head.endswith(".")) else name
    return f"{found['source']}:{HOME_ALIAS}/{folder}{found['mode'] or ''}"


def canonical_target(path: str) -> str:
    """The one way to write an absolute path of a container, in which the home has one name."""
    target = "/" + posixpath.normpath(path).lstrip("/")
    return HOME + target.removeprefix(HOME_ALIAS) if _within(target, HOME_ALIAS) else target


def _within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _both_homes(*mounts: Mount) -> str:
    under_home = all(_within(mount.target, HOME) for mount in mounts)
    return f" ({HOME_ALIAS} is the same folder as {HOME})" if under_home else ""


def _version(text: str | None) -> str:
    if text in (None, LATEST, EMPTY):
        return text or ""
    if text is not None and re.fullmatch(r"[0-9]{1,9}", text) and int(text) > 0:
        return str(int(text))
    raise ValueError(f"{(text or '')[:40]!r} is no version: write its number, `latest` or `empty`, as NAME@2")


def _subpath(text: str | None) -> str:
    try:
        path = path_of_text(text or "")
    except InvalidRequest as error:
        raise ValueError(error.message) from None
    if len(path) > LONGEST_PATH:
        raise ValueError(f"a subpath has {LONGEST_PATH} bytes at most: mount a folder that is nearer to the top")
    return text_of_path(path)


def _target(text: str) -> str:
    if ".." in text.split("/"):
        raise ValueError(f"{text[:80]!r} leads upwards: write the mount's path without `..`")
    target = canonical_target(text)
    if len(target.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in target.split("/")):
        raise ValueError(
            f"the path {target[:40]!r}… is too long: Linux takes {LONGEST_PATH} bytes, {LONGEST_NAME} for each name"
        )
    if target == "/":
        raise ValueError("data cannot be mounted over the whole container: name a folder")
    for taken in TAKEN:
        if _within(target, taken) or _within(taken, target):
            raise ValueError(
                f"data cannot be mounted at {target}, for the container needs {taken}: choose another folder, as "
                f"{HOME_ALIAS}/NAME or /data"
            )
    if _within(HOME, target) and target != HOME:
        raise ValueError(
            f"data cannot be mounted at {target}, for the home {HOME} lies in it: mount it at {HOME} or at another folder"
        )
    return target
