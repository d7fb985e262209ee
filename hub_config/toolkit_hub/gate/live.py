"""Connections that live longer than the check that let them in: looked at again every few seconds, and cut when the answer
has changed. A revoked right therefore ends an open terminal within 15 seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass, field

from toolkit_client.errors import NotSignedIn, ServiceUnavailable
from toolkit_hub import clock
from toolkit_hub.gate.identity import Claim, Identities
from toolkit_hub.gate.views import Views

__all__ = ["RECHECK_S", "Live", "LiveConnections", "Watch"]

log = logging.getLogger("toolkit.gate")

#: With the hub's time-out and the cache of its answers this stays below 15 seconds.
RECHECK_S = 7.0
#: For how long a connection may live on while nobody can say whether its token still counts. A restart of the hub
#: takes seconds; an attacker who can keep it away must not keep a revoked terminal for ever.
UNKNOWN_LIMIT_S = 3600.0
_CHECKS_AT_ONCE = 16

Question = tuple[str, str, str, bool, int]


@dataclass(eq=False)
class Live:
    """One connection under way, and what it was let in by: a claim, or none where the port `public` is open to everybody."""

    claim: Claim | None
    user: str
    job_id: str
    needs_exec: bool
    transport: asyncio.Transport
    public: int = 0
    confirmed: float = field(default_factory=clock.monotonic)

    @property
    def question(self) -> Question:
        """Connections with the same question get the same answer."""
        credential = (self.claim.secret, self.claim.host) if self.claim else ("", "")
        return *credential, self.job_id, self.needs_exec, self.public


class Watch:
    """For the length of a block. No generator: each request has one."""

    def __init__(self, watched: set[Live], live: Live) -> None:
        self._watched, self._live = watched, live

    def __enter__(self) -> None:
        self._watched.add(self._live)

    def __exit__(self, *_: object) -> None:
        self._watched.discard(self._live)


class LiveConnections:
    """All connections under way in this process."""

    def __init__(self, views: Views, identities: Identities, recheck_s: float = RECHECK_S) -> None:
        self._views = views
        self._identities = identities
        self._recheck_s = recheck_s
        self._all: set[Live] = set()

    def __len__(self) -> int:
        return len(self._all)

    def watch(self, live: Live) -> Watch:
        """Keep an eye on the connection while the block that it is used in runs."""
        return Watch(self._all, live)

    def cut(self, claims: list[Claim]) -> None:
        """Cut what was let in by one of these claims."""
        secrets = {(claim.secret, claim.host) for claim in claims}
        for live in [live for live in self._all if live.claim and (live.claim.secret, live.claim.host) in secrets]:
            self._cut(live, "signed out")

    async def run(self) -> None:
        """Re-check for ever."""
        while True:
            await asyncio.sleep(self._recheck_s)
            try:
                await self.check_all()
            except Exception:  # nothing may end this loop: without it, nothing is ever cut
                log.exception("re-check of live connections failed")

    async def check_all(self) -> None:
        """Ask again for every connection, once for those that ask the same."""
        groups: defaultdict[Question, list[Live]] = defaultdict(list)
        for live in self._all:
            groups[live.question].append(live)
        gatekeeper = asyncio.Semaphore(_CHECKS_AT_ONCE)
        await asyncio.gather(*(self._check(group, gatekeeper) for group in groups.values()))

    async def _check(self, group: list[Live], gatekeeper: asyncio.Semaphore) -> None:
        async with gatekeeper:
            try:
                still = await self._still_allowed(group[0])
            except NotSignedIn:  # a key that counts no more
                still = False
            except (ServiceUnavailable, OSError):  # the hub or the store is away: unknown, not revoked
                for live in group:
                    if clock.monotonic() - live.confirmed > UNKNOWN_LIMIT_S:
                        self._cut(live, f"not confirmed for {UNKNOWN_LIMIT_S:.0f} s")
                return
        for live in group:
            if still:
                live.confirmed = clock.monotonic()
            else:
                self._cut(live, "no longer allowed")

    async def _still_allowed(self, live: Live) -> bool:
        if live.claim is None:
            seen = await self._views.look(live.job_id)
            return seen is not None and seen.ports.get(live.public, False)
        claim = await self._identities.renew(live.claim)
        if claim is None:
            return False
        view = await self._views.look(live.job_id, [claim])
        if view is None or view.visitor is None or view.visitor.shown_name != live.user:
            return False
        return view.may_exec if live.needs_exec else view.may_see

    def _cut(self, live: Live, why: str) -> None:
        log.info("cut a connection of %s to job %s: %s", live.user, live.job_id, why)
        live.transport.abort()
        self._all.discard(live)
