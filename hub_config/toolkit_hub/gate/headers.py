"""What may pass between a visitor and a job, header by header. Pure.

Inward, everything that proves who somebody is stays at the gate: cookies of the gate and the hub, tokens, and whatever only
the gate may say (``X-Toolkit-*``, ``X-Forwarded-*``). Outward, everything stays in the job that would reach beyond its
own host: cookies for a whole domain, orders to the browser about the site, permission for other origins to read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from multidict import CIMultiDict, MultiMapping

__all__ = [
    "COOKIE_MARK",
    "KEY_HEADER",
    "Passage",
    "cookie_values",
    "inbound",
    "outbound",
    "plain_name",
]

#: Part of the name of each cookie of the gate, and of no cookie that a job may set.
COOKIE_MARK = "toolkit-gate"
#: Carries the hub token of a caller whose ``Authorization`` is meant for the app.
KEY_HEADER = "X-Toolkit-Key"

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_NONE: frozenset[str] = frozenset()
_OWN_PREFIXES = ("x-toolkit-", "x-forwarded-")
_NOT_INWARD = _HOP_BY_HOP | {
    "authorization",
    "cookie",
    "forwarded",
    "host",
    "proxy-authorization",
    "x-real-ip",
}
_NOT_OUTWARD = _HOP_BY_HOP | {
    "alt-svc",  # would move the host's visitors to another server
    "clear-site-data",  # would sign them out of the gate
    "proxy-authenticate",
    "public-key-pins",
    "server",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",  # the site's decision, for all hosts below the domain
}
_NOT_OUTWARD_PREFIXES_PUBLIC = ("x-toolkit-",)
_NOT_OUTWARD_PREFIXES = (*_NOT_OUTWARD_PREFIXES_PUBLIC, "access-control-")


@dataclass(frozen=True)
class Passage:
    """One visitor on the way to one job, as far as headers are concerned."""

    #: Empty where everybody is let in: then nobody's name is told.
    user: str
    scheme: str
    host: str
    #: The run's secret; for the job server only, as everything else in a container has no use for it.
    secret: str | None = field(default=None, repr=False)
    #: True on job hosts, where cookies belong to the job; on the hub's origin they are the hub's.
    cookies: bool = True
    #: True where ``Authorization`` is meant for the app and holds nothing of ours (`Identities.is_for_app`).
    authorization: bool = False
    #: True at a port that is open to everybody: there the app alone says who may read it, other origins' pages included.
    public: bool = False


def plain_name(name: str) -> str:
    """The name as the strictest and the laxest reader would both see it: CGI and WSGI take ``_`` for ``-``."""
    return name.strip().lower().replace("_", "-")


def inbound(headers: MultiMapping[str], passage: Passage) -> CIMultiDict[str]:
    """The headers that the job gets."""
    named = _named_by_connection(headers)
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        plain = plain_name(name)
        if plain in _NOT_INWARD and not (passage.authorization and name.lower() == "authorization"):
            continue
        if plain in named or plain.startswith(_OWN_PREFIXES):
            continue
        if plain == "x-xsrftoken" and not passage.cookies:
            continue  # the hub's; on a job host it is the app's own
        out.add(name, value)
    if passage.cookies:
        kept = [pair for name, pair in _cookie_pairs(headers) if not _reserved_cookie(name)]
        if kept:
            out["Cookie"] = "; ".join(kept)
    out["Host"] = passage.host
    out["X-Forwarded-Host"] = passage.host
    out["X-Forwarded-Proto"] = passage.scheme
    if passage.user:
        out["X-Toolkit-User"] = passage.user
    if passage.secret is not None:
        out["X-Toolkit-Run-Secret"] = passage.secret
    return out


def outbound(headers: MultiMapping[str], passage: Passage) -> CIMultiDict[str]:
    """The headers that the visitor gets. On the hub's origin the answer is also kept from ever becoming a page: a browser
    that shows it gives it an origin of its own."""
    named = _named_by_connection(headers)
    kept_back = _NOT_OUTWARD_PREFIXES_PUBLIC if passage.public else _NOT_OUTWARD_PREFIXES
    out: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        plain = plain_name(name)
        if plain not in _NOT_OUTWARD and plain not in named and not plain.startswith(kept_back):
            out.add(name, value)
    out["Server"] = "toolkit"
    if passage.cookies:
        for cookie in headers.getall("Set-Cookie", ()):
            if _cookie_may_be_set(cookie):
                out.add("Set-Cookie", cookie)
    else:
        out.add("Content-Security-Policy", "sandbox")
        out["X-Content-Type-Options"] = "nosniff"
    return out


def cookie_values(headers: MultiMapping[str], name: str) -> list[str]:
    """All values of one cookie: a page of the job can add a second one with the name of the gate's."""
    return [pair.partition("=")[2].strip().strip('"') for found, pair in _cookie_pairs(headers) if found == name]


def _cookie_pairs(headers: MultiMapping[str]) -> Iterable[tuple[str, str]]:
    for line in headers.getall("Cookie", ()):
        for pair in line.split(";"):
            if pair.strip():
                yield pair.partition("=")[0].strip(), pair.strip()


def _reserved_cookie(name: str) -> bool:
    """Cookies of the gate and of the hub. Browsers and servers differ in how they read odd names, so a part is enough."""
    plain = plain_name(name)
    return COOKIE_MARK in plain or "jupyterhub-" in plain


def _cookie_may_be_set(cookie: str) -> bool:
    pair, *attributes = cookie.split(";")
    name, equals, _ = pair.partition("=")
    if not equals or not name.strip():
        return False  # a cookie without a name is sent back as if its value were name=value
    if _reserved_cookie(name):
        return False
    return not any(attribute.partition("=")[0].strip().lower() == "domain" for attribute in attributes)


def _named_by_connection(headers: MultiMapping[str]) -> frozenset[str]:
    """Headers that end at this hop; never the length, without which a body's end would be misread."""
    lines = headers.getall("Connection", ())
    if not lines:
        return _NONE
    return frozenset(plain_name(name) for line in lines for name in line.split(",")) - {"content-length"}
