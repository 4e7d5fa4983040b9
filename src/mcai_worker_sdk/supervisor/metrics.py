"""Figures of the worker for Prometheus, kept in the supervisor: one process, one truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.errors import MissingExtraError
from mcai_worker_sdk.protocol.responses import JobResult, JobState
from mcai_worker_sdk.versions import check_versions

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["WorkerFigures", "WorkerState", "render_metrics"]

#: Upper bounds of the duration histogram, in seconds: jobs take from milliseconds to many hours.
DURATION_BUCKETS_SECONDS = (
    0.1,
    0.5,
    1.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    43200.0,
)


@dataclass(slots=True)
class WorkerFigures:
    """What is counted. Cheap to keep, so it is kept whether or not anybody asks."""

    identity: Mapping[str, Any]
    ended: Counter[str] = field(default_factory=Counter)
    """Terminal messages, by outcome."""
    duration_buckets: Counter[float] = field(default_factory=Counter)
    """Ended jobs, by the upper bound of their duration."""
    duration_sum_seconds: float = 0.0

    def count(self, result: JobResult) -> None:
        """Count one terminal message."""
        self.ended[str(result.state)] += 1
        duration = result.execution_duration_seconds
        self.duration_sum_seconds += duration
        bound = next((bound for bound in DURATION_BUCKETS_SECONDS if duration <= bound), float("inf"))
        self.duration_buckets[bound] += 1


@dataclass(frozen=True, slots=True)
class WorkerState:
    """How the worker stands at this moment."""

    in_flight: bool
    connected: bool
    resident_memory_bytes: Mapping[str, int]
    """By process: ``supervisor`` and ``job``."""


def render_metrics(figures: WorkerFigures, state: WorkerState) -> bytes:
    """
    Write the figures in Prometheus' text format.

    Raises:
        MissingExtraError: ``prometheus-client`` is not installed.
        UnsupportedVersionError: It is, in a version that the SDK does not run on.
    """
    check_versions("metrics")
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingExtraError("The /metrics endpoint", extra="metrics", missing="prometheus_client") from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures, state))
    return generate_latest(registry)


class _Collector:
    """Hands the figures to prometheus-client, which knows the format."""

    def __init__(self, figures: WorkerFigures, state: WorkerState) -> None:
        self._figures = figures
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family: what prometheus-client asks of a collector."""
        from prometheus_client.metrics_core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        figures, state = self._figures, self._state
        identity = {key: str(figures.identity[key]) for key in ("name", "version", "instance_id", "queue_name")}
        yield InfoMetricFamily("mcai_worker", "The worker.", value=identity)
        jobs = CounterMetricFamily("mcai_jobs", "Jobs ended, by outcome.", labels=["outcome"])
        for outcome in (JobState.COMPLETED, JobState.STOPPED, JobState.ERROR):
            jobs.add_metric([str(outcome)], figures.ended[str(outcome)])
        yield jobs
        yield HistogramMetricFamily(
            "mcai_job_duration_seconds",
            "Wall time of ended jobs.",
            buckets=list(self._cumulated_buckets()),
            sum_value=figures.duration_sum_seconds,
        )
        yield GaugeMetricFamily("mcai_jobs_in_flight", "Jobs in hand, 0 or 1.", value=int(state.in_flight))
        yield GaugeMetricFamily("mcai_broker_connected", "1 while connected.", value=int(state.connected))
        memory = GaugeMetricFamily("mcai_resident_memory_bytes", "Resident memory, by process.", labels=["process"])
        for process, resident in state.resident_memory_bytes.items():
            memory.add_metric([process], resident)
        yield memory

    def _cumulated_buckets(self) -> Iterator[tuple[str, float]]:
        total = 0
        for bound in DURATION_BUCKETS_SECONDS:
            total += self._figures.duration_buckets[bound]
            yield str(bound), total
        yield "+Inf", total + self._figures.duration_buckets[float("inf")]
