"""The ledger of GPUs: which run holds which device. Taken and given back in the transaction that changes the run's state.

It says what was given away, not what there is: that is the inventory's. A device that has vanished stays held until its run ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.store.tables import DeviceHold, Run

__all__ = ["give_back", "held_devices", "holders", "take"]


def take(session: Session, run: Run, devices: Sequence[str]) -> None:
    """Give the devices, by UUID, to the run. Raises `IntegrityError` when another run holds one of them."""
    run.devices = list(devices)
    if devices:
        session.add_all(DeviceHold(device=device, run_id=run.id, since=clock.now()) for device in devices)
        session.flush()


def give_back(session: Session, run_id: str) -> None:
    """End the run's holds, if it has any."""
    session.execute(delete(DeviceHold).where(DeviceHold.run_id == run_id))


def held_devices(session: Session) -> dict[str, list[str]]:
    """Run id → devices that it holds."""
    found: dict[str, list[str]] = {}
    for device, run_id in holders(session).items():
        found.setdefault(run_id, []).append(device)
    return found


def holders(session: Session) -> dict[str, str]:
    """Device → id of the run that holds it."""
    return dict(session.execute(select(DeviceHold.device, DeviceHold.run_id)).all())
