"""Where the hub's names of users and the toolkit's meet.

``POST /hub/api/toolkit/users``: the service has the hub make, rename and remove its own record of a user. The hub's own interface
asks for `admin:users` for a rename, and with that one could make oneself anybody. This one takes a scope of its own, and touches
only users without servers.

``POST /hub/api/users/U/tokens``: who signs in for a token says the toolkit's name of the user, for one knows no other.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.apihandlers.users import UserTokenListAPIHandler
from jupyterhub.utils import maybe_future
from tornado.web import HTTPError

from toolkit_hub.configure import USERS_SCOPE
from toolkit_hub.domain.hub_users import is_hub_name, sign_in_name
from toolkit_hub.store import Store

__all__ = ["HubTokensHandler", "HubUsersHandler"]


class HubUsersHandler(APIHandler):
    """Takes ``{"verb": "make" | "rename" | "remove", "name": NAME, "to": NAME}``. Each may be sent twice."""

    async def post(self) -> None:
        if USERS_SCOPE not in self.expanded_scopes:
            raise HTTPError(403, "this is for the toolkit's service")
        wanted = self.get_json_body()
        if not isinstance(wanted, dict) or not isinstance(wanted.get("name"), str):
            raise HTTPError(400, "name whom to change")
        name, to = wanted["name"], wanted.get("to")
        match wanted.get("verb"):
            case "make":
                await self._make(name)
            case "rename" if isinstance(to, str) and to:
                await self._rename(name, to)
            case "remove":
                await self._remove(self.find_user(name))
            case _:
                raise HTTPError(400, "verb is make, rename (with a new name in `to`) or remove")
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps({"done": wanted["verb"]}))

    async def _make(self, name: str) -> None:
        """Only whom the toolkit knows: a name that was given up must not come back."""
        store: Store = self.authenticator.store
        if not await store.read(is_hub_name, name):
            raise HTTPError(404, f"the toolkit has no user who is {name} at the hub")
        self.user_from_username(name)

    async def _rename(self, name: str, to: str) -> None:
        """Tokens and log-ins stay. With both names there, the rename was done before, and somebody came in by the old one
        before the service knew: that newer record goes."""
        user, renamed = self.find_user(name), self.find_user(to)
        if user is None:
            return
        if renamed is not None:
            await self._remove(user)
            return
        self._check_idle(user)
        user.name = to
        self.db.commit()
        self.log.info("toolkit: user %s is %s now", name, to)

    async def _remove(self, user: Any) -> None:
        """Tokens and log-ins go with the user."""
        if user is None:
            return
        self._check_idle(user)
        await maybe_future(self.authenticator.delete_user(user))
        await user.delete_spawners()
        name = user.name
        self.users.delete(user)
        self.log.info("toolkit: user %s is removed", name)

    def _check_idle(self, user: Any) -> None:
        if user.active:
            raise HTTPError(409, f"{user.name} has servers")


class HubTokensHandler(UserTokenListAPIHandler):
    """The hub's own handler, which takes the hub's names only."""

    async def post(self, user_name: str) -> None:
        body = self.get_json_body()
        given = body.get("auth") if isinstance(body, dict) else None
        if self.current_user is None and isinstance(given, dict) and given.get("username") == user_name:
            store: Store = self.authenticator.store
            hub_name = await store.read(sign_in_name, user_name)
            user_name = hub_name or user_name
        await super().post(user_name)
