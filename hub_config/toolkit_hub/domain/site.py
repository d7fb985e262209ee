"""What domain functions need to know of the site, without knowing where it is configured."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit_hub.queue.plan import Amount

__all__ = ["Site"]


@dataclass(frozen=True)
class Site:
    """Limits, defaults and addresses. `total` is what admission gives out (over-commit included); `max_run_time` in
    seconds is the limit of jobs that name none; `array_limit` is how many jobs an array may have."""

    total: Amount
    default_image: str
    server_asks: Amount
    interactive_limit: int
    jobs_scheme: str
    jobs_domain: str
    public_url: str
    stop_grace: int
    allowed_images: tuple[str, ...] | None = None
    max_run_time: int = 172800
    array_limit: int = 1000

    def job_host(self, job_id: str, suffix: str = "") -> str:
        """Address of a job's host; `suffix` is `-lab` or `-PORT`."""
        return f"{self.jobs_scheme}://{job_id}{suffix}.{self.jobs_domain}/"

    def job_page(self, job_id: str) -> str:
        return f"{self.public_url}/services/toolkit/jobs/{job_id}"
