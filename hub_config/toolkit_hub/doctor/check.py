"""What a check is, and the visit that runs them all.

A check is a plain function of the patient that returns findings; it may block, for it runs in a thread of its own. One that
takes too long, or breaks, is a finding itself: the doctor answers whatever state the site is in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version

from toolkit_client.admin_models import Checkup, Finding, FindingState
from toolkit_client.errors import ToolkitError
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.queue.planning.capacity import Device
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable

__all__ = ["Check", "Patient", "examine_with", "ok", "problem", "warning"]

#: Seconds that one check may take. Checks run side by side, so this is about how long the doctor takes at most.
CHECK_TIMEOUT_S = 20.0

#: Time of day and monotonic clock, in seconds, when this module was loaded: about when its process began.
PROCESS_BEGAN = (clock.now().timestamp(), clock.monotonic())

Examine = Callable[["Patient"], Iterable[Finding]]


@dataclass(frozen=True)
class Patient:
    """The site that is examined, and what both clocks said when its process began. `devices`: the GPUs as the service knows them;
    None where another process asks."""

    site: Toolkit
    store: Store
    engine: Engine
    began: tuple[float, float] = PROCESS_BEGAN
    devices: Sequence[Device] | None = None


@dataclass(frozen=True)
class Check:
    """A named function. Its findings carry its name, or one that begins with it."""

    name: str
    examine: Examine


def ok(name: str, message: str) -> Finding:
    return Finding(check=name, state=FindingState.OK, message=message)


def warning(name: str, message: str, hint: str) -> Finding:
    return Finding(check=name, state=FindingState.WARNING, message=message, hint=hint)


def problem(name: str, message: str, hint: str) -> Finding:
    return Finding(check=name, state=FindingState.PROBLEM, message=message, hint=hint)


async def examine_with(patient: Patient, checks: Iterable[Check]) -> Checkup:
    """Run the checks side by side, and put their findings together in order."""
    chosen = list(checks)
    # A pool of its own: a check that hangs must not hold a thread that the process needs elsewhere.
    pool = ThreadPoolExecutor(max(1, len(chosen)), thread_name_prefix="doctor")
    try:
        found = await asyncio.gather(*(_run(pool, patient, item) for item in chosen))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    items = [finding for findings in found for finding in findings]
    return Checkup(
        state=_worst(item.state for item in items), version=version("jupyterhub-toolkit"), time=clock.now(), items=items
    )


async def _run(pool: ThreadPoolExecutor, patient: Patient, item: Check) -> list[Finding]:
    work = asyncio.get_running_loop().run_in_executor(pool, lambda: list(item.examine(patient)))
    try:
        return await asyncio.wait_for(work, CHECK_TIMEOUT_S)
    except TimeoutError:
        text = f"no result within {CHECK_TIMEOUT_S:.0f} s: what it asks hangs"
        return [problem(item.name, text, "look at the other findings, and at the machine's load and disks")]
    except ToolkitError as error:
        return [problem(item.name, error.message, error.hint or "see the log of the service")]
    except (EngineUnavailable, EngineRefused) as error:
        return [problem(item.name, str(error), "see the finding `engine`")]
    except Exception as error:  # whatever state the site is in, the other checks must be told
        text = f"the check itself failed: {type(error).__name__}: {error}"
        return [problem(item.name, text[:500], "please report it; the other checks are not touched by it")]


def _worst(states: Iterable[FindingState]) -> FindingState:
    order = list(FindingState)
    return max(states, key=order.index, default=FindingState.OK)
