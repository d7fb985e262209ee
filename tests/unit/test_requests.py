"""Where a request came from, and what it leaves behind in the store."""

from __future__ import annotations

import asyncio
import contextlib
from unittest.mock import Mock

import pytest
from sqlalchemy import select
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from tests.unit.conftest import People
from toolkit_client.errors import ServiceUnavailable
from toolkit_hub.api.address import address_of
from toolkit_hub.domain.afterwards import MOST_WAITING, Afterwards
from toolkit_hub.store.access_tables import AuditEntry

LINE = RequestStartLine("GET", "/", "HTTP/1.1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("127.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("127.0.0.1", ["<script>"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.7,"], "127.0.0.1"),
        ("172.18.0.4", ["198.51.100.7"], "172.18.0.4"),
        ("", [], ""),
    ],
)
def test_only_the_proxys_own_word_counts(peer: str, forwarded: list[str], address: str) -> None:
    headers = HTTPHeaders({"Host": "hub"})
    for value in forwarded:
        headers.add("X-Forwarded-For", value)
    connection = Mock()
    connection.context.remote_ip = peer
    assert address_of(HTTPServerRequest(start_line=LINE, headers=headers, connection=connection)) == address


def entries(people: People) -> list[tuple[str, str, str, str]]:
    with people.store.begin(write=False) as session:
        query = select(AuditEntry).where(AuditEntry.outcome == "refused").order_by(AuditEntry.seq)
        return [(entry.actor, entry.action, entry.reason, entry.address) for entry in session.scalars(query)]


def test_refusals_are_written_after_the_answer(people: People) -> None:
    with people.store.begin(write=False) as session:
        bob = people.actor(session, "bob")

    async def run() -> None:
        afterwards = Afterwards(people.store)
        writer = asyncio.create_task(afterwards.run_forever())
        afterwards.refused(bob, "team:new", bob.organization_id, "no statement", "POST /teams")
        async with asyncio.timeout(10):
            while not entries(people):
                await asyncio.sleep(0.02)
        assert len(entries(people)) == 1
        afterwards.refused(bob, "team:set", bob.organization_id, "no statement", "PATCH /teams/x")
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writer
        await afterwards.write_now()

    asyncio.run(run())
    assert [entry[:3] for entry in entries(people)] == [
        ("acme.bob", "team:new", "no statement"),
        ("acme.bob", "team:set", "no statement"),
    ]


def test_what_the_store_does_not_take_now_it_gets_later(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    with people.store.begin(write=False) as session:
        bob = people.actor(session, "bob")
    afterwards = Afterwards(people.store)
    real = people.store.write

    async def busy(*_: object) -> None:
        raise ServiceUnavailable("busy")

    async def run() -> None:
        for number in range(3):
            afterwards.refused(bob, "team:new", bob.organization_id, f"reason {number}", "POST /teams")
        monkeypatch.setattr(people.store, "write", busy)
        with pytest.raises(ServiceUnavailable):
            await afterwards.write_now()
        monkeypatch.setattr(people.store, "write", real)
        await afterwards.write_now()

    asyncio.run(run())
    assert [entry[2] for entry in entries(people)] == ["reason 0", "reason 1", "reason 2"]


def test_a_flood_of_refusals_does_not_fill_the_memory(people: People) -> None:
    with people.store.begin(write=False) as session:
        bob = people.actor(session, "bob")

    async def run() -> None:
        afterwards = Afterwards(people.store)
        for _ in range(MOST_WAITING + 5):
            afterwards.refused(bob, "team:new", bob.organization_id, "no statement", "POST /teams")
        assert afterwards.waiting == MOST_WAITING

    asyncio.run(run())
