"""The proxy unit: configurable-http-proxy as a child, told its routes by the hub as soon as it listens.

A proxy that starts knows no routes, and the hub would notice only at its next check, up to minutes later: so whoever starts
it asks the hub to post them. ``python -m toolkit_hub.proxy``
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import httpx

from toolkit_hub import clock
from toolkit_hub.configure import Toolkit, load_settings
from toolkit_hub.host.processes import die_with_parent

__all__ = ["NODE_DIR", "find_program", "main", "proxy_command"]

log = logging.getLogger("toolkit.proxy")

#: Where set-up installs the pinned program: hub_config/node of the source tree.
NODE_DIR = Path(__file__).resolve().parent.parent / "node"
PROGRAM = "configurable-http-proxy"
#: Seconds for which the hub is asked; later it posts the routes by itself when it starts.
ANNOUNCE_TIMEOUT_S = 60.0
ANNOUNCE_INTERVAL_S = 0.25


def main() -> int:
    """Run until the proxy ends; its exit code, 128 + n when a signal ended it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    site = load_settings()
    program = find_program()
    if program is None:
        print(missing_program_words(), file=sys.stderr)
        return 1
    child = subprocess.Popen(
        proxy_command(site, program), env=proxy_environment(site), stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
    )

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    threading.Thread(target=announce, args=(site,), daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


def find_program() -> str | None:
    """The pinned program of the source tree, else one on PATH."""
    pinned = NODE_DIR / "node_modules" / ".bin" / PROGRAM
    return str(pinned) if pinned.exists() else shutil.which(PROGRAM)


def missing_program_words() -> str:
    return (
        f"{PROGRAM} is not installed, so the proxy cannot start.\n"
        f"Install it with `make setup`, or `npm ci --prefix {NODE_DIR}`; from a package: `npm install -g {PROGRAM}@5`."
    )


def proxy_command(site: Toolkit, program: str) -> list[str]:
    """The program and its options. The API's token goes by the environment: everybody can read a process's arguments."""
    return [
        program,
        *("--ip", site.bind_ip),
        *("--port", str(site.base_port)),
        *("--api-ip", "127.0.0.1"),
        *("--api-port", str(site.base_port + 4)),
        *("--default-target", site.hub_url),
        *("--error-target", f"{site.hub_url}/hub/error"),
    ]


def proxy_environment(site: Toolkit) -> dict[str, str]:
    return {**os.environ, "CONFIGPROXY_AUTH_TOKEN": site.secret("proxy-token")}


def announce(site: Toolkit) -> bool:
    """Have the hub post its routes to the new proxy. Returns whether it did within `ANNOUNCE_TIMEOUT_S`."""
    deadline = clock.monotonic() + ANNOUNCE_TIMEOUT_S
    # Loopback only: a proxy of the environment (HTTP_PROXY) has no part in it.
    with httpx.Client(timeout=10, trust_env=False) as client:
        listening = False
        while clock.monotonic() < deadline:
            try:
                listening = listening or _is_listening(client, site)
                if listening and _post_routes(client, site):
                    return True
            except httpx.HTTPError as error:
                log.debug("not yet: %s", error)
            except PermissionError as error:
                log.error("%s", error)
                return False
            time.sleep(ANNOUNCE_INTERVAL_S)
    log.warning(
        "the hub did not post its routes within %.0f s; it does so by itself when it starts, and at its regular check",
        ANNOUNCE_TIMEOUT_S,
    )
    return False


def _is_listening(client: httpx.Client, site: Toolkit) -> bool:
    token = {"Authorization": f"token {site.secret('proxy-token')}"}
    return client.get(f"{site.proxy_api_url}/api/routes", headers=token).status_code == httpx.codes.OK


def _post_routes(client: httpx.Client, site: Toolkit) -> bool:
    token = {"Authorization": f"token {site.secret('proxy-check-token')}"}
    answer = client.post(f"{site.hub_url}/hub/api/proxy", headers=token)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise PermissionError(
            f"the hub refuses to post its routes ({answer.status_code}): its secret `proxy-check-token` is another one. "
            "Do proxy and hub use the same state folder? Restart the hub."
        )
    if answer.is_success:
        log.info("the hub has posted its routes")
    return answer.is_success


if __name__ == "__main__":
    sys.exit(main())
