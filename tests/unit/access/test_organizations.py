"""The organization: its name, and who may change it."""

from __future__ import annotations

from tests.unit.access.house import House
from toolkit_client.access_models import RenamePatch
from toolkit_client.errors import Conflict, NotFound, PermissionDenied
from toolkit_hub import clock
from toolkit_hub.domain import accounts, defaults, organizations, users


def test_everybody_sees_their_organization(house: House) -> None:
    found = house.do("alice", organizations.get_organization)
    assert (found.name, found.urn) == ("acme", found.id)
    assert house.do("alice", organizations.get_organization, "acme") == found
    assert house.do("alice", organizations.get_organization, found.id) == found
    house.refused(NotFound, "alice", organizations.get_organization, "other")


def test_a_rename_changes_every_full_name_and_no_right(house: House) -> None:
    house.account("alice", "acme.alice.x")
    before = house.do("alice", accounts.get_account, "acme.alice.x")
    renamed = house.do("admin", organizations.change_organization, "acme", RenamePatch(name="apex"))
    assert renamed.name == "apex"
    after = house.do("alice", accounts.get_account, "apex.alice.x")
    assert (after.id, after.urn, after.parent) == (before.id, before.urn, "apex.alice")
    assert house.do("alice", users.get_user, "apex.alice").account == "apex.alice"
    house.refused(NotFound, "alice", accounts.get_account, "acme.alice.x")
    house.refused(PermissionDenied, "alice", organizations.change_organization, "apex", RenamePatch(name="mine"))


def test_another_organization_is_another_world(house: House) -> None:
    with house.store.begin() as session:
        other = defaults.add_organization(session, "other", "test")
        account = defaults.add_account(session, other, None, "alice", "test")
        assert other.created <= clock.now()
    house.refused(Conflict, "admin", organizations.change_organization, "acme", RenamePatch(name="other"))
    for reference in (account.id, "other.alice"):
        house.refused(NotFound, "admin", accounts.get_account, reference)
    assert not house.allowed("admin", "account:get", account.urn)
    assert "other.alice" not in [found.full_name for found in house.do("admin", accounts.list_accounts)]
