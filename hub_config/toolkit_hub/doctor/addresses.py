"""Addresses: are hub and jobs far enough apart for browsers, is TLS where it must be, do the job hosts' names lead here."""

from __future__ import annotations

import ipaddress
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from toolkit_client.admin_models import Finding
from toolkit_hub.doctor.check import Patient, ok, problem

__all__ = ["check_job_hosts", "check_urls"]


def check_urls(patient: Patient) -> Iterator[Finding]:
    """A job's page is its user's: on a host that shares cookies with the hub's it could act as its visitors."""
    hub, jobs = urlsplit(patient.site.public_url), urlsplit(patient.site.jobs_url)
    found = [*_form("public_url", hub), *_form("jobs_url", jobs)]
    if not found:
        found = [*_apart(hub, jobs), *_transport(hub, jobs, patient.site.bind_ip)]
    yield from found or [
        ok("urls", f"hub at {hub.geturl()}, each job on a host of its own below {jobs.netloc}, both by TLS")
    ]


def _form(name: str, url: SplitResult) -> Iterator[Finding]:
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query:
        yield problem(
            "urls", f"c.Toolkit.{name} is no address of a host: {url.geturl()}", "write it as https://hub.example.org"
        )


def _apart(hub: SplitResult, jobs: SplitResult) -> Iterator[Finding]:
    one, other = (hub.hostname or "").lower(), (jobs.hostname or "").lower()
    advice = "take a domain beside the hub's, or better one of its own: c.Toolkit.jobs_url = 'https://jobs.example.org'"
    if one == other:
        yield problem("urls", f"hub and jobs are both on {one}: a job could read or set the hub's cookies", advice)
    elif other.endswith(f".{one}"):
        words = f"the jobs' domain {other} lies below the hub's host {one}: a job can set cookies that the hub gets"
        yield problem("urls", words, advice)
    elif one.endswith(f".{other}"):
        words = f"the hub's host {one} lies below the jobs' domain {other}: it looks like a job's own host"
        yield problem("urls", words, advice)


def _transport(hub: SplitResult, jobs: SplitResult, bind_ip: str) -> Iterator[Finding]:
    if {hub.scheme, jobs.scheme} == {"https"}:
        return
    if all(_is_loopback(url.hostname or "") for url in (hub, jobs)) and _is_loopback(bind_ip):
        yield ok("urls", f"{hub.geturl()} without TLS, on loopback only: nothing leaves this machine")
        return
    clear = " and ".join(url.geturl() for url in (hub, jobs) if url.scheme == "http")
    yield problem(
        "urls",
        f"{clear} without TLS is reached from other machines: passwords and tokens cross the network in clear",
        "put a TLS terminator before the ports, and write https:// in c.Toolkit.public_url and c.Toolkit.jobs_url",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_job_hosts(patient: Patient) -> Iterator[Finding]:
    """Any name below the jobs' domain must lead to the gate, for each job has one of its own."""
    domain = urlsplit(patient.site.jobs_url).hostname or ""
    host = f"{uuid.uuid4()}.{domain}"
    try:
        found = sorted({str(item[4][0]) for item in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except OSError as error:
        if _is_loopback(domain):
            words = f"browsers resolve *.{domain} by themselves; on this machine curl and others do not (curl --resolve helps)"
            yield ok("job hosts", words)
        else:
            yield problem(
                "job hosts",
                f"names below {domain} do not resolve here ({error.strerror or error}): nobody reaches a job by its host",
                f"make a wildcard entry *.{domain} in the DNS that leads to this machine",
            )
        return
    yield ok("job hosts", f"*.{domain} resolves to {', '.join(found)}")
