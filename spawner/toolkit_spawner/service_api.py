"""The toolkit service, as the spawner asks it. On loopback, with a secret that both read from the site's state."""

from __future__ import annotations

from typing import Any

import httpx
from jupyterhub.spawner import SpawnException

from toolkit_spawner.launch import LaunchSpec

__all__ = ["LaunchRefused", "ServiceApi", "ServiceUnavailable"]

CALL_TIMEOUT_S = 20


class LaunchRefused(SpawnException):
    """The service does not want this server to run; the text says what to do instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="not_admitted", status_code=409)


class ServiceUnavailable(SpawnException):
    """The service does not answer. Nothing follows from it about any run."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="service_unavailable", status_code=503)


class ServiceApi:
    """Calls are idempotent; each may be made again after a restart of either side."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url}/internal", headers={"Authorization": f"token {token}"}, timeout=CALL_TIMEOUT_S
        )

    async def launch(self, owner: str, server: str) -> LaunchSpec:
        """The launch spec. Raises `LaunchRefused` for a server that is no admitted run."""
        return LaunchSpec.model_validate(await self._post("launch", owner=owner, server=server))

    async def started(
        self, server: str, *, container_id: str, ip: str | None, image_digest: str, node_name: str
    ) -> None:
        await self._post(
            "started", server=server, container_id=container_id, ip=ip, image_digest=image_digest, node_name=node_name
        )

    async def failed(self, server: str, reason: str) -> None:
        """The run cannot be started; `reason` is what its user reads."""
        await self._post("failed", server=server, reason=reason)

    async def progress(self, server: str, info: str) -> None:
        """What the start is busy with, for whoever waits."""
        await self._post("progress", server=server, info=info)

    async def pulled(self, server: str, *, reference: str, image_id: str) -> None:
        """The image was fetched for this run: clean-up may remove it again when nobody uses it."""
        await self._post("pulled", server=server, reference=reference, image_id=image_id)

    async def wanted(self, server: str) -> bool:
        """Whether the service still wants the run to live. True when it does not say: unknown is not unwanted."""
        try:
            return bool((await self._post("wanted", server=server))["wanted"])
        except (ServiceUnavailable, LaunchRefused):
            return True

    async def _post(self, call: str, **body: Any) -> dict[str, Any]:
        try:
            reply = await self._client.post(f"/{call}", json=body)
            answer = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceUnavailable(
                f"The toolkit's service does not answer ({error or type(error).__name__}). "
                "Try again in a moment; an administrator can look at its log."
            ) from error
        if reply.status_code >= 500:
            raise ServiceUnavailable(f"The toolkit's service failed ({reply.status_code}). Try again in a moment.")
        if reply.status_code >= 400:
            detail = answer["error"]
            raise LaunchRefused(f"{detail['message']}. {detail['hint']}")
        return dict(answer)
