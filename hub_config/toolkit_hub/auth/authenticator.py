"""Log-in with a local password: the hub's page and ``POST /hub/api/users/U/tokens`` both come through `authenticate()`."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LogoutHandler
from tornado.web import RedirectHandler
from traitlets import Unicode

from toolkit_hub.auth.hub_users import HubTokensHandler, HubUsersHandler
from toolkit_hub.domain.access import actor_by_name
from toolkit_hub.domain.gate_sessions import end_sessions
from toolkit_hub.domain.hub_users import sign_in_name, signs_in
from toolkit_hub.domain.passwords import password_hash_of, verify_password
from toolkit_hub.store import Store

__all__ = ["PasswordAuthenticator"]

SERVICE_PAGE = "/services/toolkit/"
#: Seconds after which a user whom only the hub knows is looked up once more: the two may differ for a moment in a rename.
RENAME_WAIT_S = 0.5


class PasswordAuthenticator(Authenticator):
    """Users and argon2id hashes come from the toolkit's database, which the hub reads and never writes."""

    database_url = Unicode(help="SQLAlchemy URL of the toolkit's database; `configure()` sets it.").tag(config=True)

    @cached_property
    def store(self) -> Store:
        return Store(self.database_url)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """The hub's name of the user when the password is right. Takes as long for users who do not exist."""
        name, password = data.get("username", ""), data.get("password", "")
        stored = await self.store.read(password_hash_of, name)
        if not await asyncio.to_thread(verify_password, stored, password):
            return None
        hub_name = await self.store.read(sign_in_name, name)
        if hub_name is None:
            return None
        # The hub makes its own row of a user at the first log-in by its page, but not at one for a token.
        handler.user_from_username(hub_name)
        if await self.store.read(sign_in_name, name) != hub_name:
            return None  # renamed at this very moment: nobody may come in by a name that is to be another's
        # The toolkit's own policy knows administrators; at the hub they are users like all others, for an administrator
        # of the hub could read every user's servers and act as them.
        return {"name": hub_name, "admin": False}

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """Whether who is signed in at the hub may stay so: not who is disabled, locked or archived meanwhile."""
        if await self.store.read(signs_in, user.name):
            return True
        await asyncio.sleep(RENAME_WAIT_S)
        return await self.store.read(signs_in, user.name)

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """The hub's pages about servers lead to the toolkit's, where servers are queued."""
        return [
            *super().get_handlers(app),
            ("/api/toolkit/users", HubUsersHandler),
            (r"/api/users/([^/]+)/tokens", HubTokensHandler),
            ("/logout", EndingLogoutHandler),
            ("/home", RedirectHandler, {"url": SERVICE_PAGE, "permanent": False}),
            (r"/spawn(?:/[^/]+){0,2}", RedirectHandler, {"url": f"{SERVICE_PAGE}?start=1", "permanent": False}),
        ]


class EndingLogoutHandler(LogoutHandler):
    """A log-out at the hub ends the user's sessions at the gate, too."""

    async def handle_logout(self) -> None:
        user = self.current_user
        if user is not None:
            store: Store = self.authenticator.store
            actor = await store.read(actor_by_name, user.name)
            if actor is not None:
                await store.write(end_sessions, actor.user_id)
