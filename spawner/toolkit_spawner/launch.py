"""What the service tells the spawner about a run: everything that decides what is executed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["DeviceSpec", "JobNetwork", "LaunchSpec", "MountSpec"]


class JobNetwork(BaseModel):
    """The network of a site's jobs, and what they may reach from it."""

    name: str = Field(description="at the engine")
    bridge: str = Field(
        description="its interface on this machine, which the firewall's rules name; 15 characters at most"
    )
    instance: str
    internet: bool = Field(True, description="False: no way out at all")
    api_port: int = Field(0, description="port of the service's job API on the bridge's own address; 0: none")
    data_port: int = Field(0, description="port of the gate's data host for jobs on the same address; 0: none")
    denied: list[str] = Field([], description="IPv4 networks that jobs do not reach, besides those that they never do")


class MountSpec(BaseModel):
    """A folder of data in the container."""

    data: str = Field(description="full name, for people")
    source: str = Field(description="folder on this machine, by a path that only root can change")
    subpath: str = Field("", description="below it, where users make what they like, links included")
    target: str = Field(description="absolute path in the container; of the home only its first name")
    read_only: bool


class DeviceSpec(BaseModel):
    """A GPU that is the run's own for as long as it lives."""

    uuid: str = Field(description="as the driver names it; of a simulated one a name that says so")
    handover: Literal["cdi", "nvidia", "nodes"] = Field(
        description="by the Container Device Interface, by the engine's nvidia runtime, or as bare device nodes"
    )
    nodes: list[str] = Field([], description="device nodes on this machine, for `nodes`")


class LaunchSpec(BaseModel):
    """The launch spec of an admitted run. The hub's `user_options` have no part in it."""

    run_id: str
    server_name: str
    owner: str
    job_id: str
    instance: str
    started: bool = Field(False, description="it runs already: its container is adopted, and none is made")
    image: str = Field(description="what is run: the id that the reference had at submit, or the reference")
    image_name: str = Field("", description="the reference, for people")
    pull: bool
    command: list[str] | None = Field(description="None: the image's own command; empty: none, a user's own server")
    workdir: str
    environment: dict[str, str]
    token: str = Field("", repr=False, description="the job's own; it never reaches the engine")
    cpu: float
    mem: float = Field(description="GiB")
    stop_grace: int
    log_quota: int = Field(description="MiB of the output that are kept")
    prewarm: bool
    base_url: str
    secret: str = Field(repr=False)
    run_dir: str
    runtime_dir: str
    home_dir: str = Field(description="the run's own folder that becomes HOME, unless data is mounted there")
    mounts: list[MountSpec] = []
    devices: list[DeviceSpec] = Field([], description="these GPUs and no others")
    accounts_dir: str = Field(description="folder on this machine that keeps /etc/passwd and /etc/group for each image")
    network: JobNetwork
