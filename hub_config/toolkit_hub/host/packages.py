"""Packages of the operating system: which are missing, and getting them with apt where that is ours to do.

Standard library only, like `steps`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit_hub.host.steps import Say, SetupError, run_command

__all__ = [
    "DEBOOTSTRAP",
    "DOCKERD",
    "FOR_BENCH",
    "FOR_TESTS",
    "IPTABLES",
    "NEEDED",
    "VENV",
    "Package",
    "ensure_packages",
]

#: System programs that a user's PATH often lacks.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


@dataclass(frozen=True)
class Package:
    """A package by its Debian name, what it is for, and how to see that it is there."""

    name: str
    purpose: str
    present: Callable[[], bool]


def _has_venv() -> bool:
    """Debian's Python has `venv` but not `ensurepip`, which it needs, until python3-venv is installed."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


VENV = Package("python3-venv", "makes Python environments", _has_venv)
DOCKERD = Package("docker.io", "Docker Engine, which runs the jobs", lambda: find_program("dockerd") is not None)
IPTABLES = Package("iptables", "the engine's networks", lambda: find_program("iptables") is not None)
DEBOOTSTRAP = Package(
    "debootstrap",
    "makes the base image where no image registry answers",
    lambda: find_program("debootstrap") is not None,
)
CHROMIUM = Package("chromium", "the browser of the tests", lambda: find_program("chromium") is not None)
POSTGRESQL = Package(
    "postgresql",
    "the second database of the tests",
    lambda: any(Path("/usr/lib/postgresql").glob("*/bin/postgres")),
)
XFS = Package(
    "xfsprogs", "a file system that the tests of data commit on", lambda: find_program("mkfs.xfs") is not None
)
BTRFS = Package("btrfs-progs", "another one", lambda: find_program("mkfs.btrfs") is not None)
PROMETHEUS = Package(
    "prometheus", "reads our metrics in the tests", lambda: all(map(find_program, ("prometheus", "promtool")))
)
RSYNC = Package(
    "rsync", "a client of the tests, and what the bench of data is beside", lambda: find_program("rsync") is not None
)
SSH_CLIENT = Package(
    "openssh-client",
    "the ssh clients of the tests",
    lambda: all(find_program(name) for name in ("ssh", "scp", "sftp", "ssh-agent", "ssh-keygen")),
)
OPENSSH = Package(
    "openssh-server",
    "what it runs through",
    lambda: all(find_program(name) for name in ("sshd", "ssh", "ssh-keygen")),
)

WRK = Package("wrk", "what asks the gate as fast as it can", lambda: find_program("wrk") is not None)

NEEDED = (IPTABLES, DEBOOTSTRAP)
#: On a machine with systemd, Debian starts a server with PostgreSQL and one with Prometheus; the tests start their own.
FOR_TESTS = (CHROMIUM, POSTGRESQL, XFS, BTRFS, PROMETHEUS, RSYNC, SSH_CLIENT)
#: Only where somebody asks for the bench: on a machine with systemd, OpenSSH starts a server when it is installed.
FOR_BENCH = (OPENSSH, WRK)


def ensure_packages(packages: Sequence[Package], say: Say) -> list[str]:
    """Install those that are missing, and return their names.

    Raises `SetupError` that names each one and how to get it when this is not ours to do (not root, no apt).
    """
    missing = [package for package in packages if not package.present()]
    if not missing:
        return []
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(_missing_words(missing), _how_to_install(missing))
    _apt_install([package.name for package in missing], say)
    still = [package for package in missing if not package.present()]
    if still:
        raise SetupError(
            f"apt installed {_names(still)}, but what it should bring is not there.",
            "Install it by hand, and start again.",
        )
    return [package.name for package in missing]


def _apt_install(names: Sequence[str], say: Say) -> None:
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    hint = f"Check that the machine reaches its Debian mirror, or install by hand: apt-get install {' '.join(names)}"
    # Another apt may be at work, as an unattended upgrade: wait for it instead of failing.
    options = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    run_command(["apt-get", *options, "update"], say, hint, env=env)
    run_command(["apt-get", *options, "install", "-y", "--no-install-recommends", *names], say, hint, env=env)


def _names(packages: Sequence[Package]) -> str:
    return ", ".join(package.name for package in packages)


def _missing_words(missing: Sequence[Package]) -> str:
    lines = [f"  {package.name}: {package.purpose}" for package in missing]
    return "\n".join(["Missing on this machine:", *lines])


def _how_to_install(missing: Sequence[Package]) -> str:
    names = " ".join(package.name for package in missing)
    if shutil.which("apt-get"):
        return f"Set-up is not running as root. Install them, and start again: sudo apt-get install {names}"
    return (
        "Set-up installs them on Debian and Ubuntu only. Install them with this system's package manager (the names above "
        "are Debian's; Docker Engine: https://docs.docker.com/engine/install/), and start again."
    )
