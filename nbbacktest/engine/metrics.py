"""Counting how long things take: constant memory, percentiles to about 1%."""

from __future__ import annotations

from collections import Counter
from math import exp, log

_STEPS = 50.0  # buckets per factor e: each is 2% wide, its middle 1% off at most


class TimingSeries:
    """Durations in seconds, kept as a histogram of logarithmic buckets.

    One thread adds; others may call `summary` at any time and see a count that is at most one behind.
    """

    __slots__ = ("_buckets", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one duration; one below a nanosecond counts as a nanosecond in the percentiles."""
        self.count += 1
        self.total += seconds
        self.smallest = min(self.smallest, seconds)
        self.largest = max(self.largest, seconds)
        self._buckets[int(log(max(seconds, 1e-9)) * _STEPS // 1)] += 1

    def percentile(self, fraction: float) -> float:
        """The duration that `fraction` of all stay at or below, in seconds; 0 where there are none."""
        buckets = sorted(self._buckets.copy().items())
        left = fraction * sum(count for _, count in buckets)
        for bucket, count in buckets:
            left -= count
            if left <= 0:
                middle = exp((bucket + 0.5) / _STEPS)
                return min(max(middle, self.smallest), self.largest)
        return self.largest

    def summary(self) -> dict[str, float]:
        """Count, min, avg, p50, p99, max and total; seconds, zeros where nothing was counted."""
        if not self.count:
            return {"count": 0, "min": 0.0, "avg": 0.0, "p50": 0.0, "p99": 0.0, "max": 0.0, "total": 0.0}
        return {
            "count": self.count,
            "min": self.smallest,
            "avg": self.total / self.count,
            "p50": self.percentile(0.50),
            "p99": self.percentile(0.99),
            "max": self.largest,
            "total": self.total,
        }
