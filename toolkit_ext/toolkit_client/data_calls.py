"""The requests of the REST API about what data holds and takes: versions, sizes, quotas.

`ref` names data by id, full name, or bare name in the caller's home account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from toolkit_client.call import Call, body_of, make_call, new_key, page_reader, path_of, reader

if TYPE_CHECKING:
    from toolkit_client.data_models import Commit, DataSize, DataVersion, NewVersion, Quota, QuotaPatch, RoomQuotaPatch
    from toolkit_client.models import Page

__all__ = [
    "RoomHolder",
    "commit_data",
    "get_quota",
    "get_room_quota",
    "get_size",
    "get_version",
    "list_quotas",
    "list_versions",
    "set_quota",
    "set_room_quota",
]

#: Who besides accounts may have a quota.
RoomHolder = Literal["user", "organization"]

_MODELS = "data_models"


def commit_data(
    ref: str, version: NewVersion | Mapping[str, Any] | None = None, idempotency_key: str | None = None
) -> Call[Commit]:
    """`version` has the JSON keys ``message`` and ``allowEmpty``.

    While the answer's state is ``running``, the same call, with its key, is to be sent again: each waits for some seconds.
    """
    key = idempotency_key or new_key()
    body = {} if version is None else body_of(version)
    return make_call(
        "POST", path_of("data", ref, "versions"), reader("Commit", _MODELS), json=body, idempotency_key=key
    )


def list_versions(ref: str, *, limit: int | None = None, cursor: str | None = None) -> Call[Page[DataVersion]]:
    """One page of them, the newest first."""
    read, params = page_reader("DataVersion", _MODELS), {"limit": limit, "cursor": cursor}
    return make_call("GET", path_of("data", ref, "versions"), read, params=params)


def get_version(ref: str, version: int | str = "latest") -> Call[DataVersion]:
    return make_call("GET", path_of("data", ref, "versions", str(version)), reader("DataVersion", _MODELS))


def get_size(ref: str, *, measure: bool = False) -> Call[DataSize]:
    """What it takes as of the last look at it; `measure`: look now."""
    return make_call(
        "GET", path_of("data", ref, "size"), reader("DataSize", _MODELS), params={"measure": measure or None}
    )


def list_quotas() -> Call[Page[Quota]]:
    """Of the accounts that the caller may see, and those that users and the organization have."""
    return make_call("GET", "/quotas", page_reader("Quota", _MODELS))


def get_quota(account: str) -> Call[Quota]:
    return make_call("GET", path_of("quotas", account), reader("Quota", _MODELS))


def set_quota(account: str, limits: QuotaPatch | Mapping[str, Any]) -> Call[Quota]:
    """`limits` has the JSON keys ``dataLimit`` (bytes), ``filesLimit`` and ``room``; null takes a limit away."""
    return make_call("PATCH", path_of("quotas", account), reader("Quota", _MODELS), json=body_of(limits))


def get_room_quota(holder: RoomHolder, ref: str) -> Call[Quota]:
    """`ref` names the user, or the organization."""
    return make_call("GET", path_of("quotas", holder, ref), reader("Quota", _MODELS))


def set_room_quota(holder: RoomHolder, ref: str, limits: RoomQuotaPatch | Mapping[str, Any]) -> Call[Quota]:
    """`limits` has the JSON key ``room``; null in it takes a limit away."""
    return make_call("PATCH", path_of("quotas", holder, ref), reader("Quota", _MODELS), json=body_of(limits))
