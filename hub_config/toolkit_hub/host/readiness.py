"""Whether each unit of a site answers, as its users would ask it."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

from toolkit_hub.configure import SERVICE_PREFIX, Toolkit

__all__ = ["gate_process", "problem_of", "routes_problem"]

PROBE_TIMEOUT_S = 3.0


def problem_of(site: Toolkit, unit: str) -> str | None:
    """What is wrong with a unit's answer; None when it is in order."""
    headers = {"Authorization": f"token {site.secret('proxy-token')}"} if unit == "proxy" else {}
    offset, path = {
        "proxy": (4, "/api/routes"),
        "service": (2, f"{SERVICE_PREFIX}api/v1/openapi.json"),
        "gate": (3, "/.toolkit/health"),
        "hub": (5, "/hub/api/"),
    }[unit]
    return _problem("127.0.0.1", site.base_port + offset, path, headers)


def gate_process(site: Toolkit) -> int | None:
    """Pid of the gate that answers now; None when none does. While one follows another it may be either."""
    connection = HTTPConnection("127.0.0.1", site.base_port + 3, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", "/.toolkit/health")
        return int(json.loads(connection.getresponse().read())["pid"])
    except (OSError, HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()


def routes_problem(site: Toolkit) -> str | None:
    """The whole way of a request: through the proxy, by the hub's routes, to the service."""
    host = "127.0.0.1" if site.bind_ip in ("0.0.0.0", "::", "") else site.bind_ip
    return _problem(host, site.base_port, f"{SERVICE_PREFIX}api/v1/openapi.json", {})


def _problem(host: str, port: int, path: str, headers: dict[str, str]) -> str | None:
    # The standard library's client: this is asked ten times a second while the units need the processor to start.
    connection = HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", path, headers=headers)
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"http://{host}:{port}{path} does not answer ({error})"
    finally:
        connection.close()
    return None if status == HTTPStatus.OK else f"http://{host}:{port}{path} answers {status}"
