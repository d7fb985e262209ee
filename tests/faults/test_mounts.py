"""The hub dies while it holds a part of data for a container that is just being started."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.conftest import World
from tests.faults.scenarios import PATIENCE_S
from tests.support.fault_plan import Point
from tests.support.invariants import check_invariants, wait_for_rest
from tests.support.running_site import wait_until

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("fault", ["kill-before", "kill-after", "timeout"])
def test_a_part_of_data_is_mounted_whatever_happens_to_the_start(world: World, fault: str) -> None:
    """The next hub makes the container anew: what the dead one held is not what stands at that path now."""
    site, name = world.site, f"images-{uuid4().hex[:8]}"
    with site.client() as client:
        client.data.new(name)
    first = site.submit("mkdir", "-p", "/d/sub/deep", data=[f"{name}:/d"])
    site.wait_state(first.id, "SUCCEEDED")
    wait_for_rest(site)
    with world.plan.failing(Point("hub engine POST /containers/ID/start", 1), fault):
        job = site.submit("bash", "-c", "ls /d; echo x > /d/deep/x; stat -c %u /d", data=[f"{name}/sub:/d"])
        wait_until(lambda: world.plan.fired, "the fault", PATIENCE_S)
        site.wait_state(job.id, "SUCCEEDED", timeout=PATIENCE_S)
    assert site.log_of(job.id) == b"deep\n13011\n"
    wait_until(site.is_ready, "all units to answer", PATIENCE_S)
    wait_for_rest(site)
    check_invariants(site)
    # What is held is let go at once, or by the next hub that holds something.
    again = site.submit("ls", "/d", data=[f"{name}/sub/deep:/d"])
    site.wait_state(again.id, "SUCCEEDED")
    assert site.log_of(again.id) == b"x\n"
    held = f"/run/toolkit-mounts/{site.settings.instance_id}/"
    assert held not in Path("/proc/self/mounts").read_text()
