"""From a launch spec to the engine's request. Pure: what a container may do is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit_client.mounts import HOME, HOME_ALIAS
from toolkit_ext.job_init.log_files import FILES, shares
from toolkit_spawner.docker_api import ADDRESS_LABEL, HELD_LABEL, INSTANCE_LABEL, RUN_LABEL
from toolkit_spawner.launch import DeviceSpec, JobNetwork, LaunchSpec

__all__ = [
    "CONTAINER_GID",
    "CONTAINER_UID",
    "HOME",
    "LAB_PORT",
    "OWN_PORTS",
    "Accounts",
    "container_config",
    "holder_config",
    "place_in",
    "run_file",
]

#: Every run, in any image: the owner of all content of volumes.
CONTAINER_UID = 13011
CONTAINER_GID = 13011
EXEC_PORT = 8886
CONTROL_PORT = 8887
LAB_PORT = 8888
#: Ports of job-init's and the job server's own in every container.
OWN_PORTS = frozenset({EXEC_PORT, CONTROL_PORT, LAB_PORT})
PIDS_LIMIT = 4096
OOM_SCORE = 500
#: Bytes that a container without a job may use: some hundred KiB, but the program that starts it takes more for a moment.
HOLDER_MEMORY = 64 * 2**20


def run_file(spec: LaunchSpec, command: list[str] | None) -> dict[str, Any]:
    """What job-init reads from /run/toolkit/run.json."""
    head, segment = shares(spec.log_quota * 2**20)
    return {
        "command": command,
        "workdir": spec.workdir,
        "secret": spec.secret,
        # Not in the container's own environment, which everybody reads who may look at containers.
        "environment": {"TOOLKIT_TOKEN": spec.token} if spec.token else {},
        "base_url": spec.base_url,
        "control_port": CONTROL_PORT,
        "lab_port": LAB_PORT,
        "exec_port": EXEC_PORT,
        "stop_grace": spec.stop_grace,
        "prewarm": spec.prewarm,
        "log_head": head,
        "log_segment": segment,
    }


@dataclass(frozen=True)
class Accounts:
    """Files on this machine that a container has as /etc/passwd and /etc/group."""

    passwd: Path
    group: Path


def container_config(
    spec: LaunchSpec, entrypoint: list[str], runtime: str, accounts: Accounts, sources: Sequence[str] = ()
) -> dict[str, Any]:
    """The body of ``POST /containers/create`` (Docker Engine API 1.41).

    `runtime` is the resolved folder of job-init, `sources` are the folders to bind for `spec.mounts`, in the same order.
    """
    held = {HELD_LABEL: "yes"} if any(mount.subpath for mount in spec.mounts) else {}
    return {
        "Image": spec.image,
        "Entrypoint": entrypoint,
        "Cmd": [],
        "User": f"{CONTAINER_UID}:{CONTAINER_GID}",
        "WorkingDir": "/",
        "Env": [f"{name}={value}" for name, value in spec.environment.items()],
        "Labels": {RUN_LABEL: spec.server_name, INSTANCE_LABEL: spec.instance, "toolkit.job": spec.job_id, **held},
        "Hostname": f"job-{spec.job_id[:8]}",
        "StopSignal": "SIGTERM",
        # The image's own health check would run its code beside the user's command, on the user's CPUs.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec, runtime, accounts, sources),
    }


def _host_config(spec: LaunchSpec, runtime: str, accounts: Accounts, sources: Sequence[str]) -> dict[str, Any]:
    memory = int(spec.mem * 2**30)
    return {
        **_network_config(spec.network),
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "PidsLimit": PIDS_LIMIT,
        "NanoCpus": int(spec.cpu * 1e9),
        "Memory": memory,
        "MemorySwap": memory,  # equal: no swap on top
        # When the machine itself runs out of memory, jobs go before the units that look after them.
        "OomScoreAdj": OOM_SCORE,
        **_devices(spec.devices),
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        # Both are memory of the run, within its limit.
        "ShmSize": min(memory // 2, 2**34),
        "Tmpfs": _tmpfs(spec, memory),
        "Mounts": [
            _bind(runtime, "/opt/toolkit", read_only=True),
            _bind(str(accounts.passwd), "/etc/passwd", read_only=True),
            _bind(str(accounts.group), "/etc/group", read_only=True),
            *(_bind(f"{spec.run_dir}/{name}", f"/run/toolkit/{name}") for name in FILES),
            _bind(f"{spec.run_dir}/run.json", "/run/toolkit/run.json", read_only=True),
            _bind(f"{spec.run_dir}/checkpoint", "/run/toolkit/checkpoint"),
            _bind(f"{spec.run_dir}/preempt", "/run/toolkit/preempt", read_only=True),
            *_data_binds(spec, sources),
        ],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # the exit code is read first
        # Only job-init's and the job server's own words; the command's output is in the run's log.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
    }


def _devices(devices: Sequence[DeviceSpec]) -> dict[str, Any]:
    """Each by its own name, never "all": the engine's counts would give every run the same first device."""
    cdi = [f"nvidia.com/gpu={device.uuid}" for device in devices if device.handover == "cdi"]
    nvidia = [device.uuid for device in devices if device.handover == "nvidia"]
    nodes = [device.nodes for device in devices if device.handover == "nodes"]
    requests: list[dict[str, Any]] = []
    if cdi:
        requests.append({"Driver": "cdi", "DeviceIDs": cdi})
    if nvidia:
        requests.append({"Driver": "nvidia", "DeviceIDs": nvidia, "Capabilities": [["gpu"]]})
    return {
        "DeviceRequests": requests,
        "Devices": [
            {"PathOnHost": path, "PathInContainer": _node_inside(path, index), "CgroupPermissions": "rw"}
            for index, paths in enumerate(nodes)
            for path in paths
        ],
    }


