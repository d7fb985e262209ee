"""What runs inside the jobs: the default image, and the folder that is mounted at /opt/toolkit in any image.

`build_all` makes both and is instant when they are up to date. ``python -m toolkit_spawner.runtime`` calls it for the site of the
present folder; ``python -m toolkit_spawner.runtime selftest`` tries the folder in images of all kinds.
"""

from __future__ import annotations

from toolkit_spawner.runtime.errors import RuntimeBuildError

__all__ = ["LAB_IMAGE", "MOUNT_POINT", "PARTS_IMAGE", "RuntimeBuildError", "job_init_command"]

#: The default image of jobs: Debian with Python and JupyterLab.
LAB_IMAGE = "toolkit-lab:latest"

#: The images that the runtime folder is copied out of, by every site of this engine; the tag names the part.
PARTS_IMAGE = "toolkit-runtime"

#: Where the runtime folder is mounted in every container.
MOUNT_POINT = "/opt/toolkit"


def job_init_command() -> list[str]:
    """The entrypoint of every run's container: PID 1.

    It is a Python of the runtime folder's own with a loader of its own, so it needs nothing of the image: no libc, no shell, no
    Python. The loader and `-I -S` keep the image's settings away from it.
    """
    return [f"{MOUNT_POINT}/base/bin/python3", "-I", "-S", "-u", f"{MOUNT_POINT}/job_init.pyc"]
