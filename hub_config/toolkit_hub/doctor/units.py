"""The four units: do they answer, does the proxy know its routes, do they listen where they should and nowhere else."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.admin_models import Finding
from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.bridge import address_of_bridge
from toolkit_hub.configure import SERVICE_PREFIX, Toolkit
from toolkit_hub.doctor.check import Patient, ok, problem, warning
from toolkit_hub.store.tables import Run

__all__ = ["check_ports", "check_proxy", "check_units"]

ANSWER_TIMEOUT_S = 5.0
#: What works on, and what does not, while a unit is away.
WITHOUT = {
    "service": "no job is accepted or started; running jobs go on",
    "hub": "nobody can sign in; who is signed in still reaches jobs by their hosts",
    "gate": "nobody reaches a job; jobs run on",
}
PORT_NAMES = ("proxy", "job hosts", "service", "gate", "proxy's API", "hub")
#: The first ports are for others, on `bind_ip`; the rest is for this machine alone.
PUBLIC_PORTS = 2
#: A run that started within this time may still be getting its route.
ROUTE_GRACE = timedelta(seconds=30)


def check_units(patient: Patient) -> Iterator[Finding]:
    site = patient.site
    addresses = {
        "service": f"{site.service_url}{SERVICE_PREFIX}api/v1/openapi.json",
        "hub": f"{site.hub_url}/hub/api/",
        "gate": f"{site.gate_url}/.toolkit/health",
    }
    for unit, url in addresses.items():
        began = clock.monotonic()
        answer = _get(url)
        if isinstance(answer, str):
            yield problem(unit, f"{unit} does not answer ({answer}): {WITHOUT[unit]}", _restart(unit))
        elif answer.status_code != httpx.codes.OK:
            yield problem(unit, f"{unit} answers {answer.status_code}: {WITHOUT[unit]}", _restart(unit))
        else:
            yield ok(unit, f"{unit} answers in {1000 * (clock.monotonic() - began):.0f} ms")


def check_proxy(patient: Patient) -> Iterator[Finding]:
    site = patient.site
    token = {"Authorization": f"token {site.secret('proxy-token')}"}
    answer = _get(f"{site.proxy_api_url}/api/routes", token)
    if isinstance(answer, str):
        yield problem(
            "proxy", f"the proxy does not answer ({answer}): nobody gets in by the public port", _restart("proxy")
        )
        return
    if answer.status_code != httpx.codes.OK:
        words = f"the proxy's API answers {answer.status_code}: another program, or a proxy with another secret, has the port"
        yield problem("proxy", words, _restart("proxy"))
        return
    yield from _routes(patient, {path: str(route.get("target", "")) for path, route in answer.json().items()})
    yield _public_way(site)


def _routes(patient: Patient, routes: dict[str, str]) -> Iterator[Finding]:
    site = patient.site
    ours = {
        urlsplit(url).netloc: name
        for name, url in (("hub", site.hub_url), ("service", site.service_url), ("gate", site.gate_url))
    }
    leads = {path.rstrip("/") or "/": ours.get(urlsplit(target).netloc, "") for path, target in routes.items()}
    missing = [
        unit for unit, path in (("hub", "/"), ("service", SERVICE_PREFIX.rstrip("/"))) if leads.get(path) != unit
    ]
    if missing:
        words = f"the proxy has no route to {' and '.join(missing)}"
        yield problem("proxy: routes", words, f"the hub posts its routes when it starts: {_restart('hub')}")
    foreign = sorted(path for path, unit in leads.items() if not unit or (path.startswith("/user/") and unit != "gate"))
    if foreign:
        words = f"the proxy has routes that are not the site's: {', '.join(foreign[:5])}; users may be led to a foreign program"
        yield problem("proxy: routes", words, f"find out who has the proxy's secret; then {_restart('proxy')}")
    with patient.store.begin(write=False) as session:
        running = _running_paths(session)
    lost = sorted(path for path in running if path not in leads)
    if lost:
        words = f"{len(lost)} of {len(running)} running jobs have no route; their job hosts work, /user/… does not"
        yield warning("proxy: routes", words, "the hub's regular check posts them again within minutes")
    if not missing and not foreign:
        yield ok("proxy: routes", f"the proxy has {len(leads)} routes, all to this site's units")


def _running_paths(session: Session) -> list[str]:
    query = select(Run.owner, Run.server_name).where(
        Run.state == JobState.RUNNING, Run.started < clock.now() - ROUTE_GRACE
    )
    return [f"/user/{owner}/{name}" for owner, name in session.execute(query)]


def _public_way(site: Toolkit) -> Finding:
    """As a user's request goes: proxy, route, service."""
    host = "127.0.0.1" if site.bind_ip in ("0.0.0.0", "::", "") else site.bind_ip
    answer = _get(f"http://{host}:{site.base_port}{SERVICE_PREFIX}api/v1/openapi.json")
    if isinstance(answer, str) or answer.status_code != httpx.codes.OK:
        said = answer if isinstance(answer, str) else f"it answers {answer.status_code}"
        return problem("proxy", f"the service is not reached through the proxy: {said}", "see the other findings")
    return ok("proxy", "the proxy answers and leads to the service")


def _get(url: str, headers: dict[str, str] | None = None) -> httpx.Response | str:
    """The answer, or why there is none. Loopback only, so no proxy of the environment has a part in it."""
    try:
        return httpx.get(url, headers=headers, timeout=ANSWER_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__


def _restart(unit: str) -> str:
    return f"look at logs/{unit}.log in the state folder; restart it: python -m toolkit_hub.host.units restart {unit}"


# --- ports ----------------------------------------------------------------------------------------------------------------


def check_ports(patient: Patient) -> Iterator[Finding]:
    """Only the first two ports are for others; the ways for jobs may have the address of the jobs' own bridge besides."""
    site, listening = patient.site, listening_addresses()
    bridge = address_of_bridge(site.jobs_bridge)
    public = ipaddress.ip_address(site.bind_ip) if site.bind_ip else ipaddress.ip_address("0.0.0.0")
    found = []
    for offset, name in enumerate(PORT_NAMES):
        port = site.base_port + offset
        wide = sorted(str(address) for address in listening.get(port, ()) if not address.is_loopback)
        if port in (site.job_api_port, site.job_data_port):
            wide = [address for address in wide if address != bridge]
        if wide and (offset >= PUBLIC_PORTS or public.is_loopback):
            words = f"port {port} ({name}) listens on {', '.join(wide)}, and only this machine should reach it"
            found.append(
                problem(
                    "ports",
                    words,
                    "something else has taken the port, or a setting opens it: close it, restart the unit",
                )
            )
        elif port not in listening:
            found.append(warning("ports", f"nobody listens on port {port} ({name})", "see the finding of that unit"))
    yield from found
    if not found:
        last = site.base_port + len(PORT_NAMES) - 1
        yield ok("ports", f"{site.base_port} to {last} are listened on, on {public} and loopback as set")


def listening_addresses() -> dict[int, set[ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """For each TCP port of this machine the addresses on which somebody listens (Linux)."""
    found: dict[int, set[ipaddress.IPv4Address | ipaddress.IPv6Address]] = {}
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == "0A":
                address, _, port = fields[1].partition(":")
                found.setdefault(int(port, 16), set()).add(_address(address, family))
    return found


def _address(text: str, family: socket.AddressFamily) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes 32-bit words in the machine's own byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    raw = struct.pack(f"={len(words)}I", *words)
    return ipaddress.IPv4Address(raw) if family == socket.AF_INET else ipaddress.IPv6Address(raw)
