"""What jobs may reach, as rules of iptables. Pure: text in, text out.

Each site has its own bridge, and two chains that only what comes from (or goes to) this bridge passes:

- ``TOOLKIT-JOBS-…``, first in DOCKER-USER: what the machine would forward. No job reaches another job, another network of the
  engine, or a cloud's metadata service; nobody opens a connection to a job.
- ``TOOLKIT-HOST-…``, first in INPUT: what is meant for this machine. Only replies pass: the gate opens the connections.

IPv6 has no use on the bridge and is dropped both ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toolkit_spawner.launch import JobNetwork

__all__ = [
    "HOST_CHAIN",
    "JOBS_CHAIN",
    "chain_names",
    "hooks",
    "is_in_force",
    "own_lines",
    "removal",
    "restore_script",
    "rules",
]

#: Prefixes of the chains' names; the rest comes from the bridge's name.
JOBS_CHAIN = "TOOLKIT-JOBS-"
HOST_CHAIN = "TOOLKIT-HOST-"

#: Link-local addresses, where clouds answer with the machine's credentials, and the other addresses that clouds use so.
METADATA = ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.0/24")
#: Bridges to other containers and virtual machines. The engine keeps its own networks apart too, whatever they are called.
OTHER_BRIDGES = ("docker0", "docker_gwbridge", "br-+", "tk-+", "virbr+")

REPLIES = ("-m conntrack --ctstate ESTABLISHED", "-p icmp -m conntrack --ctstate RELATED")


def chain_names(bridge: str) -> tuple[str, str]:
    """The chains of forwarded and of local traffic."""
    key = bridge.removeprefix("tk-")
    return f"{JOBS_CHAIN}{key}", f"{HOST_CHAIN}{key}"


def rules(network: JobNetwork, gateway: str, resolvers: Sequence[str], refuse: str) -> list[str]:
    """The content of both chains for IPv4, in order. `refuse`: the target that refuses, ``DROP`` or a ``REJECT``.

    `resolvers` are the name servers that the engine asks from within a job's network; port 53 of them stays open, for they may
    be this machine or a metadata address.
    """
    jobs, host = chain_names(network.bridge)
    bridge = network.bridge
    forwarded = [f"-i {bridge} -o {bridge} -j DROP"]
    forwarded += [f"{reply} -j RETURN" for reply in REPLIES]
    forwarded.append(f"-o {bridge} -j DROP")
    local = [f"{reply} -j ACCEPT" for reply in REPLIES]
    if network.internet:
        asked = [f"-d {name_server}/32 -p {kind} --dport 53" for name_server in resolvers for kind in ("udp", "tcp")]
        forwarded += [f"{query} -j RETURN" for query in asked]
        local += [f"{query} -j ACCEPT" for query in asked]
        forwarded += [f"-d {denied} -j {refuse}" for denied in (*METADATA, *network.denied)]
        forwarded += [f"-o {other} -j {refuse}" for other in OTHER_BRIDGES]
    else:
        forwarded.append(f"-j {refuse}")
    ours = [port for port in (network.api_port, network.data_port) if port]
    local += [f"-d {gateway}/32 -p tcp --dport {port} -j ACCEPT" for port in ours]
    local.append(f"-j {refuse}")
    return [f"-A {jobs} {rule}" for rule in forwarded] + [f"-A {host} {rule}" for rule in local]


def rules_ipv6(network: JobNetwork) -> list[str]:
    """The content of both chains for IPv6."""
    return [f"-A {chain} -j DROP" for chain in chain_names(network.bridge)]


def hooks(bridge: str, forward: str) -> list[tuple[str, str]]:
    """The rules that lead into the chains: the chain each is in, and the rule. `forward`: DOCKER-USER or FORWARD."""
    jobs, host = chain_names(bridge)
    return [
        (forward, f"-i {bridge} -j {jobs}"),
        (forward, f"-o {bridge} -j {jobs}"),
        ("INPUT", f"-i {bridge} -j {host}"),
    ]


def restore_script(bridge: str, content: Iterable[str], forward: str, saved: str) -> str:
    """Input of ``iptables-restore --noflush``: chains and hooks in one step, so there is no moment without them.

    `saved`: what ``iptables-save`` says now.
    """
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in chain_names(bridge)), *content]
    present = saved.splitlines()
    for chain, rule in hooks(bridge, forward):
        lines += [f"-D {chain} {rule}"] * present.count(f"-A {chain} {rule}")
        lines.append(f"-I {chain} 1 {rule}")
    return "\n".join([*lines, "COMMIT", ""])


def removal(bridge: str, saved: str) -> str:
    """Input of ``iptables-restore --noflush`` that takes everything of a bridge away; empty when there is nothing."""
    names = chain_names(bridge)
    present = saved.splitlines()
    into = [line for line in present if line.startswith("-A ") and line.endswith(tuple(f"-j {name}" for name in names))]
    chains = [name for name in names if any(line.startswith(f":{name} ") for line in present)]
    if not chains:
        return ""
    lines = [f"-D {line.removeprefix('-A ')}" for line in into]
    lines += [f"-F {name}" for name in chains] + [f"-X {name}" for name in chains]
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def own_lines(bridge: str, saved: str) -> list[str]:
    """The content of a bridge's chains in ``iptables-save``'s words."""
    starts = tuple(f"-A {name} " for name in chain_names(bridge))
    return [line for line in saved.splitlines() if line.startswith(starts)]


def is_in_force(bridge: str, forward: str, saved: str) -> bool:
    """Whether all hooks are there, with no rule before them but those of other sites."""
    leading: dict[str, set[str]] = {}
    passed: set[str] = set()
    for line in saved.splitlines():
        if not line.startswith("-A "):
            continue
        chain, _, rule = line.removeprefix("-A ").partition(" ")
        if chain in passed:
            continue
        if rule.partition(" -j ")[2].startswith((JOBS_CHAIN, HOST_CHAIN)):
            leading.setdefault(chain, set()).add(rule)
        else:
            passed.add(chain)
    return all(rule in leading.get(chain, set()) for chain, rule in hooks(bridge, forward))
