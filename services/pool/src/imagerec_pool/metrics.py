"""What Prometheus may ask: what each worker is now, and what became of the requests since this program runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from imagerec_pool.autoscaler import Scaled

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Seconds. An inference takes 4 ms on a current core; objectives stand between tenths of a second and seconds.
_BUCKETS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)

Report = Iterable[Mapping[str, Any]]


class Metrics(Collector):
    """Counts requests, and tells what the agent reports when it is asked."""

    def __init__(self, report: Callable[[], Report], serving: Callable[[], int]) -> None:
        self._report, self._serving = report, serving
        self._scaled: Scaled | None = None
        self._has_autoscaler = False
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "imagerec_balancer_requests",
            "Requests to classify, by the worker whose answer the client got (empty: nginx's own) and the status.",
            ("worker", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "imagerec_balancer_response_seconds",
            "Time that nginx waited for a worker's good answer, the worker's queue included.",
            ("worker",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)

    def count(self, status: int, worker: str | None, response_s: float) -> None:
        """Count one request.

        Args:
            status: What the client got.
            worker: The worker whose answer that was; None where nginx answered by itself.
            response_s: Seconds that the worker was asked; counts where it answered well.
        """
        self._requests.labels(worker or "", str(status)).inc()
        if worker is not None and status < 400:
            self._seconds.labels(worker).observe(response_s)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Yield what is so now."""
        report = list(self._report())
        yield _gauge("imagerec_pool_workers", "Members of the pool.", len(report))
        yield _gauge("imagerec_pool_workers_serving", "Members that serve.", self._serving())
        states = GaugeMetricFamily(
            "imagerec_pool_worker_state", "Always 1; the label names what a worker is.", labels=("worker", "state")
        )
        under_way = GaugeMetricFamily(
            "imagerec_pool_worker_under_way", "Connections to a worker that carry a request.", labels=("worker",)
        )
        for each in report:
            states.add_metric((each["name"], each["state"]), 1)
            if each["under_way"] is not None:
                under_way.add_metric((each["name"],), each["under_way"])
        yield states
        yield under_way
        if self._has_autoscaler:
            yield _gauge("imagerec_autoscaler_up", "Whether the autoscaler answers.", int(self._scaled is not None))
        if self._scaled is not None:
            for name, meaning, number in (
                ("imagerec_autoscaler_active", "Workers that are active.", self._scaled.active),
                ("imagerec_autoscaler_minimum", "Workers that are active at least.", self._scaled.minimum),
                ("imagerec_autoscaler_maximum", "Workers that may be active.", self._scaled.maximum),
                ("imagerec_autoscaler_target", "Workers that shall be active.", self._scaled.target),
            ):
                if number is not None:
                    yield _gauge(name, meaning, number)

    def render(self, scaled: Scaled | None = None, *, has_autoscaler: bool = False) -> bytes:
        """Return all of it in Prometheus' text format, with what the autoscaler says; None where it says nothing."""
        self._scaled, self._has_autoscaler = scaled, has_autoscaler
        return generate_latest(self._registry)


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, meaning, value=value)
