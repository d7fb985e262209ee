"""The jobs' network as the site's settings have it."""

from __future__ import annotations

from toolkit_hub.configure import Toolkit
from toolkit_spawner.launch import JobNetwork

__all__ = ["job_network"]


def job_network(settings: Toolkit) -> JobNetwork:
    return JobNetwork(
        name=settings.docker_network,
        bridge=settings.jobs_bridge,
        instance=settings.instance_id,
        internet=settings.job_internet,
        api_port=settings.job_api_port,
        data_port=settings.job_data_port,
        denied=settings.job_denied_networks,
    )