def _node_inside(path: str, index: int) -> str:
    """A stand-in's node gets the name that the device it stands for would have."""
    return path if path.startswith("/dev/nvidia") else f"/dev/nvidia{index}"


def _tmpfs(spec: LaunchSpec, memory: int) -> dict[str, str]:
    place = "/tmp"  # noqa: S108 - inside the container
    if any(mount.target == place for mount in spec.mounts):
        return {}
    return {place: f"rw,exec,nosuid,nodev,mode=1777,size={memory}"}


def _data_binds(spec: LaunchSpec, sources: Sequence[str]) -> list[dict[str, Any]]:
    """The home and the data. What lies in the home is there by both of its names."""
    binds = []
    if not any(mount.target == HOME for mount in spec.mounts):
        binds += [_bind(spec.home_dir, HOME), _bind(spec.home_dir, HOME_ALIAS)]
    for mount, source in zip(spec.mounts, sources, strict=True):
        binds.append(_bind(source, mount.target, read_only=mount.read_only))
        if mount.target == HOME or mount.target.startswith(f"{HOME}/"):
            alias = HOME_ALIAS + mount.target.removeprefix(HOME)
            binds.append(_bind(source, alias, read_only=mount.read_only))
    return binds


def _network_config(network: JobNetwork) -> dict[str, Any]:
    return {
        "NetworkMode": network.name,
        # The engine's name server asks others on the job's behalf, from outside its network where those are on loopback. Without
        # a way out it gets one that answers nobody, in the job's own network.
        "Dns": [] if network.internet else ["127.0.0.1"],
        "DnsOptions": [] if network.internet else ["timeout:1", "attempts:1"],  # fail soon
    }


def place_in(config: dict[str, Any], holder: str, address: str) -> dict[str, Any]:
    """The same container, in the network namespace of another one, whose host name and name server it gets with it."""
    own = {key: value for key, value in config["HostConfig"].items() if key not in ("Dns", "DnsOptions")}
    return {
        **{key: value for key, value in config.items() if key != "Hostname"},
        "Labels": {**config["Labels"], ADDRESS_LABEL: address},
        "HostConfig": {**own, "NetworkMode": f"container:{holder}"},
    }


def holder_config(network: JobNetwork, image: str, labels: dict[str, str]) -> dict[str, Any]:
    """A container that does nothing but have a place on the jobs' network; as confined as a job, with next to no memory."""
    return {
        "Image": image,
        "Entrypoint": ["sleep", "infinity"],
        "Cmd": [],
        "User": f"{CONTAINER_UID}:{CONTAINER_GID}",
        "WorkingDir": "/",
        "Labels": labels,
        "Hostname": "job",
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            **_network_config(network),
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "PidsLimit": 8,
            "Memory": HOLDER_MEMORY,
            "MemorySwap": HOLDER_MEMORY,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def _bind(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }
