"""What the gate itself answers: small pages for people, JSON for programs. Every value in a page is escaped.

No page has a script or loads anything, and the Content-Security-Policy says so to the browser.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from aiohttp import web

from toolkit_client.errors import ToolkitError

__all__ = ["BadGateway", "Form", "Link", "answer_error", "is_navigation", "page", "redirect", "wants_html"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:12vh auto;padding:0 1em;color:#222}"
    "h1{font-size:1.3em}small{color:#666}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action {{forms}}; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY.format(forms="'none'"),
    "Referrer-Policy": "no-referrer",
    "Server": "toolkit",
    "X-Content-Type-Options": "nosniff",
}
_TITLES = {
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    502: "The job does not answer",
    503: "Not ready yet",
}
#: Longest text of foreign origin (a job's own words) that is shown.
_LONGEST = 2000


class BadGateway(ToolkitError):
    """What runs in the job did not answer, or not in a way that can be passed on."""

    status, code = 502, "bad_gateway"


@dataclass(frozen=True)
class Link:
    """Where the reader can go on."""

    url: str
    text: str


@dataclass(frozen=True)
class Form:
    """One button, which posts `fields` to the address `action` of the same host."""

    action: str
    button: str
    fields: Mapping[str, str]

    def html(self) -> str:
        hidden = "".join(
            f'<input type=hidden name="{escape(name)}" value="{escape(value)}">' for name, value in self.fields.items()
        )
        return f'<form method=post action="{escape(self.action)}">{hidden}<button>{escape(self.button)}</button></form>'


def is_navigation(request: web.BaseRequest) -> bool:
    """Whether this is a person opening a page in a tab, so that a page or a log-in makes sense as the answer."""
    return (
        request.method == "GET"
        and "Upgrade" not in request.headers
        and request.headers.get("Sec-Fetch-Dest", "document") == "document"
        and "text/html" in request.headers.get("Accept", "")
    )


def wants_html(request: web.BaseRequest) -> bool:
    return request.method in ("GET", "HEAD", "POST") and "text/html" in request.headers.get("Accept", "")


def page(
    title: str,
    *paragraphs: str,
    status: int = 200,
    link: Link | None = None,
    refresh_s: int = 0,
    note: str = "",
    form: Form | None = None,
) -> web.Response:
    """A page of a title and a few sentences; with `refresh_s` it loads itself again after that many seconds."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<meta http-equiv=refresh content={refresh_s}>" if refresh_s else "",
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        *(f"<p>{escape(text[:_LONGEST])}</p>" for text in paragraphs if text),
        form.html() if form else "",
        f'<p><a href="{escape(link.url)}">{escape(link.text)}</a></p>' if link else "",
        f"<small>{escape(note)}</small>" if note else "",
        "</body></html>",
    ]
    response = web.Response(
        status=status, text="".join(parts), content_type="text/html", charset="utf-8", headers=_HEADERS
    )
    if status == 503:
        response.headers["Retry-After"] = str(refresh_s or 2)
    if form is not None:
        response.headers["Content-Security-Policy"] = _POLICY.format(forms="'self'")
        # Without any referrer a browser does not say from where a form was posted.
        response.headers["Referrer-Policy"] = "strict-origin"
    return response


def answer_error(
    request: web.BaseRequest, error: ToolkitError, *, request_id: str, link: Link | None = None
) -> web.Response:
    """The error in the form that the caller reads."""
    if wants_html(request):
        title = _TITLES.get(error.status, "This did not work")
        message, hint = _sentence(error.message), _sentence(error.hint)
        return page(title, message, hint, status=error.status, link=link, note=f"request {request_id}")
    response = web.json_response(error.body(), status=error.status, headers=_HEADERS)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="toolkit"'
    if error.status == 503:
        response.headers["Retry-After"] = "2"
    return response


def redirect(url: str) -> web.Response:
    """Elsewhere, for this once: which run is the current one changes."""
    return web.Response(status=302, headers={**_HEADERS, "Location": url})


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) or not text else '.'}"
