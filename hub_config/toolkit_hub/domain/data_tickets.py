"""Tickets: with one, a page of ours lets its browser move the content of one piece of data, for some minutes.

The page is at the hub's address, content goes in and out at the data host, and the page's cookie must not go there. What a ticket
opens is decided at each request by the rights that its user has then.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import NamedTuple

from toolkit_hub import clock

__all__ = ["TICKET_PREFIX", "TICKET_S", "Ticket", "make_ticket", "read_ticket"]

TICKET_PREFIX = "tkd_"
#: Seconds for which a ticket counts; an upload that is under way then goes on.
TICKET_S = 600
_TICKET = re.compile(r"tkd_([A-Za-z0-9_-]{20,400})\.([0-9a-f]{64})")


class Ticket(NamedTuple):
    """Whose it is, and for which data."""

    user_id: str
    data_id: str


def make_ticket(secret: str, user_id: str, data_id: str) -> str:
    """`secret` is the site's `data-ticket-key`."""
    ends = int(clock.now().timestamp()) + TICKET_S
    facts = base64.urlsafe_b64encode(f"{user_id} {data_id} {ends}".encode()).decode().rstrip("=")
    return f"{TICKET_PREFIX}{facts}.{_proof(secret, facts)}"


def read_ticket(secret: str, text: str) -> Ticket | None:
    """What the ticket says; None for one that was not made here, or has ended."""
    match = _TICKET.fullmatch(text)
    if match is None or not hmac.compare_digest(_proof(secret, match[1]), match[2]):
        return None
    facts = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)).decode()
    user_id, data_id, ends = facts.split(" ")
    return Ticket(user_id, data_id) if clock.now().timestamp() < int(ends) else None


def _proof(secret: str, facts: str) -> str:
    return hmac.new(secret.encode(), b"toolkit data ticket " + facts.encode(), hashlib.sha256).hexdigest()
