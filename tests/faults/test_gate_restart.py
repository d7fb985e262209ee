"""The gate is restarted while people work through it: nobody notices."""

from __future__ import annotations

import asyncio
import textwrap
from collections import Counter

import aiohttp
import pytest

from tests.support.running_site import RunningSite, wait_until

pytestmark = pytest.mark.engine

PIECES, PIECE = 60, 50_000
#: A user's program: a page, a websocket that answers, a download that takes a while.
PROGRAM = textwrap.dedent(
    f"""
    import asyncio
    from tornado import web, websocket

    class Page(web.RequestHandler):
        def get(self):
            self.write("page")

    class Download(web.RequestHandler):
        async def get(self):
            for _ in range({PIECES}):
                self.write(b"x" * {PIECE})
                await self.flush()
                await asyncio.sleep(0.1)

    class Echo(websocket.WebSocketHandler):
        def on_message(self, message):
            self.write_message(message)

    async def main():
        web.Application([("/", Page), ("/download", Download), ("/echo", Echo)]).listen(8080)
        await asyncio.Event().wait()

    asyncio.run(main())
    """
)


def test_a_restart_of_the_gate_drops_nothing(shaky: RunningSite) -> None:
    job = shaky.submit("python3", "-c", PROGRAM)
    shaky.wait_state(job.id, "RUNNING")
    answers = asyncio.run(work_through_restarts(shaky, job.id))
    assert set(answers) == {200}, answers
    assert answers[200] > 50
    with shaky.client() as client:
        client.jobs.kill(job.id)


async def work_through_restarts(site: RunningSite, job_id: str) -> Counter[object]:
    port = site.settings.jobs_port
    url = f"http://127.0.0.1:{port}"
    headers = {"Host": f"{job_id}.localhost:{port}", "Authorization": f"token {site.token()}"}
    answers: Counter[object] = Counter()
    done = asyncio.Event()

    async def ask_on(client: aiohttp.ClientSession) -> None:
        while not done.is_set():
            try:
                async with client.get(url, headers=headers) as answer:
                    assert await answer.read() == b"page"
                    answers[answer.status] += 1
            except (aiohttp.ClientError, AssertionError) as error:
                answers[repr(error)] += 1
            await asyncio.sleep(0.01)

    async def download(client: aiohttp.ClientSession) -> int:
        async with client.get(f"{url}/download", headers=headers) as answer:
            return len(await answer.read())

    new_each_time = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession() as keeping, aiohttp.ClientSession(connector=new_each_time) as opening:
        await asyncio.to_thread(wait_until, lambda: _answers(url, headers), "the job's page", 20)
        async with keeping.ws_connect(f"{url}/echo", headers=headers) as websocket:
            downloading = asyncio.create_task(download(keeping))
            asking = [asyncio.create_task(ask_on(client)) for client in (keeping, keeping, opening, opening)]
            await asyncio.sleep(0.5)
            for turn in ("first", "second"):
                await asyncio.to_thread(site.unit, "restart", "gate")
                await websocket.send_str(turn)
                assert await websocket.receive_str(timeout=5) == turn
            assert await downloading == PIECES * PIECE
            await asyncio.sleep(1)
            await websocket.send_str("still")
            assert await websocket.receive_str(timeout=5) == "still"
            done.set()
            await asyncio.gather(*asking)
    return answers


def _answers(url: str, headers: dict[str, str]) -> bool:
    import httpx

    return httpx.get(url, headers=headers).status_code == 200
