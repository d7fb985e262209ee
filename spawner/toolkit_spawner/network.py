"""The network of the jobs on this machine: made at the engine, closed off by the firewall, and kept so.

Nothing is started before the rules are in force, and they are looked at before each start: an engine, a firewall manager or an
administrator may have removed them meanwhile. It takes root, or the capability CAP_NET_ADMIN.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from toolkit_spawner import network_rules
from toolkit_spawner.docker_api import Engine
from toolkit_spawner.launch import JobNetwork

__all__ = ["Firewall", "NetworkKeeper", "NetworkProblem", "isolate_ports", "name_servers"]

log = logging.getLogger("toolkit.network")

#: Seconds for which a look at the rules holds: starts that come together share one.
FRESH_S = 1.0
#: Seconds that a call of iptables may take; it waits for other programs' calls.
CALL_TIMEOUT_S = 15
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
#: What refuses: at once with an error where the kernel has it, else by silence.
REFUSALS = ("REJECT --reject-with icmp-admin-prohibited", "DROP")
BRIDGED_TRAFFIC_IS_FILTERED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class NetworkProblem(Exception):
    """The jobs' network cannot be closed off; the text says why and what to do."""


class Firewall:
    """The rules of this machine's kernel. Methods block for some milliseconds."""

    def __init__(self) -> None:
        #: For each bridge and program: the rules asked for, and what the kernel made of them.
        self._known: dict[tuple[str, str], tuple[list[str], list[str]]] = {}

    def ensure(self, network: JobNetwork, gateway: str) -> bool:
        """Have the rules of a network in force; whether anything had to be done. Raises `NetworkProblem`."""
        _filter_bridged_traffic()
        resolvers = name_servers()
        choices = [network_rules.rules(network, gateway, resolvers, refusal) for refusal in REFUSALS]
        with ThreadPoolExecutor(1) as other:
            ipv6 = other.submit(self._ensure_ipv6, network)
            program, saved = _engines_program()
            forward = "DOCKER-USER" if ":DOCKER-USER " in saved else "FORWARD"
            changed = self._ensure(program, network.bridge, choices, forward, saved)
            return ipv6.result() or changed

    def _ensure_ipv6(self, network: JobNetwork) -> bool:
        if not Path("/proc/net/if_inet6").exists():
            return False
        return self._ensure(
            "ip6tables", network.bridge, [network_rules.rules_ipv6(network)], "FORWARD", _save("ip6tables")
        )

    def _ensure(self, program: str, bridge: str, choices: list[list[str]], forward: str, saved: str) -> bool:
        asked, made = self._known.get((bridge, program), ([], []))
        if asked in choices and made == network_rules.own_lines(bridge, saved):
            if network_rules.is_in_force(bridge, forward, saved):
                return False
            log.warning("the rules of %s were not first in %s's chains any more: put there again", bridge, program)
        refused: NetworkProblem | None = None
        for content in choices:
            try:
                _restore(program, network_rules.restore_script(bridge, content, forward, saved))
            except NetworkProblem as error:
                refused = error
                continue
            saved = _save(program)
            made = network_rules.own_lines(bridge, saved)
            if len(made) != len(content) or not network_rules.is_in_force(bridge, forward, saved):
                raise NetworkProblem(
                    f"the rules that {program} was given for {bridge} are not there afterwards. Another program manages the "
                    "firewall at the same moment; try again, and see `iptables-save`."
                )
            self._known[bridge, program] = content, made
            return True
        assert refused is not None
        raise refused

    def remove(self, bridge: str) -> None:
        """Take all rules of a bridge away, for a site that is given up."""
        for program in (*_variants(), "ip6tables"):
            if _find(program) and (script := network_rules.removal(bridge, _save(program))):
                _restore(program, script)
            self._known.pop((bridge, program), None)


class NetworkKeeper:
    """Makes the network and keeps it closed off, for coroutines of one event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._firewall = Firewall()
        self._lock = asyncio.Lock()
        #: For each network: its bridge's number, which a bridge that is made anew does not have again, and its address.
        self._bridges: dict[str, tuple[int, str]] = {}
        self._checked: tuple[JobNetwork, float] | None = None

    async def ensure(self, network: JobNetwork) -> None:
        """Return when the network is there with its rules in force.

        Raises `NetworkProblem`; `EngineRefused` and `EngineUnavailable` where the engine cannot make it.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._checked is not None and self._checked[0] == network and now - self._checked[1] < FRESH_S:
                return
            self._checked = None
            index, gateway = self._bridges.get(network.name, (0, ""))
            if not index or _bridge_index(network.bridge) != index:
                gateway = await self._engine.ensure_network(network.name, network.bridge, network.instance)
                index = _bridge_index(network.bridge)
                if not index:
                    raise NetworkProblem(
                        f"the engine made the network {network.name}, but its bridge {network.bridge} is not on this machine: "
                        "the engine has a network of its own (rootless, or on another machine). Use an engine that runs as "
                        "root on this machine."
                    )
                self._bridges[network.name] = index, gateway
            if await asyncio.to_thread(self._firewall.ensure, network, gateway):
                log.info("rules of the jobs' network %s (%s) are in force", network.name, network.bridge)
            self._checked = network, now


