"""Where a request came from."""

from __future__ import annotations

import ipaddress

from tornado.httputil import HTTPServerRequest

__all__ = ["address_of"]


def address_of(request: HTTPServerRequest) -> str:
    """The address of whoever sent the request, as far as we can know.

    Through the proxy, which is on this machine, it is the last element of ``X-Forwarded-For``: that one the proxy added, and
    what stands before it anybody may have written.
    """
    peer = _plain(request.remote_ip or "")
    if not peer or not ipaddress.ip_address(peer).is_loopback:
        return peer
    forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    return _plain(forwarded) or peer


def _plain(text: str) -> str:
    """The address without an IPv6 wrapping of IPv4; empty for a text that is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
