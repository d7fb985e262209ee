"""Who may do what to the content of data, and what is told of it. The files themselves are moved by the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.transfer.paths import told_path
from toolkit_hub.domain import resolve
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.data_versions import find_version
from toolkit_hub.store.data_tables import DataVersion

__all__ = ["Place", "open_content", "record_change"]


@dataclass(frozen=True)
class Place:
    """Data whose content somebody may use. `version_id` is that of a version, `empty`, or None for the live content."""

    data_id: str
    urn: str
    name: str
    full_name: str
    account_id: str
    version_id: str | None = None
    version: str = ""
    #: The newest version, which the live content is compared with.
    newest_id: str | None = None


def open_content(session: Session, actor: Actor, action: str, ref: str, label: str = "") -> Place:
    """The data that `ref` means, if `action` on it is allowed to the actor; `label` is a version of it.

    Raises `NotFound` for data, or a version, that is not there, `PermissionDenied`.
    """
    data = resolve.find_data(session, actor, ref)
    authorise(session, actor, action, data.urn)
    newest = session.scalar(
        select(DataVersion.id).where(DataVersion.data_id == data.id).order_by(DataVersion.number.desc()).limit(1)
    )
    version = find_version(session, data, label) if label else None
    version_id = version.id if isinstance(version, DataVersion) else version
    full_name = f"{data.account.full_name}.{data.name}"
    return Place(data.id, data.urn, data.name, full_name, data.account_id, version_id, label, newest)


def record_change(session: Session, actor: Actor, type_: str, place: Place, path: bytes, facts: dict[str, Any]) -> None:
    """Tell that content was changed: `data.pushed`, `data.removed`, … with the sums."""
    tell(session, actor, "data:set", type_, place.urn, **{"path": told_path(path)[:300], **facts})
