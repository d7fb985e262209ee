"""Local passwords: argon2id (RFC 9106), with the same work for users who do not exist."""

from __future__ import annotations

import threading
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.store.tables import Credential, User

__all__ = ["password_hash_of", "set_password", "verify_password"]

_hasher = PasswordHasher()
#: Each check takes 64 MiB for some tens of milliseconds: more than two at once would be a way to exhaust the machine.
_at_once = threading.BoundedSemaphore(2)


def set_password(session: Session, user_id: str, password: str) -> None:
    """Store the hash of `password` for the user, in place of an older one."""
    credential = session.get(Credential, user_id)
    hashed = _hasher.hash(password)
    if credential is None:
        session.add(Credential(user_id=user_id, password_hash=hashed, changed=clock.now()))
    else:
        credential.password_hash, credential.changed = hashed, clock.now()


def password_hash_of(session: Session, user_name: str) -> str | None:
    """The stored hash, or None for a user who is unknown or has no local password."""
    query = (
        select(Credential.password_hash)
        .join(User, User.id == Credential.user_id)
        .where(User.name == user_name, User.archived.is_(None))
    )
    return session.scalar(query)


def verify_password(stored_hash: str | None, password: str) -> bool:
    """Whether `password` belongs to `stored_hash`. Takes as long for None as for a wrong password."""
    with _at_once:
        try:
            _hasher.verify(stored_hash or _unknown_user_hash(), password)
        except (VerificationError, InvalidHashError):
            return False
    return stored_hash is not None


@cache
def _unknown_user_hash() -> str:
    return _hasher.hash("the password of a user who does not exist")
