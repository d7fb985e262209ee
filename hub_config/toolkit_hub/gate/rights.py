"""What a visitor may do, and what the audit log keeps of it: refusals, keys that count no more, the use of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from sqlalchemy.orm import Session

from toolkit_client.errors import NotSignedIn, ServiceUnavailable
from toolkit_hub.domain.access import Actor, DeadKey, Hidden, Refused, actor_by_key, authorise
from toolkit_hub.domain.afterwards import Afterwards
from toolkit_hub.gate.identity import Claim, bearer_token
from toolkit_hub.gate.places import ServerPath, View
from toolkit_hub.gate.views import Views
from toolkit_hub.gate.visit import Visit
from toolkit_hub.store import Store

__all__ = ["Rights"]


class Rights:
    """Looks at jobs for visitors."""

    def __init__(self, store: Store, views: Views, afterwards: Afterwards) -> None:
        self._store = store
        self._views = views
        self._afterwards = afterwards

    async def look(
        self, visit: Visit, place: str | ServerPath, claims: Sequence[Claim] = (), path: ServerPath | None = None
    ) -> View | None:
        """See `toolkit_hub.gate.places.look`; the visit is named after whoever it finds."""
        try:
            view = await self._views.look(place, claims, path)
        except DeadKey as error:
            self._afterwards.dead_key(error, visit.id, visit.address, visit.what)
            raise
        if view is not None and view.visitor is not None:
            visit.named(view.visitor.shown_name)
            if view.visitor.key_id:
                self._afterwards.used(view.visitor.key_id)
        return view

    def opened(self, visit: Visit, view: View, stream: str, port: int) -> None:
        """Note for the audit log that the visitor has a connection into the job: to run a command, or to a port. What passes
        there is not looked at, least of all a command's words."""
        assert view.visitor is not None
        actor = replace(view.visitor, request_id=visit.id, address=visit.address)
        self._afterwards.opened(actor, "job:exec", view.urn, {"stream": stream, **({"port": port} if port else {})})

    async def authorise_key(self, visit: Visit, action: str) -> None:
        """Whether the visitor's role key may do something with the organization as a whole.

        Raises `NotSignedIn` without a key that counts, `Refused` or `Hidden` for one that may not.
        """
        token = bearer_token(visit.request.headers)
        try:
            actor = await self._store.read(_actor_of, token or "", visit)
            if actor is None:
                raise NotSignedIn(
                    "this address wants a role's key", f"send `Authorization: Bearer tkr_…` of a role that has {action}"
                )
            visit.named(actor.shown_name)
            await self._store.read(authorise, actor, action, actor.organization_id)
        except DeadKey as error:
            self._afterwards.dead_key(error, visit.id, visit.address, visit.what)
            raise
        except (Refused, Hidden) as error:
            assert actor is not None
            self._afterwards.refused(actor, error.action, error.urn, error.reason, visit.what)
            raise
        if actor.key_id:
            self._afterwards.used(actor.key_id)

    async def refuse(self, visit: Visit, view: View, action: str) -> NoReturn:
        """Say that the visitor may not do it: `Refused`, or `Hidden` where he may not even see the job."""
        assert view.visitor is not None
        actor = replace(view.visitor, request_id=visit.id, address=visit.address)
        try:
            await self._store.read(authorise, actor, action, view.urn)
        except (Refused, Hidden) as error:
            self._afterwards.refused(actor, error.action, error.urn, error.reason, visit.what)
            raise
        raise ServiceUnavailable("your rights have changed in this very moment", "try again")


def _actor_of(session: Session, token: str, visit: Visit) -> Actor | None:
    return actor_by_key(session, token, visit.id, visit.address)
