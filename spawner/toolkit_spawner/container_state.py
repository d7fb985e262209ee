"""What the engine says about a container, and the labels that say what the container is to the toolkit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from toolkit_spawner.given_devices import GivenDevices, given_devices

__all__ = ["ADDRESS_LABEL", "HELD_LABEL", "INSTANCE_LABEL", "RUN_LABEL", "ContainerState", "container_state"]

#: Labels by which the toolkit finds its containers: the run's server name, and the site.
RUN_LABEL = "toolkit.run"
INSTANCE_LABEL = "toolkit.instance"
#: Label with the address of a container that shares another one's network, of which the engine itself says nothing.
ADDRESS_LABEL = "toolkit.address"
#: How the engine writes that.
SHARED_NETWORK = "container:"
#: Label of a container whose mounts are held for its start by the hub that made it: no other hub can start it.
HELD_LABEL = "toolkit.held-mounts"


@dataclass(frozen=True)
class ContainerState:
    """What the engine says about a container; `run` is empty for one that only shows an image's files, `instance` for one that is
    no site's."""

    id: str
    name: str
    instance: str
    run: str
    running: bool
    created_only: bool
    exit_code: int
    oom_killed: bool
    error: str
    ip: str | None
    created_at: str
    started_at: str
    finished_at: str
    image: str
    removing: bool = False
    borrowed_network: bool = False
    held_mounts: bool = False
    #: Of its first process, as this machine counts them; 0 where none runs.
    pid: int = 0
    given: GivenDevices = field(default_factory=GivenDevices)


def container_state(raw: dict[str, Any]) -> ContainerState:
    """From the answer of ``GET /containers/ID/json``."""
    state, networks = raw["State"], raw["NetworkSettings"].get("Networks") or {}
    labels = raw["Config"].get("Labels") or {}
    addresses = [network["IPAddress"] for network in networks.values() if network.get("IPAddress")]
    borrowed = raw["HostConfig"]["NetworkMode"].startswith(SHARED_NETWORK)
    if borrowed and ADDRESS_LABEL in labels:  # only there: an image may have any label
        addresses = [labels[ADDRESS_LABEL]]
    return ContainerState(
        id=raw["Id"],
        name=raw["Name"].removeprefix("/"),
        instance=labels.get(INSTANCE_LABEL, ""),
        run=labels.get(RUN_LABEL, ""),
        running=bool(state["Running"]),
        created_only=state["Status"] == "created",
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        error=str(state.get("Error") or ""),
        ip=addresses[0] if addresses else None,
        created_at=raw["Created"],
        started_at=state["StartedAt"],
        finished_at=state["FinishedAt"],
        image=raw["Image"],
        removing=state["Status"] in ("removing", "dead"),
        borrowed_network=borrowed,
        held_mounts=HELD_LABEL in labels,
        pid=int(state.get("Pid") or 0),
        given=given_devices(raw),
    )
