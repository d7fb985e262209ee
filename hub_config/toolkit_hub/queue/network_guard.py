"""Keeps the jobs' network closed off while jobs run: a firewall that is loaded anew loses the rules that were not its own."""

from __future__ import annotations

import asyncio
import logging

from toolkit_spawner.docker_api import EngineRefused, EngineUnavailable
from toolkit_spawner.launch import JobNetwork
from toolkit_spawner.network import NetworkKeeper, NetworkProblem, isolate_ports

__all__ = ["keep_network"]

log = logging.getLogger("toolkit.network")

LOOK_EVERY_S = 15


async def keep_network(keeper: NetworkKeeper, network: JobNetwork) -> None:
    """Until it is cancelled. Nothing starts in the meantime either: the spawner looks before each start."""
    told = ""
    while True:
        try:
            await keeper.ensure(network)
            await asyncio.to_thread(isolate_ports, network.bridge)
            told = ""
        except (NetworkProblem, EngineRefused, EngineUnavailable) as error:
            if str(error) != told:
                told = str(error)
                log.error("the jobs' network is not known to be closed off, and no job starts: %s", error)
        except Exception:
            log.exception("looking at the jobs' network failed; trying again")
        await asyncio.sleep(LOOK_EVERY_S)
