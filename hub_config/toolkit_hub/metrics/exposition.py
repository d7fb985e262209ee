"""The service's metrics in Prometheus' text format: what was counted, the site as it is now, and each running run.

A run's series end with it, so their number is bounded by what the machine can run at a time. The label is `job_id`, for
Prometheus keeps `job` for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from toolkit_hub import clock
from toolkit_hub.domain.running import RunningRun, SiteCounts
from toolkit_hub.domain.site import Site
from toolkit_hub.metrics.instruments import SERVICE_REGISTRY
from toolkit_hub.metrics.sampler import Seen
from toolkit_spawner.device_readings import DeviceReading

__all__ = ["Moment", "exposition"]

_RUN_LABELS = ("job_id", "run_index", "account", "user")
#: Suffix of the metric, counter's name, what it says.
_RUN_COUNTERS = (
    ("cpu_seconds", "cpu", "CPU time that the run has used."),
    ("disk_read_bytes", "disk_read", "Bytes that the run has read from block devices."),
    ("disk_written_bytes", "disk_written", "Bytes that the run has written to block devices."),
    ("network_received_bytes", "net_received", "Bytes that came to the run's network."),
    ("network_sent_bytes", "net_sent", "Bytes that left the run's network."),
)
_GPU_GAUGES = (
    ("use_ratio", "use", 0.01, "Part of the time in which a GPU of the run computed."),
    ("memory_bytes", "memory", 1, "Memory in use on a GPU of the run."),
    ("temperature_celsius", "temperature", 1, "Temperature of a GPU of the run."),
)


class Moment(Collector):
    """The site at the moment of a scrape."""

    def __init__(
        self, site: Site, counts: SiteCounts, seen: Sequence[Seen], devices: Mapping[str, DeviceReading]
    ) -> None:
        self._site, self._counts, self._seen, self._devices = site, counts, seen, devices

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._room()
        yield from self._limits()
        yield from self._counters()
        yield from self._gpus()

    def _jobs(self) -> Iterator[Metric]:
        counts = self._counts
        alive = GaugeMetricFamily("toolkit_jobs", "Jobs that have not ended.", labels=["state", "class"])
        for (state, class_), number in sorted(counts.alive.items()):
            alive.add_metric([state, class_], number)
        ended = GaugeMetricFamily(
            "toolkit_jobs_ended", "Jobs that have ended, as the database has them.", labels=["state"]
        )
        for state, number in sorted(counts.ended.items()):
            ended.add_metric([state], number)
        queue = sum(number for (state, _), number in counts.alive.items() if state == "QUEUING")
        wait = (clock.now() - counts.oldest_waiting).total_seconds() if counts.oldest_waiting else 0.0
        yield alive
        yield ended
        yield GaugeMetricFamily("toolkit_queue_length", "Jobs that wait for room.", value=queue)
        yield GaugeMetricFamily(
            "toolkit_queue_oldest_wait_seconds",
            "For how long the longest waiting run has waited.",
            value=max(0.0, wait),
        )

    def _room(self) -> Iterator[Metric]:
        total, held = self._site.total, self._counts.held
        yield GaugeMetricFamily("toolkit_cpus", "CPUs that runs may hold together.", value=total.cpu)
        yield GaugeMetricFamily("toolkit_cpus_held", "CPUs that runs hold.", value=held.cpu)
        yield GaugeMetricFamily("toolkit_memory_bytes", "Memory that runs may hold together.", value=total.mem * 2**30)
        yield GaugeMetricFamily("toolkit_memory_held_bytes", "Memory that runs hold.", value=held.mem * 2**30)
        if self._devices:
            taken = sum(len(one.run.devices) for one in self._seen)
            yield GaugeMetricFamily("toolkit_gpus", "GPUs of this machine that answer.", value=len(self._devices))
            yield GaugeMetricFamily("toolkit_gpus_held", "GPUs that running runs hold.", value=taken)

    def _limits(self) -> Iterator[Metric]:
        cpu = GaugeMetricFamily("toolkit_run_cpu_limit_cores", "CPUs that the run may use.", labels=_RUN_LABELS)
        memory = GaugeMetricFamily("toolkit_run_memory_limit_bytes", "Memory that the run may use.", labels=_RUN_LABELS)
        for run in self._counts.running:
            cpu.add_metric(_labels(run), run.cpu_limit)
            memory.add_metric(_labels(run), run.memory_limit * 2**30)
        yield cpu
        yield memory

    def _counters(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "toolkit_run_memory_bytes", "Memory in use, without cache that can be given up.", labels=_RUN_LABELS
        )
        for one in self._living():
            if one.counters.memory is not None:
                memory.add_metric(_labels(one.run), one.counters.memory)
        yield memory
        for suffix, name, words in _RUN_COUNTERS:
            family = CounterMetricFamily(f"toolkit_run_{suffix}", words, labels=_RUN_LABELS)
            for one in self._living():
                value = getattr(one.counters, name)
                if value is not None:
                    family.add_metric(_labels(one.run), value)
            yield family

    def _gpus(self) -> Iterator[Metric]:
        for suffix, name, factor, words in _GPU_GAUGES:
            family = GaugeMetricFamily(f"toolkit_run_gpu_{suffix}", words, labels=[*_RUN_LABELS, "gpu"])
            for one in self._living():
                for uuid, reading in sorted(one.sample.devices.items()):
                    value = getattr(reading, name)
                    if value is not None:
                        family.add_metric([*_labels(one.run), uuid], value * factor)
            yield family

    def _living(self) -> Iterable[Seen]:
        """Without runs that have ended since they were read, and under the names that accounts and users have now."""
        running = {run.run_id: run for run in self._counts.running}
        return (replace(one, run=running[one.run.run_id]) for one in self._seen if one.run.run_id in running)


def _labels(run: RunningRun) -> list[str]:
    return [run.job_id, str(run.index), run.account, run.user]


def exposition(moment: Moment) -> bytes:
    """All of the service's metrics."""
    now = CollectorRegistry()
    now.register(moment)
    return generate_latest(SERVICE_REGISTRY) + generate_latest(now)
