"""Hands the quotas of accounts to the file system of the data, where that has project quotas (`toolkit_hub.volumes.projects`)."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from toolkit_client.errors import ServiceUnavailable
from toolkit_hub.domain import data_usage
from toolkit_hub.domain.data_usage import AccountLimits, DataLimits
from toolkit_hub.store import Store
from toolkit_hub.volumes.layout import Volumes
from toolkit_hub.volumes.projects import Projects

__all__ = ["ProjectLimits"]

log = logging.getLogger("toolkit.data")

#: Between two looks at whether a limit has changed, or a volume has come.
EVERY = timedelta(seconds=20)


class ProjectLimits:
    """One for the service."""

    def __init__(self, store: Store, volumes: Volumes, limits: DataLimits) -> None:
        self._store, self._volumes, self._limits = store, volumes, limits
        self._projects = Projects(volumes.root)
        #: What was set already, by account.
        self._set: dict[str, tuple[int | None, int | None]] = {}

    async def run_forever(self) -> None:
        """Ends at once where the file system has no project quotas; it has to be mounted anew to get them."""
        if not await asyncio.to_thread(self._available):
            return
        log.info("the file system of %s keeps the quotas of accounts", self._volumes.root)
        while True:
            try:
                await self.round()
            except ServiceUnavailable as error:
                log.warning("quotas are not handed to the file system: %s", error)
            except Exception:
                log.exception("quotas could not be handed to the file system; trying again")
            await asyncio.sleep(EVERY.total_seconds())

    async def round(self) -> None:
        """Mark the volumes of accounts that have limits, and set those. Who had limits once is told that there are none."""
        known = await asyncio.to_thread(self._projects.numbers)
        for account in await self._store.read(data_usage.limited_accounts, self._limits, known.keys()):
            await asyncio.to_thread(self._keep, account)

    def _available(self) -> bool:
        self._volumes.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self._projects.available()

    def _keep(self, account: AccountLimits) -> None:
        number = self._projects.number_of(account.account_id)
        for data_id in account.data_ids:
            try:
                if self._projects.mark(self._volumes.folder(data_id), number):
                    log.info("data %s is in the project %d of the file system", data_id, number)
            except FileNotFoundError:
                continue  # nobody has put anything in it yet
        wanted = (account.bytes, account.files)
        if self._set.get(account.account_id) != wanted:
            self._projects.limit(number, account.bytes, account.files)
            self._set[account.account_id] = wanted
