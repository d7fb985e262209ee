"""What runs inside the jobs: the base image, the default image, and the folder that is mounted at /opt/toolkit in any image.

`build_all` makes all three and is instant when they are up to date. ``python -m toolkit_spawner.runtime`` calls it for the
site of the present folder.
"""

from __future__ import annotations

from toolkit_spawner.runtime.errors import RuntimeBuildError

__all__ = ["LAB_IMAGE", "RuntimeBuildError", "job_init_command"]

#: The default image of jobs: Debian with Python and JupyterLab.
LAB_IMAGE = "toolkit-lab:latest"

#: Where the runtime folder is mounted in every container.
MOUNT_POINT = "/opt/toolkit"


def job_init_command() -> list[str]:
    """The entrypoint of every run's container: PID 1.

    It is a Python of the runtime folder's own, started by its own dynamic loader, so it needs nothing of the image: no libc,
    no shell, no Python. `-I -S` and the loader's options keep the image's settings away from it.
    """
    init = f"{MOUNT_POINT}/init"
    loader = [f"{init}/lib/ld.so", "--inhibit-cache", "--library-path", f"{init}/lib"]
    return [*loader, f"{init}/bin/python3", "-I", "-S", "-u", f"{init}/job_init.pyc"]
