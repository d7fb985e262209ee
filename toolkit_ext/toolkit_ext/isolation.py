"""Keeps the image's Jupyter and the job server's apart: they share a file system and an environment, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_core import paths

__all__ = ["apart"]


@contextmanager
def apart(runtime_dir: str) -> Iterator[None]:
    """Within the block the environment has no settings for Jupyter but ours; for good, no settings of the image are read.

    The image's come back afterwards, for kernels and terminals.
    """
    names = [name for name in os.environ if name.startswith(("JUPYTER", "JPY_", "IPYTHON"))]
    taken = {name: os.environ.pop(name) for name in names}
    paths.SYSTEM_CONFIG_PATH[:] = []
    paths.SYSTEM_JUPYTER_PATH[:] = []
    os.environ["JUPYTER_RUNTIME_DIR"] = runtime_dir
    try:
        yield
    finally:
        del os.environ["JUPYTER_RUNTIME_DIR"]
        os.environ.update(taken)
