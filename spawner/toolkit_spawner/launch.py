"""What the service tells the spawner about a run: everything that decides what is executed."""

from __future__ import annotations

from pydantic import BaseModel, Field

__all__ = ["LaunchSpec"]


class LaunchSpec(BaseModel):
    """The launch spec of an admitted run. The hub's `user_options` have no part in it."""

    run_id: str
    server_name: str
    owner: str
    job_id: str
    instance: str
    image: str
    pull: bool
    command: list[str] | None = Field(description="None: the image's own command; empty: none, a user's own server")
    workdir: str
    environment: dict[str, str]
    cpu: float
    mem: float = Field(description="GiB")
    stop_grace: int
    prewarm: bool
    base_url: str
    secret: str = Field(repr=False)
    run_dir: str
    runtime_dir: str
    home_dir: str = Field(description="folder on this machine that becomes HOME")
    network: str
