"""Counts and times of the server in the format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import Scope

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The metrics of one server.

    Args:
        jobs: Returns the number of jobs by state.
        is_ready: Returns whether the network is loaded.
    """

    def __init__(self, jobs: Callable[[], Mapping[str, int]], is_ready: Callable[[], bool]):
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._requests = Counter(
            "deeplab_gygo_requests", "Requests answered.", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "deeplab_gygo_request_seconds", "Seconds from a request to the end of its answer.",
            ("route",), buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._active = Gauge(
            "deeplab_gygo_requests_in_progress", "Requests in progress.", registry=self._registry
        )
        self.job_seconds = Histogram(
            "deeplab_gygo_job_seconds", "Seconds of a job from its start to its end.", ("state",),
            buckets=(1, 5, 15, 60, 300, 1200, 3600, 14400), registry=self._registry,
        )  # fmt: skip
        self.uploaded = Counter(
            "deeplab_gygo_uploaded_bytes", "Bytes of clips received.", registry=self._registry
        )
        self._registry.register(_State(jobs, is_ready))
        self._counters = lru_cache(1000)(self._requests.labels)  # of few methods, routes, statuses
        self._histograms = lru_cache(1000)(self._seconds.labels)

    def begin(self) -> float:
        """Counts a request that begins; returns its time."""
        self._active.inc()
        return time.perf_counter()

    def end(self, scope: Scope, status: int, started: float) -> None:
        """Counts a request that ended; status 0 is of a connection that broke before an answer."""
        self._active.dec()
        # The template of the path, of which there are a few; addresses that do not exist are one.
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._counters(method, route, str(status)).inc()
        self._histograms(route).observe(time.perf_counter() - started)

    def text(self) -> bytes:
        """Returns all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class _State(Collector):
    """Values that are looked up when they are asked for."""

    def __init__(self, jobs: Callable[[], Mapping[str, int]], is_ready: Callable[[], bool]):
        self._jobs, self._is_ready = jobs, is_ready

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("deeplab_gygo_jobs", "Jobs by state.", labels=["state"])
        for state, count in self._jobs().items():
            jobs.add_metric([state], count)
        yield jobs
        ready = float(self._is_ready())
        yield GaugeMetricFamily("deeplab_gygo_ready", "Whether the network is loaded.", value=ready)
