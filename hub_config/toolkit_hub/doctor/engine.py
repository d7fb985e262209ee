"""Docker Engine: does it answer, and is it one that jobs can run on as they should."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

from toolkit_client.admin_models import Finding
from toolkit_hub.doctor.check import Patient, ok, problem, warning
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable

__all__ = ["check_engine", "engine_facts"]

OLDEST_ENGINE = (20, 10)
#: File systems of container layers that are made for it; the others copy or are slow.
GOOD_STORAGE = ("overlay2", "overlayfs", "fuse-overlayfs", "btrfs", "zfs")
START = "`make setup` starts one; else: systemctl start docker, or dockerd, and look at its log"


def engine_facts(engine: Engine) -> dict[str, Any]:
    """The engine's own description (``GET /info``). Blocks. Raises `EngineUnavailable`, `EngineRefused`."""

    async def ask() -> dict[str, Any]:
        return dict(await engine.call(lambda client: client.info()))

    return asyncio.run(ask())


def check_engine(patient: Patient) -> Iterator[Finding]:
    try:
        facts = engine_facts(patient.engine)
    except EngineUnavailable as error:
        yield problem("engine", f"{error}; running jobs go on if it only hangs, and no job starts", START)
        return
    except EngineRefused as error:
        yield problem("engine", f"Docker Engine answers, and refuses: {error}", "it must speak API 1.41 or newer")
        return
    yield _version(str(facts.get("ServerVersion", "")))
    yield _storage(facts)
    yield _cgroups(facts)
    yield _gpus(facts)
    yield _logs(facts)
    yield _capacity(facts, patient)


def _version(text: str) -> Finding:
    found = re.match(r"(\d+)\.(\d+)", text)
    if found is None:
        return warning("engine", f"Docker Engine calls its version {text!r}", "compare it with 20.10 yourself")
    if (int(found[1]), int(found[2])) < OLDEST_ENGINE:
        return problem(
            "engine", f"Docker Engine {text} is older than 20.10", "update it; jobs are lost while it restarts"
        )
    return ok("engine", f"Docker Engine {text} answers")


def _storage(facts: dict[str, Any]) -> Finding:
    driver = str(facts.get("Driver", "unknown"))
    if driver in GOOD_STORAGE:
        return ok("engine: storage", f"storage driver {driver}")
    return warning(
        "engine: storage",
        f"storage driver {driver}: every container gets a full copy of its image, which takes disk and time",
        "use overlay2, on a file system that carries it (ext4, or xfs with ftype=1)",
    )


def _cgroups(facts: dict[str, Any]) -> Finding:
    name, version = "engine: limits", str(facts.get("CgroupVersion", "1"))
    lacking = [word for word, key in (("memory", "MemoryLimit"), ("pids", "PidsLimit")) if facts.get(key) is False]
    if not facts.get("CpuCfsQuota", True):
        lacking.append("CPU")
    if lacking:
        return problem(
            name,
            f"the kernel does not limit {', '.join(lacking)} here (cgroup {version}): one job can take the whole machine",
            "mount the cgroup controllers; some systems need `cgroup_enable=memory` on the kernel's command line",
        )
    return ok(
        name, f"cgroup v{version} ({facts.get('CgroupDriver', 'unknown driver')}), limits of CPU, memory and pids work"
    )


def _gpus(facts: dict[str, Any]) -> Finding:
    if "nvidia" in (facts.get("Runtimes") or {}):
        return ok("engine: nvidia", "the NVIDIA runtime is installed")
    words = "no NVIDIA runtime: GPUs are given as device nodes, and images need the driver's libraries themselves"
    return ok("engine: nvidia", f"{words} (nvidia-container-toolkit brings both)")


def _logs(facts: dict[str, Any]) -> Finding:
    restore = "on" if facts.get("LiveRestoreEnabled") else "off: a restart of the engine ends all jobs"
    driver = facts.get("LoggingDriver", "unknown")
    return ok("engine: logs", f"log driver {driver} (jobs' output does not go through it); live-restore is {restore}")


def _capacity(facts: dict[str, Any], patient: Patient) -> Finding:
    name = "engine: capacity"
    cpus, memory = float(facts.get("NCPU") or 0), float(facts.get("MemTotal") or 0) / 2**30
    site = patient.site
    if cpus and (site.cpus > cpus or site.memory > memory + 0.1):
        return warning(
            name,
            f"the site gives out {site.cpus:g} CPUs and {site.memory:g} GiB, the engine's machine has {cpus:g} and "
            f"{memory:.1f} GiB: jobs will be slow, or killed for want of memory",
            "lower c.Toolkit.cpus and c.Toolkit.memory; c.Toolkit.overcommit is for giving out CPUs twice on purpose",
        )
    return ok(name, f"{cpus:g} CPUs and {memory:.1f} GiB, of which jobs get {site.cpus:g} and {site.memory:g} GiB")
