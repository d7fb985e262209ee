"""``python -m toolkit_spawner.runtime.trial_bridge URL SECRET``: standard input and output as a websocket of a trial."""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp

PIECE_BYTES = 256 * 1024


async def carry(url: str, secret: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers={"X-Toolkit-Run-Secret": secret}, compress=0, max_msg_size=0) as socket,
    ):
        sending = asyncio.create_task(send(socket))
        async for message in socket:
            left = memoryview(message.data)
            while left:
                left = left[await asyncio.to_thread(os.write, 1, left) :]
        sending.cancel()
    os._exit(0)  # a thread may still wait for more input, and a loop would wait for it


async def send(socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await asyncio.to_thread(os.read, 0, PIECE_BYTES):
        await socket.send_bytes(data)
    await socket.close()


if __name__ == "__main__":
    asyncio.run(carry(sys.argv[1], sys.argv[2]))
