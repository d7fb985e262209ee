"""The notebook kernels of a job: the image's own and the user's, and the runtime's Python where there is none."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.paths import jupyter_data_dir

__all__ = ["ImageKernels"]

#: As the image or the user has it; while the server starts it is out of the environment.
JUPYTER_PATH = os.environ.get("JUPYTER_PATH", "")
SYSTEM_FOLDERS = ("/usr/local/share/jupyter", "/usr/share/jupyter")


class ImageKernels(KernelSpecManager):
    """Finds what the image has installed for its own Jupyter, which is another one than this."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Not this process's own Python as it is: it is offered by a spec that keeps the image's settings away.
        self.ensure_native_kernel = False
        self.kernel_dirs = [f"{folder}/kernels" for folder in dict.fromkeys(folders())]

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = super().get_kernel_spec(kernel_name)
        if spec.argv and re.fullmatch(r"python[\d.]*", spec.argv[0]):
            spec.argv = [python_beside(Path(spec.resource_dir), spec.argv[0]), *spec.argv[1:]]
        return spec


def folders() -> Iterator[str]:
    """Jupyter's data folders, the best first."""
    yield from filter(None, JUPYTER_PATH.split(":"))
    yield jupyter_data_dir()
    for folder in os.environ.get("PATH", "").split(":"):
        if folder.startswith("/") and folder.endswith("/bin"):
            yield f"{folder.removesuffix('/bin')}/share/jupyter"
    yield from SYSTEM_FOLDERS
    yield f"{sys.prefix}/share/jupyter"


def python_beside(folder: Path, name: str) -> str:
    """The interpreter that a spec means by a bare name: the one it was installed with. Jupyter would take its own."""
    prefix = folder.parents[3] if len(folder.parents) > 3 else Path("/usr")
    for place in (prefix / "bin" / name, prefix / "bin/python3"):
        if os.access(place, os.X_OK):
            return str(place)
    found = [f"{path}/{name}" for path in os.environ.get("PATH", "").split(":") if os.access(f"{path}/{name}", os.X_OK)]
    return found[0] if found else f"/usr/bin/{name}"
