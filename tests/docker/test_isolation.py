"""What a job reaches: not its neighbours, not the machine, not the cloud's metadata, not other networks of the engine."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.docker.run_container import wait_for
from tests.support.confined_job import LISTENER, JobHouse
from toolkit_spawner import network as network_module
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.network import NetworkKeeper, NetworkProblem
from toolkit_spawner.runtime import LAB_IMAGE

METADATA = "169.254.169.254"


@pytest.fixture(scope="module")
def new_house(
    engine: Engine, runtime_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., JobHouse]]:
    houses: list[JobHouse] = []

    def new(**network: object) -> JobHouse:
        folder = tmp_path_factory.mktemp("house")
        houses.append(JobHouse(engine, (runtime_folder / "current").resolve(), folder, **network))
        return houses[-1]

    yield new
    for house in houses:
        house.close()


@pytest.fixture(scope="module", params=[False, True], ids=["connected", "prepared"])
def house(new_house: Callable[..., JobHouse], request: pytest.FixtureRequest) -> JobHouse:
    """Its jobs are connected to the network as they start, or are started in places that were prepared."""
    return new_house(prepared=request.param)


@pytest.fixture
def host_port() -> Iterator[int]:
    """A service of the machine, on all its addresses; it answers as long as it is asked."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"host")

        threading.Thread(target=answer, daemon=True).start()
        yield int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def outside() -> Iterator[str]:
    """Another machine: a network namespace behind a cable, with an address of its own and the metadata service's."""
    name = "tkoutside"
    inside = ["ip", "netns", "exec", name]
    address = "198.18.77.2"
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    commands = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", "tkout0", "type", "veth", "peer", "name", "tkout1", "netns", name],
        ["ip", "addr", "add", "198.18.77.1/24", "dev", "tkout0"],
        ["ip", "link", "set", "tkout0", "up"],
        ["ip", "route", "add", f"{METADATA}/32", "dev", "tkout0"],
        [*inside, "ip", "addr", "add", f"{address}/24", "dev", "tkout1"],
        [*inside, "ip", "addr", "add", f"{METADATA}/32", "dev", "tkout1"],
        [*inside, "ip", "link", "set", "tkout1", "up"],
        [*inside, "ip", "route", "add", "default", "via", "198.18.77.1"],
    ]
    process = None
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True)
        process = subprocess.Popen([*inside, sys.executable, "-c", LISTENER], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        yield address
    finally:
        if process is not None:
            process.kill()
            process.wait()
        subprocess.run(["ip", "link", "del", "tkout0"], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False)


def ask(host: str, port: int = 8080) -> str:
    """As a process of the machine."""
    with socket.create_connection((host, port), 5) as connection:
        return connection.recv(16).decode()


def host_addresses() -> list[str]:
    lines = subprocess.run(["ip", "-o", "addr"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[3].partition("/")[0] for line in lines if " lo " not in line]


def nothing_answers(found: dict[str, str]) -> bool:
    return bool(found) and all(word.startswith("refused") for word in found.values())


def test_no_job_reaches_another_one_and_the_gate_reaches_both(house: JobHouse) -> None:
    first, second = house.listener(), house.listener()
    assert ask(first.ip) == ask(second.ip) == "here"
    found = house.probe(f"tcp {first.ip} 8080", f"udp {first.ip} 8080", f"tcp {second.ip} 8080")
    assert nothing_answers(found), found
    # A second wall, which does not depend on the firewall: the bridge itself passes nothing between containers.
    ports = list(Path("/sys/class/net", house.network.bridge, "brif").glob("*/isolated"))
    assert len(ports) >= 2
    assert {port.read_text().strip() for port in ports} == {"1"}


def test_the_engines_name_server_works_and_is_no_way_to_others(house: JobHouse) -> None:
    other = house.listener()
    script = f"import socket; print(socket.gethostbyname({other.name!r}))"
    assert house.start("python3", "-c", script).output().strip() == other.ip
    assert nothing_answers(house.probe(f"tcp {other.name} 8080"))


def test_a_job_reaches_no_port_of_the_machine(house: JobHouse, host_port: int) -> None:
    addresses = [address for address in host_addresses() if not address.startswith("fe80")]
    gateway = house.start("cat", "/proc/net/route").output()
    default = next(line.split()[2] for line in gateway.splitlines() if line.split()[1] == "00000000")
    assert socket.inet_ntoa(bytes.fromhex(default)[::-1]) in addresses
    assert all(ask(address, host_port) == "host" for address in addresses if ":" not in address)
    found = house.probe(*(f"tcp {address} {host_port}" for address in addresses))
    assert nothing_answers(found), found


def test_a_job_has_no_ipv6(house: JobHouse) -> None:
    assert house.start("cat", "/proc/net/if_inet6").output().split("\n")[0].split()[-1:] in ([], ["lo"])


def test_a_job_reaches_the_internet_but_no_metadata_service(house: JobHouse, outside: str) -> None:
    assert ask(METADATA) == ask(outside) == "here"
    found = house.probe(f"tcp {outside} 8080", f"udp {outside} 8080", f"tcp {METADATA} 8080", f"udp {METADATA} 8080")
    assert found[f"tcp {outside} 8080"] == found[f"udp {outside} 8080"] == "here"
    assert nothing_answers({target: word for target, word in found.items() if METADATA in target}), found


def test_the_sites_own_denied_networks(new_house: Callable[..., JobHouse], outside: str) -> None:
    found = new_house(denied=["198.18.0.0/15"]).probe(f"tcp {outside} 8080")
    assert nothing_answers(found), found


def test_without_internet_there_is_no_way_out(new_house: Callable[..., JobHouse], outside: str) -> None:
    closed = new_house(internet=False)
    victim = closed.listener()
    assert ask(victim.ip) == "here"
    found = closed.probe(f"tcp {outside} 8080", f"udp {outside} 8080", f"tcp {METADATA} 8080", f"tcp {victim.ip} 8080")
    assert nothing_answers(found), found
    script = (
        "import socket, time\nbegan = time.time()\n"
        "try: socket.gethostbyname('example.org')\nexcept OSError: print(time.time() - began < 5)"
    )
    assert closed.start("python3", "-c", script).output().strip() == "True"


def test_nothing_passes_between_jobs_and_other_networks_of_the_engine(house: JobHouse) -> None:
    client = docker.APIClient(version="1.41")
    network = client.create_network("toolkit-test-other", driver="bridge", check_duplicate=True)["Id"]
    container = ""
    try:
        config = client.create_host_config(network_mode=network)
        container = client.create_container(LAB_IMAGE, ["python3", "-c", LISTENER], host_config=config)["Id"]
        client.start(container)
        networks = client.inspect_container(container)["NetworkSettings"]["Networks"]
        address = next(iter(networks.values()))["IPAddress"]
        wait_for("the listener", lambda: b"listening" in client.logs(container))
        assert ask(address) == "here"
        assert nothing_answers(house.probe(f"tcp {address} 8080", f"udp {address} 8080"))
        job = house.listener()
        script = f"import socket; socket.create_connection(({job.ip!r}, 8080), 3)"
        created = client.exec_create(container, ["python3", "-c", script])
        client.exec_start(created["Id"])
        assert client.exec_inspect(created["Id"])["ExitCode"] != 0
    finally:
        if container:
            client.remove_container(container, force=True)
        client.remove_network(network)
        client.close()


def test_only_the_job_apis_port_is_open_once_there_is_one(new_house: Callable[..., JobHouse], host_port: int) -> None:
    opened = new_house(api_port=host_port)
    opened.call(opened.keeper.ensure(opened.network))
    about = subprocess.run(
        ["ip", "-o", "-4", "addr", "show", opened.network.bridge], check=True, capture_output=True, text=True
    ).stdout
    gateway = about.split()[3].partition("/")[0]
    elsewhere = next(address for address in host_addresses() if ":" not in address and address != gateway)
    with socket.create_server(("0.0.0.0", 0)) as other:
        targets = [
            f"tcp {gateway} {host_port}",
            f"tcp {elsewhere} {host_port}",
            f"tcp {gateway} {other.getsockname()[1]}",
        ]
        found = opened.probe(*targets)
    assert found[targets[0]] == "host"
    assert nothing_answers({target: found[target] for target in targets[1:]}), found


@pytest.mark.parametrize("damage", ["hook", "content", "before"])
def test_rules_that_were_taken_away_are_back_before_the_next_start(
    new_house: Callable[..., JobHouse], host_port: int, damage: str
) -> None:
    house = new_house()
    job = house.listener()
    bridge = house.network.bridge
    chain = bridge.replace("tk-", "TOOLKIT-HOST-")
    commands = {
        "hook": ["-D", "INPUT", "-i", bridge, "-j", chain],
        "content": ["-F", chain],
        "before": ["-I", "INPUT", "1", "-i", bridge, "-j", "ACCEPT"],
    }
    subprocess.run(["iptables", "-w", *commands[damage]], check=True)
    try:
        house.keeper._checked = None  # as a second later
        gateway = ".".join([*job.ip.split(".")[:-1], "1"])
        assert nothing_answers(house.probe(f"tcp {gateway} {host_port}"))
    finally:
        if damage == "before":
            subprocess.run(["iptables", "-w", "-D", *commands[damage][1:2], *commands[damage][3:]], check=True)


def test_without_a_firewall_the_network_is_refused(
    engine: Engine, new_house: Callable[..., JobHouse], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = new_house()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(network_module, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(NetworkProblem, match="apt-get install iptables"):
        house.call(NetworkKeeper(engine).ensure(house.network))


CONFINEMENT = """
import json, os, resource, socket, stat, subprocess, tempfile
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def fails(do):
    try:
        do()
    except OSError:
        return True
    return False
def write(path):
    with open(path, "w") as file:
        file.write("x")
script = tempfile.NamedTemporaryFile("w", suffix=".sh", dir="/tmp", delete=False)
script.write("#!/bin/sh\\necho ran\\n")
script.close()
os.chmod(script.name, 0o700)
with open(os.path.expanduser("~/mine"), "w") as file:
    file.write("x")
print(json.dumps({
    "status": {key: value.strip() for key, value in status.items()},
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "oom": int(open("/proc/self/oom_score_adj").read()),
    "tmp": [oct(stat.S_IMODE(os.stat("/tmp").st_mode)), subprocess.run([script.name], capture_output=True).stdout.decode()],
    "refused": [
        fails(lambda: write("/opt/toolkit/x")), fails(lambda: write("/etc/passwd")), fails(lambda: write("/etc/group")),
        fails(lambda: write("/run/toolkit/run.json")), fails(lambda: write("/proc/sys/kernel/hostname")),
        fails(lambda: write("/sys/kernel/x")), fails(lambda: os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(8, 0))),
        fails(lambda: os.chroot("/")), fails(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        fails(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    ],
    "masked": [path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list") if os.path.exists(path) and open(path).read(1)],
    "new namespace": subprocess.run(["unshare", "-Ur", "true"], capture_output=True).returncode,
    "engine": os.path.exists("/var/run/docker.sock"),
    "who": [subprocess.run(words, capture_output=True, text=True).stdout.strip() for words in (
        ["whoami"], ["id", "-gn"], ["getent", "passwd", "work"])],
}))
"""


def test_what_a_container_may_do(house: JobHouse) -> None:
    found = json.loads(house.start("python3", "-c", CONFINEMENT).output())
    status = found["status"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert set(status["Uid"].split()) == {"13011"}
    assert found["core"] == [0, 0]
    assert found["oom"] >= 500
    assert found["tmp"] == ["0o1777", "ran\n"]
    assert all(found["refused"]), found["refused"]
    assert found["masked"] == []
    assert found["new namespace"] != 0
    assert not found["engine"]
    assert found["who"][:2] == ["toolkit", "toolkit"]
    assert found["who"][2].startswith("work:")


def test_an_image_with_nothing_in_it(house: JobHouse, scratch_image: str) -> None:
    script = (
        "whoami; id -gn; cd ~ && echo kept > file && cat file; echo $HOME; ls -ld /tmp | cut -c1-10; echo x > /tmp/x"
    )
    words = house.start("/bin/sh", "-c", script, image=scratch_image).output().split()
    assert words == ["toolkit", "toolkit", "kept", "/home/toolkit", "drwxrwxrwt"]


def test_images_with_users_of_their_own(house: JobHouse, engine: Engine, runtime_folder: Path, tmp_path: Path) -> None:
    """Images made for such a service give uid 13011 several names; they work as they are."""
    users = " && ".join(
        f"useradd -m -u 13011 -s /bin/bash --non-unique {name}"
        for name in ("toolkit", "console", "_toolchain", "coder")
    )
    (tmp_path / "Dockerfile").write_text(f"FROM toolkit-base:bookworm\nRUN {users}\n")
    engine.build_image(tmp_path, "toolkit-test-users:latest", {}, lambda line: None)
    script = "whoami; getent passwd coder _toolchain work | cut -d: -f1,3,6"
    words = house.start("bash", "-c", script, image="toolkit-test-users:latest").output().split()
    assert words == [
        "toolkit",
        "coder:13011:/home/coder",
        "_toolchain:13011:/home/_toolchain",
        "work:13011:/home/toolkit",
    ]


def test_an_images_links_do_not_lead_onto_the_machine(
    house: JobHouse, engine: Engine, runtime_folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hostsecret:x:0:0::/:/bin/sh\n")
    up = "../" * 20
    recipe = tmp_path / "recipe"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text(
        "FROM toolkit-base:bookworm\nRUN cp /etc/passwd /etc/real && "
        f"ln -sf {up}etc/real /etc/passwd && ln -sf {up}{str(secret).lstrip('/')} /etc/group\n"
    )
    engine.build_image(recipe, "toolkit-test-links:latest", {}, lambda line: None)
    output = house.start("bash", "-c", "whoami; cat /etc/passwd /etc/group", image="toolkit-test-links:latest").output()
    assert output.startswith("toolkit\n")
    assert "daemon:" in output
    assert "hostsecret" not in output
