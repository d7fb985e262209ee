"""URNs for people: with names in the place of ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub.store.access_tables import Data, Role, Team
from toolkit_hub.store.tables import Account, Job, Organization, User

__all__ = ["named"]


def named(session: Session, organization: Organization, urns: Iterable[str]) -> dict[str, str]:
    """URN pattern by ids → the same with names, to be read; an id that means nothing any more stays."""
    wanted = {urn: urn.split(":") for urn in urns}
    ids: dict[str, set[str]] = defaultdict(set)
    for parts in wanted.values():
        for kind, id_ in zip(parts[1::2], parts[2::2], strict=False):
            ids[kind].add(id_)
    names = {organization.id: organization.name}
    columns = {
        "account": (Account.id, Account.full_name),
        "user": (User.id, User.name),
        "team": (Team.id, Team.name),
        "role": (Role.id, Role.name),
        "job": (Job.id, Job.name),
        "data": (Data.id, Data.name),
    }
    for kind, (id_column, name_column) in columns.items():
        if ids[kind]:
            found = session.execute(select(id_column, name_column).where(id_column.in_(ids[kind])))
            names.update({row[0]: row[1] for row in found if row[1]})
    return {urn: ":".join(names.get(part, part) for part in parts) for urn, parts in wanted.items()}