def isolate_ports(bridge: str) -> None:
    """Tell the bridge itself to pass nothing from one container to another, ARP and whatever is no IP included.

    A second wall: it holds for the containers that run, also while the kernel does not filter bridged traffic. Kernels
    before 4.18 do not have it.
    """
    for port in Path("/sys/class/net", bridge, "brif").glob("*/isolated"):
        with contextlib.suppress(OSError):  # the container has just ended
            if port.read_text().strip() == "0":
                port.write_text("1")


def name_servers() -> list[str]:
    """IPv4 addresses that the engine asks from within jobs' networks; it asks those on loopback from outside."""
    found = _name_servers(Path("/etc/resolv.conf"))
    if found == ["127.0.0.53"]:  # systemd-resolved: the engine then takes the ones behind it
        found = _name_servers(Path("/run/systemd/resolve/resolv.conf")) or found
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]


def _name_servers(path: Path) -> list[str]:
    try:
        words = [line.split() for line in path.read_text(errors="replace").splitlines()]
    except OSError:
        return []
    found = []
    for line in words:
        if len(line) > 1 and line[0] == "nameserver":
            with contextlib.suppress(ValueError):
                found.append(str(ipaddress.IPv4Address(line[1])))
    return found


def _bridge_index(bridge: str) -> int:
    """The interface's number; 0 if there is none."""
    try:
        return int(Path("/sys/class/net", bridge, "ifindex").read_text())
    except OSError:
        return 0


def _filter_bridged_traffic() -> None:
    """What passes from one port of a bridge to another meets iptables only where this is on. The engine turns it on."""
    try:
        if BRIDGED_TRAFFIC_IS_FILTERED.read_text().strip() == "1":
            return
        BRIDGED_TRAFFIC_IS_FILTERED.write_text("1")
    except OSError as error:
        raise NetworkProblem(
            f"jobs cannot be kept apart: {BRIDGED_TRAFFIC_IS_FILTERED} cannot be set to 1 ({error.strerror}). Load the kernel "
            "module: modprobe br_netfilter; and keep it on: sysctl net.bridge.bridge-nf-call-iptables=1"
        ) from error
    log.warning("filtering of bridged traffic was off and is on again")


def _engines_program() -> tuple[str, str]:
    """The variant of iptables that the engine uses, and what it holds now. A refusal by any variant counts."""
    first = ""
    for program in _variants():
        if program != "iptables" and not _find(program):
            continue
        saved = _save(program)
        if ":DOCKER-USER " in saved:
            return program, saved
        first = first or saved
    return "iptables", first


def _variants() -> tuple[str, ...]:
    """Asking the legacy variant makes its tables, so it is asked only where it has some."""
    with contextlib.suppress(OSError):
        if "filter" in Path("/proc/net/ip_tables_names").read_text().split():
            return "iptables", "iptables-nft", "iptables-legacy"
    return "iptables", "iptables-nft"


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")


def _save(program: str) -> str:
    return _call([f"{program}-save", "-t", "filter"])


def _restore(program: str, script: str) -> None:
    _call([f"{program}-restore", "--noflush", "--wait=5"], script)


def _call(command: list[str], text: str = "") -> str:
    path = _find(command[0])
    if path is None:
        raise NetworkProblem(f"{command[0]} is not installed; on Debian and Ubuntu: apt-get install iptables")
    try:
        done = subprocess.run(
            [path, *command[1:]], input=text, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NetworkProblem(f"{command[0]} does not work: {error}") from error
    if done.returncode:
        words = " ".join(done.stderr.split())[:400] or f"exit code {done.returncode}"
        raise NetworkProblem(
            f"{command[0]} refuses: {words}. The unit that starts jobs must run as root, or with the capabilities CAP_NET_ADMIN "
            "and CAP_NET_RAW."
        )
    return done.stdout
