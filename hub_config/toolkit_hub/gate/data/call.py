"""One request at the data host, as its handlers see it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from aiohttp import ClientPayloadError, web
from sqlalchemy.orm import Session

from toolkit_client.errors import InvalidRequest, ServiceUnavailable
from toolkit_client.transfer.paths import checked_path
from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain import data_usage
from toolkit_hub.domain.access import Actor
from toolkit_hub.domain.data_content import Place, open_content
from toolkit_hub.domain.data_usage import DataLimits, Room
from toolkit_hub.gate.data.callers import Caller, Callers
from toolkit_hub.gate.data.volume import OpenVolume, VolumeThreads
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes

__all__ = ["CallerGone", "DataCall", "Means", "cross_origin", "parse_query"]

#: Seconds after which the rights of whoever moves content are looked at again.
RECHECK_S = 5.0
#: Seconds without a byte from the caller, after which the connection is given up.
_SILENCE_S = 600.0
#: Content is handed to the threads in blocks of so many bytes.
_BLOCK = 512 * 1024


class CallerGone(ConnectionError):
    """The connection broke in the middle of what was sent."""


@dataclass(frozen=True)
class Means:
    """What all requests share."""

    site: Toolkit
    store: Store
    volumes: Volumes
    threads: VolumeThreads
    callers: Callers
    limits: DataLimits

    @property
    def origin(self) -> str:
        """Of our own pages, which alone may read answers here in a browser."""
        return self.site.public_url.rstrip("/")


class DataCall:
    """A request that was let in, until it is answered."""

    def __init__(
        self, means: Means, request: web.BaseRequest, query: dict[str, bytes], caller: Caller, action: str, ref: str
    ) -> None:
        self.means, self.request, self.query = means, request, query
        self._caller, self._action, self._ref = caller, action, ref
        self._checked = clock.monotonic()
        self.place: Place
        self.actor: Actor

    @property
    def threads(self) -> VolumeThreads:
        return self.means.threads

    async def admit(self) -> None:
        """Raises what `open_content` raises, and `NotSignedIn`."""
        label = self.text("version")
        self.place, self.actor = await self.means.store.read(self._admitted, label)

    def _admitted(self, session: Session, label: str) -> tuple[Place, Actor]:
        actor = self._caller.actor(session)
        place = open_content(session, actor, self._action, self._ref, label)
        if self._caller.only_data not in (None, place.data_id):
            raise InvalidRequest("this page's ticket is for other data", "load the page again")
        return place, actor

    async def still(self) -> bool:
        """Look at the rights again, if the last look was some seconds ago; whether it did. Raises as `admit`.

        A hub or store that is away for a moment changes nothing: unknown is not revoked.
        """
        if clock.monotonic() - self._checked < RECHECK_S:
            return False
        self._checked = clock.monotonic()
        with contextlib.suppress(ServiceUnavailable):
            await self.means.callers.still(self._caller)
            await self.admit()
        return True

    async def volume(self, *, staging: bool = False) -> OpenVolume:
        """Its folders; whoever gets them closes them. Raises `InsufficientStorage` where there is no room for even that."""
        try:
            return await asyncio.to_thread(OpenVolume, self.means.volumes, self.place, staging=staging)
        except OSError as error:
            raise ServiceUnavailable(
                f"the folder of this data cannot be opened: {error.strerror or error}",
                "an administrator can look at the gate's log and at `toolkit admin doctor`",
            ) from error

    async def room(self) -> Room:
        """What its account may still take."""
        return await self.means.store.read(data_usage.room_of, self.place.account_id, self.means.limits)

    def cross_origin(self) -> dict[str, str]:
        """Headers by which a page of ours, and no other, may read the answer."""
        return cross_origin(self.means, self.request)

    # --- the query --------------------------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        return self.query.get(name, b"").decode("utf-8", "surrogateescape")

    def path(self, name: str = "path") -> bytes:
        """Raises `InvalidRequest` for what is no path within data."""
        raw = self.query.get(name, b"")
        return checked_path(b"/".join(part for part in raw.split(b"/") if part not in (b"", b".")))

    def flag(self, name: str) -> bool:
        return self.query.get(name, b"") in (b"1", b"true")

    def number(self, name: str, default: int = 0) -> int:
        text = self.query.get(name, b"")
        if not text:
            return default
        if not text.isdigit() or len(text) > 18:
            raise InvalidRequest(f"{name} is a whole number, not {text[:20]!r}", "")
        return int(text)

    # --- the body ---------------------------------------------------------------------------------------------------

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body in blocks of some hundred KiB, while the caller may. Raises `CallerGone`, and as `admit`."""
        content = self.request.content
        waiting: list[bytes] = []
        size = 0
        heard = clock.monotonic()
        while True:
            try:
                async with asyncio.timeout(RECHECK_S):
                    piece = await content.readany()
            except TimeoutError:
                if clock.monotonic() - heard > _SILENCE_S:
                    raise CallerGone("silent for too long") from None
                await self.still()
                continue
            except (ClientPayloadError, OSError) as error:
                raise CallerGone(str(error)) from error
            heard = clock.monotonic()
            if not piece and content.at_eof():
                break
            waiting.append(piece)
            size += len(piece)
            if size >= _BLOCK:
                yield b"".join(waiting)
                waiting, size = [], 0
                await self.still()
        if size:
            yield b"".join(waiting)

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `InvalidRequest` for one over `limit` bytes."""
        parts = bytearray()
        async for block in self.blocks():
            parts += block
            if len(parts) > limit:
                raise InvalidRequest(f"the request is larger than {limit} bytes", "ask for less at a time")
        return bytes(parts)

    async def stream(self, blocks: Iterator[bytes], headers: dict[str, str], status: int = 200) -> web.StreamResponse:
        """Answer with what a generator gives, made in the threads. If it fails, the connection breaks: nobody takes a part for
        the whole."""
        response = web.StreamResponse(status=status, headers=self.cross_origin() | headers)
        if "Content-Length" not in headers:
            response.enable_chunked_encoding()
        await response.prepare(self.request)
        pieces = self.threads.iterate(blocks)
        try:
            async for block in pieces:
                await response.write(block)
                await self.still()
        except BaseException:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]
        await response.write_eof()
        return response


def cross_origin(means: Means, request: web.BaseRequest) -> dict[str, str]:
    if request.headers.get("Origin") != means.origin:
        return {}
    return {"Access-Control-Allow-Origin": means.origin, "Vary": "Origin"}


def parse_query(raw: str) -> dict[str, bytes]:
    """The query's words as bytes: paths may be no text. Of a word that stands twice the last one counts."""
    found = {}
    for pair in raw.split("&"):
        name, _, value = pair.partition("=")
        if name:
            found[name] = unquote_to_bytes(value.replace("+", " "))
    return found
