"""/etc/passwd and /etc/group of the jobs' containers: the image's own, with names for the user that every job is.

Made once for each image and kept by its digest; a run mounts them read-only. So `whoami` and what needs a user's entry (ssh,
git, Python's `getpass`) work in any image, one without /etc included, and nothing has to run as root for it.

The image is a stranger's: its files are read through the engine, which resolves links within the image, never on this machine;
they are bounded, and only well-formed lines are taken over.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from toolkit_spawner.docker_api import Engine
from toolkit_spawner.hardening import CONTAINER_GID, CONTAINER_UID, HOME, Accounts

__all__ = ["ensure_accounts", "group_text", "passwd_text"]

#: Bytes of an image's /etc/passwd or /etc/group that are read; a longer file is not taken over.
LONGEST_FILE = 1 << 20
#: Names that the user of every job has.
NAMES = ("toolkit", "work")
#: Shells in the order of preference, and the runtime's own for an image that has none.
SHELLS = ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash", "/bin/ash", "/bin/sh")
OWN_SHELL = "/opt/toolkit/libexec/sh"

PASSWD_LINE = re.compile(rb"[^:\0-\x20+-][^:\0-\x1f]*:[^:\0-\x1f]*:\d{1,10}:\d{1,10}(:[^:\0-\x1f]*){3}")
GROUP_LINE = re.compile(rb"[^:\0-\x20+-][^:\0-\x1f]*:[^:\0-\x1f]*:\d{1,10}:[^:\0-\x1f]*")


async def ensure_accounts(engine: Engine, folder: Path, image_id: str, instance: str) -> Accounts:
    """The files for an image, made at its first run. `image_id`: the engine's, as ``sha256:…``; `instance`: the site's id.

    Raises `EngineRefused` and `EngineUnavailable`.
    """
    name = image_id.replace(":", "-")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,128}", name):
        raise ValueError(f"not an image's id: {image_id!r}")
    made = Accounts(folder / name / "passwd", folder / name / "group")
    if not (made.passwd.exists() and made.group.exists()):
        paths = ["/etc/passwd", "/etc/group", *SHELLS]
        found = await engine.image_files(image_id, paths, LONGEST_FILE, instance)
        shell = next((path for path in SHELLS if path in found), OWN_SHELL)
        _keep(folder, name, passwd_text(found.get("/etc/passwd", b""), shell), group_text(found.get("/etc/group", b"")))
    return made


def passwd_text(own: bytes, shell: str) -> bytes:
    """The image's lines, and those of `NAMES` that it lacks. A name of ours that it gives to another uid becomes ours."""
    lines = _kept(own, PASSWD_LINE, CONTAINER_UID) or [b"root:x:0:0:root:/root:/bin/sh"]
    present = {line.partition(b":")[0].decode("latin-1") for line in lines}
    ours = f"x:{CONTAINER_UID}:{CONTAINER_GID}:toolkit job:{HOME}:{shell}"
    return _joined(lines, [f"{name}:{ours}" for name in NAMES if name not in present])


def group_text(own: bytes) -> bytes:
    lines = _kept(own, GROUP_LINE, CONTAINER_GID) or [b"root:x:0:"]
    present = {line.partition(b":")[0].decode("latin-1") for line in lines}
    return _joined(lines, [f"{name}:x:{CONTAINER_GID}:" for name in NAMES if name not in present])


def _kept(own: bytes, form: re.Pattern[bytes], number: int) -> list[bytes]:
    """The well-formed lines, without those that give a name of ours to another number."""
    lines = [line.rstrip(b"\r") for line in own.split(b"\n")]
    return [
        line
        for line in lines
        if form.fullmatch(line)
        and not (line.partition(b":")[0] in {name.encode() for name in NAMES} and int(line.split(b":")[2]) != number)
    ]


def _joined(lines: list[bytes], more: list[str]) -> bytes:
    return b"".join(line + b"\n" for line in [*lines, *(line.encode() for line in more)])


def _keep(folder: Path, name: str, passwd: bytes, group: bytes) -> None:
    """Put both files in place together: nobody ever sees half of them. Whoever comes second keeps the first one's."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    fresh = Path(tempfile.mkdtemp(dir=folder, prefix=".fresh-"))
    for file, text in (("passwd", passwd), ("group", group)):
        (fresh / file).write_bytes(text)
        (fresh / file).chmod(0o644)
    fresh.chmod(0o755)
    try:
        os.rename(fresh, folder / name)
    except OSError:  # it is there already
        for file in ("passwd", "group"):
            (fresh / file).unlink()
        fresh.rmdir()
        if not (folder / name / "passwd").exists():
            raise
