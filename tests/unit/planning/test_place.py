"""On which machine and devices a run starts: by example, and against trying everything."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings

from tests.support.queues import NOW, fits, node, running, site, states, waiting
from toolkit_hub.queue.planning import Capacity, Device, Node, QueueState, Request, RunningRun, impossible, plan


def place(there: Capacity, gpu: int = 0, held: tuple[RunningRun, ...] = (), **asks: object) -> tuple[str, str] | None:
    decided = plan(QueueState(there, NOW, (waiting("w", gpu, **asks),), held))
    return next(((start.node, "".join(start.devices)) for start in decided.starts), None)


def test_the_smallest_memory_that_suffices() -> None:
    there = site(node("n0", "AB"), node("n1", "cd"))
    assert place(there, 1) == ("n1", "c")
    assert place(there, 1, gpu_mem=41) == ("n0", "A")
    assert place(site(node("n0", "aB")), 2) == ("n0", "aB")


def test_whole_machines_stay_free_for_large_jobs() -> None:
    there = site(node("n0", "abcd"), node("n1", "efgh"))
    assert place(there, 1, (running("r", "ef", node="n1"),)) == ("n1", "g")
    assert place(there, 4, (running("r", "ef", node="n1"),)) == ("n0", "abcd")


def test_devices_of_one_kind_rather_than_smaller_ones_of_two() -> None:
    assert place(site(node("n0", "aBC")), 2) == ("n0", "BC")
    assert place(site(node("n0", "aB"), node("n1", "CD")), 2) == ("n1", "CD")


def test_without_gpus_the_machine_with_fewest_free_ones() -> None:
    there = site(node("n0", "ab", cpu=4), node("n1", cpu=16), node("n2", "c", cpu=4))
    assert place(there) == ("n1", "")
    assert place(there, cpu=1.0, held=(running("r", cpu=16.0, node="n1"),)) == ("n2", "")


@pytest.mark.parametrize(
    ("asks", "taken"),
    [
        ({"gpu_model": "h100"}, "b"),
        ({"gpu_model": "!a100"}, "b"),
        ({"gpu_cuda_version": 8.5}, "b"),
        ({"gpu_tensor_cores": True}, "a"),
        ({"gpu_tensor_cores": False}, "u"),
        ({"gpu_mem": 1.0}, "a"),
        ({"gpu_mem": 80.5}, None),
    ],
)
def test_what_is_unknown_satisfies_no_demand(asks: dict[str, object], taken: str | None) -> None:
    devices = (
        Device("a", "SIMULATED A100", 40.0, 8.0, None, True),
        Device("b", "SIMULATED H100", 80.0, 9.0),
        Device("u", "SIMULATED A100 of another make"),
    )
    found = place(Capacity((Node("n0", 8, 32, devices),)), 1, **asks)
    assert (found and found[1]) == taken


@settings(max_examples=200, deadline=None)
@given(states(most=1))
def test_no_other_place_would_be_better(state: QueueState) -> None:
    """Every machine and every set of devices is tried: the fewest kinds, then the least memory, then the fullest machine."""
    for run in state.waiting:
        decided = plan(QueueState(state.capacity, NOW, (run,), state.running))
        held = {uuid for other in state.running for uuid in other.devices}
        costs = {}
        for machine in state.capacity.nodes:
            here = [other for other in state.running if other.node == machine.name]
            if not fits(run.request, machine, here):
                continue
            free = [device for device in machine.usable if device.uuid not in held]
            suitable = [device for device in free if run.request.takes(device)]
            left = machine.cpu - sum(other.cpu for other in here), machine.mem - sum(other.mem for other in here)
            for chosen in itertools.combinations(suitable, run.request.gpu):
                kinds = len({(d.model, d.mem, d.capability, d.tensor_cores) for d in chosen})
                memory = sum(device.mem or 0 for device in chosen)
                uuids = frozenset(device.uuid for device in chosen)
                costs[machine.name, uuids] = (kinds > 1, memory, len(free), *left)
        found = [(start.node, frozenset(start.devices)) for start in decided.starts]
        assert bool(found) == bool(costs)
        assert not found or costs[found[0]] == min(costs.values())


@pytest.mark.parametrize(
    ("request_", "reason", "nearest"),
    [
        (Request(99, 1), "it asks for 99 CPUs, and no machine has more than 8", Request(8, 1)),
        (Request(1, 64), "it asks for 64 GiB of memory, and no machine has more than 32 GiB", Request(1, 32)),
        (
            Request(1, 1, 3),
            "it asks for 3 GPUs on one machine, and no machine has more than 2 of the kind",
            Request(1, 1, 2),
        ),
        (
            Request(1, 1, 1, gpu_model="h100"),
            "it asks for 1 GPU of a kind that this site does not have; it has SIMULATED A100 (40 GiB)",
            Request(1, 1, 1),
        ),
        (
            Request(1, 1, 2, gpu_mem=80),
            "it asks for 2 GPUs of a kind that this site does not have; it has SIMULATED A100 (40 GiB)",
            Request(1, 1, 2, gpu_mem=40),
        ),
        (Request(8, 1, 1), "no machine has all that it asks for at once", Request(4, 1, 1)),
    ],
)
def test_what_can_never_start_is_told_with_the_nearest_that_can(
    request_: Request, reason: str, nearest: Request
) -> None:
    there = site(node("n0", "ab", cpu=4), node("n1", cpu=8))
    found = impossible(request_, there)
    assert found is not None
    assert (found.reason, found.nearest) == (reason, nearest)
    assert impossible(nearest, there) is None


def test_a_site_without_machines_or_gpus() -> None:
    none = impossible(Request(1, 1), site())
    assert none is not None
    assert none.nearest is None
    no_gpu = impossible(Request(1, 1, 1), site(node("n0")))
    assert no_gpu is not None
    assert (no_gpu.reason, no_gpu.nearest) == ("it asks for 1 GPU, and this site has none", Request(1, 1))


@settings(max_examples=200, deadline=None)
@given(states())
def test_the_nearest_request_is_possible(state: QueueState) -> None:
    for run in state.waiting:
        found = impossible(run.request, state.capacity)
        assert found is None or found.nearest is None or impossible(found.nearest, state.capacity) is None
