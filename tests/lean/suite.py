"""All of the algorithms, shortest bars last."""

from __future__ import annotations

from tests.lean import daily, hours, minutes, seconds

ALGORITHMS = [*daily.ALGORITHMS, *hours.ALGORITHMS, *minutes.ALGORITHMS, *seconds.ALGORITHMS]
