"""`Idempotency-Key`: a POST that is sent again gives what it made the first time, and does nothing twice."""

from __future__ import annotations

import hashlib

from sqlalchemy.orm import Session

from toolkit_client.errors import Conflict
from toolkit_hub import clock
from toolkit_hub.domain.access import Actor
from toolkit_hub.store.tables import IdempotencyKey

__all__ = ["remember", "replayed"]


def replayed(session: Session, actor: Actor, key: str | None, request: str) -> str | None:
    """Id of what this key made before. `request` tells the request from others; it is kept as a hash, so no password in it.

    Raises `Conflict` when the key came with another request.
    """
    if not key:
        return None
    used = session.get(IdempotencyKey, (actor.user_id, key))
    if used is None:
        return None
    if used.request_hash != _hash(request):
        raise Conflict("this Idempotency-Key was used for another request", "send a new key with a new request")
    return used.resource_id


def remember(session: Session, actor: Actor, key: str | None, request: str, resource_id: str) -> None:
    """In the transaction that makes the thing: either both are stored or neither."""
    if key:
        session.add(
            IdempotencyKey(
                user_id=actor.user_id,
                key=key,
                request_hash=_hash(request),
                resource_id=resource_id,
                created=clock.now(),
            )
        )


def _hash(request: str) -> str:
    return hashlib.sha256(request.encode()).hexdigest()
