"""``toolkit app`` as a process, and a browser's way from the local address to the app, request by request."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.support.running_site import RunningSite

TOOLKIT = str(Path(sys.executable).with_name("toolkit"))
#: What a browser sends when a person opens an address.
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "Accept": "text/html,*/*",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}


class Forwarded:
    """A `toolkit app` that runs."""

    def __init__(self, process: subprocess.Popen[str], line: str) -> None:
        self.process, self.line = process, line
        self.port = int(line.rstrip("/").rpartition(":")[2] or 0)
        self.url = f"http://localhost:{self.port}"

    def ask(self, path: str = "/", method: str = "GET", **more: object) -> httpx.Response:
        """As a program."""
        with httpx.Client(trust_env=False, timeout=60) as http:
            return http.request(method, f"http://127.0.0.1:{self.port}{path}", **more)  # type: ignore[arg-type]

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@contextmanager
def app(site: RunningSite, *words: str, user: str) -> Iterator[Forwarded]:
    process = subprocess.Popen(
        [TOOLKIT, "app", *words],
        env={**site.environment, "TOOLKIT_URL": site.url, "TOOLKIT_TOKEN": site.token(user)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, Ctrl-C would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline().strip()
        assert line, process.stderr.read()
        yield Forwarded(process, line)
    finally:
        process.kill()
        process.wait()


class Browser:
    """Keeps cookies by host, as a browser does."""

    def __init__(self) -> None:
        self.cookies: dict[str, dict[str, str]] = {}

    def get(self, url: str, **headers: str) -> httpx.Response:
        """One request; redirects are the caller's to follow."""
        parts = urlsplit(url)
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.get(parts.netloc, {}).items())
        sent = {**BROWSER, **({"Cookie": kept} if kept else {}), "Host": parts.netloc, **headers}
        target = parts._replace(netloc=f"127.0.0.1:{parts.port}").geturl()
        with httpx.Client(trust_env=False, timeout=60) as http:
            response = http.get(target, headers=sent)
        self.cookies.setdefault(parts.netloc, {}).update(response.cookies)
        return response

    def open(self, url: str) -> tuple[str, httpx.Response]:
        """Follow redirects to the page, and wait for an app that is starting."""
        for _ in range(60):
            response = self.get(url)
            if response.status_code in (302, 303):
                url = str(httpx.URL(url).join(response.headers["Location"]))
            elif response.status_code != 503:
                return url, response
        raise AssertionError(f"no end at {url}: {response.text[:500]}")
