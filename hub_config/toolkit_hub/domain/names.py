"""Names of accounts, teams, users, roles and data: what they may look like, and that each is taken once."""

from __future__ import annotations

import re
from datetime import datetime

from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_client.job_spec import JOB_NAME
from toolkit_hub import clock

__all__ = ["MAX_FULL_NAME", "check_expiry", "check_name", "split_name", "taken"]

#: Characters of a full name, its dots included.
MAX_FULL_NAME = 512

_DATA_NAME = re.compile(r"\.?[a-z0-9_-]{1,64}")


def check_name(kind: str, name: str) -> None:
    """Raises `InvalidRequest` for what is no name of this kind (``account``, ``team``, ``user``, ``role`` or ``data``)."""
    fits = _DATA_NAME.fullmatch(name) if kind == "data" else re.fullmatch(JOB_NAME, name)
    if fits:
        return
    shape = "1 to 64 of a-z, 0-9, `_` and `-`"
    more = ", perhaps after a leading dot" if kind == "data" else ", and begins with a letter or a digit"
    raise InvalidRequest(f"{name[:80]!r} is no name: the name of {_a(kind)} is {shape}{more}", "choose another name")


def split_name(full_name: str) -> tuple[str, str]:
    """What comes before the last dot, and the bare name: ``acme.joe.x`` → ``acme.joe``, ``x``. A leading dot belongs to the
    name (``acme.joe..ssh`` → ``.ssh``)."""
    head, _, name = full_name.rpartition(".")
    if head.endswith("."):
        return head[:-1], f".{name}"
    if not head and full_name.startswith("."):
        return "", full_name
    return head, name


def taken(kind: str, full_name: str) -> Conflict:
    return Conflict(
        f"there is {_a(kind)} {full_name} already", "choose another name; archiving the other frees its name"
    )


def check_expiry(expires: datetime | None) -> None:
    """Raises `InvalidRequest` for an end that has no zone or is past."""
    if expires is None:
        return
    if expires.tzinfo is None:
        raise InvalidRequest(f"the expiry {expires} has no time zone", "write it as 2030-01-31T12:00:00Z")
    if expires <= clock.now():
        raise InvalidRequest(f"the expiry {expires:%Y-%m-%dT%H:%M:%SZ} is past", "give a time to come, or none at all")


def _a(kind: str) -> str:
    return kind if kind == "data" else f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"
