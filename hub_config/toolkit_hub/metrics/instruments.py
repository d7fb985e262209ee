"""What is counted while it happens, in each unit's own process; a restart begins at 0, which Prometheus expects."""

from __future__ import annotations

from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

__all__ = [
    "API_REQUESTS",
    "API_SECONDS",
    "CONTENT_TYPE",
    "GATE_CONNECTIONS",
    "GATE_REGISTRY",
    "GATE_REQUESTS",
    "GATE_SECONDS",
    "PLANNER_PASS",
    "SAMPLER_ROUND",
    "SERVICE_REGISTRY",
    "count_gate_request",
    "method_label",
]

#: Prometheus' text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds: answers of some milliseconds, and streams that last.
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600)
_PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# One more series for each counter, of no use to Prometheus.
disable_created_metrics()  # type: ignore[no-untyped-call]
SERVICE_REGISTRY = CollectorRegistry()
ProcessCollector(registry=SERVICE_REGISTRY)
API_REQUESTS = Counter(
    "toolkit_api_requests",
    "Requests that the service has answered.",
    ["route", "method", "status"],
    registry=SERVICE_REGISTRY,
)
API_SECONDS = Histogram(
    "toolkit_api_request_seconds",
    "Time from a request's arrival to the end of its answer; streams of logs and events last as long as somebody listens.",
    ["route", "method"],
    buckets=_REQUEST_BUCKETS,
    registry=SERVICE_REGISTRY,
)
PLANNER_PASS = Histogram(
    "toolkit_planner_pass_seconds",
    "Time of one pass over the queue, with its reading and writing.",
    buckets=_PASS_BUCKETS,
    registry=SERVICE_REGISTRY,
)
SAMPLER_ROUND = Histogram(
    "toolkit_sampler_round_seconds",
    "Time of one reading of all running runs.",
    buckets=_PASS_BUCKETS,
    registry=SERVICE_REGISTRY,
)

GATE_REGISTRY = CollectorRegistry()
ProcessCollector(registry=GATE_REGISTRY)
GATE_REQUESTS = Counter(
    "toolkit_gate_requests",
    "Requests that the gate has answered.",
    ["listener", "method", "status"],
    registry=GATE_REGISTRY,
)
GATE_SECONDS = Histogram(
    "toolkit_gate_request_seconds",
    "Time from a request's arrival to the end of its answer; upgraded connections last as long as they are open.",
    ["listener"],
    buckets=_REQUEST_BUCKETS,
    registry=GATE_REGISTRY,
)
GATE_CONNECTIONS = Gauge(
    "toolkit_gate_open_connections",
    "Requests and upgraded connections to jobs that are under way, in this gate.",
    registry=GATE_REGISTRY,
)


@cache
def _gate_requests(listener: str, method: str, status: int) -> Counter:
    """The one counter for these labels; to look it up costs more than to count."""
    return GATE_REQUESTS.labels(listener, method, str(status))


def count_gate_request(listener: str, method: str, status: int) -> None:
    """`method` as `method_label` gives it, so that there are few of them."""
    _gate_requests(listener, method, status).inc()


def method_label(method: str | None) -> str:
    """A request's method as a label: callers may send any word."""
    return method if method in _METHODS else "other"
