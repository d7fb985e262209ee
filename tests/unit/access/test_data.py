"""Data as rows: names, rights, lists."""

from __future__ import annotations

from tests.unit.access.house import House
from toolkit_client.access_models import NewAccount, NewData, RenamePatch
from toolkit_client.errors import Conflict, InvalidRequest, NotFound, PermissionDenied
from toolkit_hub.domain import accounts, data


def test_names_of_data(house: House) -> None:
    vscode = house.do("alice", data.create_data, NewData(name="vscode"))[0]
    assert (vscode.name, vscode.full_name, vscode.account) == ("vscode", "acme.alice.vscode", "acme.alice")
    assert vscode.creator == "acme.alice"
    hidden = house.do("alice", data.create_data, NewData(name="acme.alice..ssh"))[0]
    assert (hidden.name, hidden.full_name) == (".ssh", "acme.alice..ssh")
    assert house.do("alice", data.create_data, NewData(name=".cache"))[0].name == ".cache"
    house.account("alice", "acme.alice.x")
    inner = house.do("alice", data.create_data, NewData(name="images", account="acme.alice.x"))[0]
    for reference in (inner.id, "acme.alice.x.images"):
        assert house.do("alice", data.get_data, reference) == inner
    house.refused(Conflict, "alice", data.create_data, NewData(name="vscode"))
    unnamed = house.do("alice", data.create_data, NewData(name="acme.alice.x."))[0]
    assert (unnamed.account, unnamed.name) == ("acme.alice.x", f"data-{unnamed.id[:8]}")
    for name in ("a" * 65, "."):
        house.refused(InvalidRequest, "alice", data.create_data, NewData(name=name))
    house.refused(NotFound, "alice", data.create_data, NewData(name="acme.alice...x"))
    house.refused(InvalidRequest, "alice", data.create_data, NewData(name="acme.alice.y", account="acme.alice"))


def test_who_sees_and_changes_data(house: House) -> None:
    made = house.do("alice", data.create_data, NewData(name="images"))[0]
    house.refused(NotFound, "bob", data.get_data, made.id)
    house.refused(NotFound, "bob", data.create_data, NewData(name="acme.alice.mine"))
    role = house.role("alice", "acme.alice.readers", f"data:get@{made.urn}")
    house.join("alice", role, "bob")
    assert house.do("bob", data.list_data) == [made]
    assert house.do("bob", data.list_data, "acme.alice") == [made]
    house.refused(PermissionDenied, "bob", data.change_data, made.id, RenamePatch(name="pictures"))
    house.refused(PermissionDenied, "bob", data.archive_data, made.id)
    assert (
        house.do("alice", data.change_data, "images", RenamePatch(name="pictures")).full_name == "acme.alice.pictures"
    )
    assert house.do("bob", data.get_data, "acme.alice.pictures").id == made.id


def test_archived_data_is_gone_and_its_name_free(house: House) -> None:
    made = house.do("alice", data.create_data, NewData(name="images"))[0]
    assert house.do("alice", data.archive_data, "images").archived is not None
    assert house.do("alice", data.list_data) == []
    house.refused(NotFound, "alice", data.get_data, made.id)
    assert house.do("alice", data.create_data, NewData(name="images"))[0].id != made.id


def test_lists_by_account(house: House) -> None:
    house.do("alice", accounts.create_account, NewAccount(name="acme.alice.x"))
    for name in ("b", "a", "acme.alice.x.c"):
        house.do("alice", data.create_data, NewData(name=name))
    assert [one.full_name for one in house.do("alice", data.list_data)] == [
        "acme.alice.a",
        "acme.alice.b",
        "acme.alice.x.c",
    ]
    assert [one.name for one in house.do("alice", data.list_data, "acme.alice.x")] == ["c"]
    house.refused(NotFound, "bob", data.list_data, "acme.alice")
