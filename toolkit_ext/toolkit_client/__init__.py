"""What a program outside the hub uses: the client, the wire models, the errors, and the ``toolkit`` command line.

>>> from toolkit_client import Client, JobSpec
>>> with Client() as toolkit:                                    # doctest: +SKIP
...     job = toolkit.jobs.submit(JobSpec(command=["nvidia-smi"]))
...     print(toolkit.jobs.wait(job.id).state)

Importing this package loads nothing else; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toolkit_client.async_client import AsyncClient
    from toolkit_client.client import Client
    from toolkit_client.errors import ToolkitError
    from toolkit_client.models import (
        Event,
        Job,
        JobPatch,
        JobSpec,
        JobState,
        Me,
        NewUser,
        QueueStatus,
        Resources,
        Run,
        User,
    )

__all__ = [
    "AsyncClient",
    "Client",
    "Event",
    "Job",
    "JobPatch",
    "JobSpec",
    "JobState",
    "Me",
    "NewUser",
    "QueueStatus",
    "Resources",
    "Run",
    "ToolkitError",
    "User",
]

_HOME = {"AsyncClient": "async_client", "Client": "client", "ToolkitError": "errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'models')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
