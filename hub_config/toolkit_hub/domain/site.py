"""What domain functions need to know of the site, without knowing where it is configured."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toolkit_hub.queue.planning.capacity import Capacity, Device, Node

__all__ = ["Amount", "Site"]


@dataclass(frozen=True)
class Amount:
    """CPUs in cores and memory in GiB."""

    cpu: float = 0.0
    mem: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cpu + other.cpu, self.mem + other.mem)


@dataclass(frozen=True)
class Site:
    """Limits, defaults and addresses. `total` is what admission gives out (over-commit included); `max_run_time` in
    seconds is the limit of jobs that name none, `preempt_grace` what a run gets that is stopped for another one; `array_limit` is
    how many jobs an array may have."""

    total: Amount
    default_image: str
    server_asks: Amount
    interactive_limit: int
    jobs_scheme: str
    jobs_domain: str
    public_url: str
    stop_grace: int
    preempt_grace: int = 30
    allowed_images: tuple[str, ...] | None = None
    max_run_time: int = 172800
    array_limit: int = 1000
    #: Short names of images, and what they stand for.
    image_names: Mapping[str, str] = field(default_factory=dict)
    #: What the planner calls the machine of the jobs.
    node: str = field(default_factory=platform.node)
    #: The GPUs as they are now.
    devices: Callable[[], tuple[Device, ...]] = tuple

    def capacity(self) -> Capacity:
        """What there is to give out now."""
        return Capacity((Node(self.node, self.total.cpu, self.total.mem, self.devices()),))

    def job_host(self, job_id: str, suffix: str = "") -> str:
        """Address of a job's host; `suffix` is `-lab` or `-PORT`."""
        return f"{self.jobs_scheme}://{job_id}{suffix}.{self.jobs_domain}/"

    def job_page(self, job_id: str) -> str:
        return f"{self.public_url}/services/toolkit/jobs/{job_id}"
