"""What a container may do, as the engine is asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit_spawner.docker_api import HELD_LABEL, container_name
from toolkit_spawner.hardening import Accounts, container_config, run_file
from toolkit_spawner.launch import DeviceSpec, JobNetwork, LaunchSpec, MountSpec

SPEC = LaunchSpec(
    run_id="r",
    server_name="jabc",
    owner="alice",
    job_id="1234567890",
    instance="i",
    image="any",
    pull=False,
    command=["true"],
    workdir="",
    environment={"A": "1"},
    cpu=1.5,
    mem=0.5,
    stop_grace=10,
    log_quota=256,
    prewarm=False,
    base_url="/user/alice/jabc/",
    secret="the-secret",
    run_dir="/state/runs/r",
    runtime_dir="/state/runtime",
    home_dir="/state/runs/r/home",
    accounts_dir="/state/accounts",
    network=JobNetwork(name="toolkit-jobs-1", bridge="tk-1", instance="i"),
)

ACCOUNTS = Accounts(Path("/state/accounts/x/passwd"), Path("/state/accounts/x/group"))


def config() -> dict[str, Any]:
    return container_config(SPEC, ["/opt/toolkit/init"], "/state/runtime/1", ACCOUNTS)


def test_no_privilege_is_left() -> None:
    host = config()["HostConfig"]
    assert config()["User"] == "13011:13011"
    assert host["CapDrop"] == ["ALL"]
    assert "CapAdd" not in host
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Privileged"] is False
    assert host["NetworkMode"] == "toolkit-jobs-1"
    assert "PidMode" not in host
    assert "IpcMode" not in host


def test_limits_are_what_was_admitted() -> None:
    host = config()["HostConfig"]
    assert host["NanoCpus"] == 1_500_000_000
    assert host["Memory"] == host["MemorySwap"] == 512 * 2**20
    assert 0 < host["PidsLimit"] <= 4096


def test_mounts_are_the_runs_own_and_never_the_engines_socket() -> None:
    mounts = {mount["Target"]: mount for mount in config()["HostConfig"]["Mounts"]}
    log = {f"/run/toolkit/{name}" for name in ("log", "log.1", "log.2", "log.times")}
    fixed = {"/opt/toolkit", "/run/toolkit/run.json", "/run/toolkit/preempt", "/etc/passwd", "/etc/group"}
    assert set(mounts) == {*fixed, "/run/toolkit/checkpoint", "/home/toolkit", "/home/work", *log}
    assert all(mounts[target]["ReadOnly"] for target in fixed)
    assert not any("docker" in mount["Source"] for mount in mounts.values())


def test_the_secret_is_in_the_run_file_only() -> None:
    assert "the-secret" not in str(config())
    assert run_file(SPEC, SPEC.command)["secret"] == "the-secret"
    assert "the-secret" not in repr(SPEC)


def test_names_come_from_the_run() -> None:
    assert container_name(SPEC.server_name) == "toolkit-jabc"


def test_a_job_without_a_way_out_has_no_name_server_either() -> None:
    closed = SPEC.model_copy(update={"network": SPEC.network.model_copy(update={"internet": False})})
    host = container_config(closed, [], "/r", ACCOUNTS)["HostConfig"]
    assert host["Dns"] == ["127.0.0.1"]
    assert config()["HostConfig"]["Dns"] == []


def with_mounts(*mounts: MountSpec) -> dict[str, Any]:
    spec = SPEC.model_copy(update={"mounts": list(mounts)})
    sources = [f"/held/{index}" for index, _ in enumerate(mounts)]
    return container_config(spec, [], "/r", ACCOUNTS, sources)


def mount(target: str, subpath: str = "", read_only: bool = False) -> MountSpec:
    return MountSpec(data="acme.joe.x", source="/data/x", subpath=subpath, target=target, read_only=read_only)


def test_data_is_bound_as_it_was_allowed() -> None:
    body = with_mounts(mount("/data"), mount("/home/toolkit/x", "sub", True), mount("/tmp"))
    binds = {item["Target"]: item for item in body["HostConfig"]["Mounts"]}
    assert [binds["/data"][key] for key in ("Source", "ReadOnly")] == ["/held/0", False]
    for target in ("/home/toolkit/x", "/home/work/x"):
        assert [binds[target][key] for key in ("Source", "ReadOnly")] == ["/held/1", True]
    assert {item["BindOptions"]["Propagation"] for item in binds.values()} == {"rprivate"}
    assert binds["/tmp"]["Source"] == "/held/2"
    assert body["HostConfig"]["Tmpfs"] == {}
    assert "/tmp" in config()["HostConfig"]["Tmpfs"]
    assert binds["/home/toolkit"]["Source"] == SPEC.home_dir


def test_data_as_the_home_takes_both_of_its_names() -> None:
    binds = [(item["Source"], item["Target"]) for item in with_mounts(mount("/home/toolkit"))["HostConfig"]["Mounts"]]
    assert [bind for bind in binds if bind[1].startswith("/home")] == [
        ("/held/0", "/home/toolkit"),
        ("/held/0", "/home/work"),
    ]


def test_a_container_with_held_mounts_says_so() -> None:
    assert HELD_LABEL in with_mounts(mount("/data", "sub"))["Labels"]
    assert HELD_LABEL not in with_mounts(mount("/data"))["Labels"]


def with_devices(*devices: DeviceSpec) -> dict[str, Any]:
    spec = SPEC.model_copy(update={"devices": list(devices)})
    return dict(container_config(spec, ["/opt/toolkit/init"], "/state/runtime/1", ACCOUNTS)["HostConfig"])


def test_devices_are_asked_for_by_their_names() -> None:
    host = with_devices(DeviceSpec(uuid="GPU-1", handover="cdi"), DeviceSpec(uuid="GPU-2", handover="cdi"))
    assert host["DeviceRequests"] == [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}]
    host = with_devices(DeviceSpec(uuid="GPU-3", handover="nvidia"))
    assert host["DeviceRequests"] == [{"Driver": "nvidia", "DeviceIDs": ["GPU-3"], "Capabilities": [["gpu"]]}]
    assert host["Devices"] == []


def test_device_nodes_keep_apart_the_devices_they_stand_for() -> None:
    simulated = [DeviceSpec(uuid=f"SIMULATED-{n}", handover="nodes", nodes=["/dev/null"]) for n in (2, 3)]
    host = with_devices(*simulated)
    assert [device["PathInContainer"] for device in host["Devices"]] == ["/dev/nvidia0", "/dev/nvidia1"]
    assert {device["PathOnHost"] for device in host["Devices"]} == {"/dev/null"}
    real = with_devices(DeviceSpec(uuid="GPU-1", handover="nodes", nodes=["/dev/nvidia5", "/dev/nvidiactl"]))
    assert [device["PathInContainer"] for device in real["Devices"]] == ["/dev/nvidia5", "/dev/nvidiactl"]


def test_without_devices_there_are_none() -> None:
    host = with_devices()
    assert host["DeviceRequests"] == []
    assert host["Devices"] == []
