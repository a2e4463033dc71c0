"""Prometheus metrics of one worker process, or of all that share ``PROMETHEUS_MULTIPROC_DIR``."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from imagerec_worker import shared_metrics
from imagerec_worker.bundle import Bundle

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. Inference takes 4 ms on a current core, a queue may hold requests for seconds.
_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 2.0, 4.0, 8.0)


class Metrics:
    """Counts answers and measures the phases of a classification.

    Without ``PROMETHEUS_MULTIPROC_DIR`` every process counts for itself, and a scrape of a listener that
    several share meets one of them.
    """

    def __init__(self, bundle: Bundle, worker_name: str) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "imagerec_answers", "Answers by route and status.", ("route", "status"), registry=self._registry
        )
        self._phases = Histogram(
            "imagerec_phase_seconds",
            "Time of a classification by phase: queue, read, decode, inference, total (without the queue).",
            ("phase",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        # Looking a label up takes a lock and, with cold caches, as long as counting.
        self._by_phase: dict[str, Histogram] = {}
        model = Gauge(
            "imagerec_model_info",
            "Always 1; the labels name the worker and the model it serves.",
            ("worker", "name", "version", "digest"),
            multiprocess_mode="livemax",
            registry=self._registry,
        )
        model.labels(worker_name, bundle.name, bundle.version, bundle.digest).set(1)

    def count_answer(self, route: str, status: int) -> None:
        """Count one answer."""
        self._answers.labels(route, str(status)).inc()

    def observe_phases(self, phases_ms: Mapping[str, float]) -> None:
        """Record the duration of each named phase, in milliseconds."""
        for phase, duration_ms in phases_ms.items():
            if phase not in self._by_phase:
                self._by_phase[phase] = self._phases.labels(phase)
            self._by_phase[phase].observe(duration_ms / 1000)

    def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        shared = shared_metrics.folder()
        return generate_latest(self._registry) if shared is None else shared_metrics.render(shared)
