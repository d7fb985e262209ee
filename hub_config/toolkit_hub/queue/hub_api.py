"""The hub, as the service uses it: start and remove named servers, and mirror users (JupyterHub REST API)."""

from __future__ import annotations

from urllib.parse import quote

import httpx

__all__ = ["HubApi", "HubRefused", "HubUnavailable"]

#: A start answers after at most `slow_spawn_timeout` (10 s), a stop after `slow_stop_timeout` (10 s).
CALL_TIMEOUT_S = 30


class HubUnavailable(Exception):
    """The hub did not answer, or is just starting."""


class HubRefused(Exception):
    """The hub answered, and said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the hub answered {status}: {message}")
        self.status = status
        self.message = message


class HubApi:
    """Calls with the service's own token."""

    def __init__(self, hub_url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{hub_url}/hub/api",
            headers={"Authorization": f"token {token}"},
            timeout=CALL_TIMEOUT_S,
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        )

    async def start_server(self, owner: str, server: str, title: str) -> bool:
        """Ask for the server; returns when it is up or on its way. False: it was up already.

        Raises `HubRefused` when the spawner refused it, `HubUnavailable` when there is no answer.
        """
        reply = await self._call("POST", owner, server, {"display_name": title, "user_options": {}})
        if reply.status_code in (201, 202):
            return True
        message = _message(reply)
        if reply.status_code == httpx.codes.BAD_REQUEST and "already running" in message:
            return False
        if reply.status_code == httpx.codes.BAD_REQUEST and "is pending" in message:
            raise HubUnavailable(f"the hub is busy with this server: {message}")
        raise HubRefused(reply.status_code, message)

    async def remove_server(self, owner: str, server: str) -> bool:
        """Stop the server and forget it; returns False while the hub is still at it. One that is unknown is fine."""
        reply = await self._call("DELETE", owner, server, {"remove": True})
        if reply.status_code in (204, 404):
            return True
        if reply.status_code in (202, 400):
            return False
        raise HubRefused(reply.status_code, _message(reply))

    async def has_server(self, owner: str, server: str) -> bool:
        """Whether the hub has that server up or pending."""
        reply = await self._call("GET", owner, server)
        if reply.status_code == httpx.codes.NOT_FOUND:
            return False
        if reply.status_code != httpx.codes.OK:
            raise HubRefused(reply.status_code, _message(reply))
        model = reply.json()
        return bool(model.get("ready") or model.get("pending"))

    async def change_user(self, verb: str, name: str, to: str | None = None) -> None:
        """`make` the hub's record of a user, `rename` it or `remove` it; whoever has servers is left alone (`HubRefused`)."""
        reply = await self._request("POST", "/toolkit/users", {"verb": verb, "name": name, "to": to})
        if not reply.is_success:
            raise HubRefused(reply.status_code, _message(reply))

    async def _call(self, method: str, owner: str, server: str, body: object = None) -> httpx.Response:
        return await self._request(method, f"/users/{quote(owner, safe='')}/servers/{quote(server, safe='')}", body)

    async def _request(self, method: str, path: str, body: object) -> httpx.Response:
        try:
            reply = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise HubUnavailable(f"the hub does not answer: {error or type(error).__name__}") from error
        if reply.status_code in (502, 503, 504):
            raise HubUnavailable(_message(reply) or f"the hub is not ready ({reply.status_code})")
        return reply

    async def close(self) -> None:
        await self._client.aclose()


def _message(reply: httpx.Response) -> str:
    try:
        return str(reply.json().get("message", reply.text))[:500]
    except ValueError:
        return reply.text[:500]
