"""Organizations: the tenants. A site has one from the start."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import Organization as WireOrganization
from toolkit_client.access_models import RenamePatch
from toolkit_hub.domain import resolve
from toolkit_hub.domain.access import Actor, authorise
from toolkit_hub.domain.accounts import follow_names
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.names import taken
from toolkit_hub.store.tables import Account, Organization

__all__ = ["change_organization", "get_organization", "organization_to_wire"]


def get_organization(session: Session, actor: Actor, ref: str | None = None) -> WireOrganization:
    """One organization; None: the actor's own."""
    organization = resolve.find_organization(session, actor, ref or actor.organization_id)
    authorise(session, actor, "organization:get", organization.urn)
    return organization_to_wire(organization)


def change_organization(session: Session, actor: Actor, ref: str, patch: RenamePatch) -> WireOrganization:
    """Rename it: every full name in it begins with the new name from then on. Ids, and so every right, stay."""
    organization = resolve.find_organization(session, actor, ref)
    authorise(session, actor, "organization:set", organization.urn)
    if patch.name is not None and patch.name != organization.name:
        if session.scalar(select(Organization.id).where(Organization.name == patch.name)) is not None:
            raise taken("organization", patch.name)
        before = organization.name
        tops = select(Account).where(Account.organization_id == organization.id, Account.parent_id.is_(None))
        for account in session.scalars(tops).all():
            follow_names(session, account.id, before, patch.name)
        organization.name = patch.name
        session.flush()
        tell(
            session, actor, "organization:set", "organization.changed", organization.urn, name=patch.name, before=before
        )
    return organization_to_wire(organization)


def organization_to_wire(organization: Organization) -> WireOrganization:
    return WireOrganization(
        id=organization.id, urn=organization.urn, name=organization.name, created=organization.created
    )
