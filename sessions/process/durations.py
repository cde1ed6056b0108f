"""How long something took, as a histogram that costs next to nothing while nobody looks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

# Seconds. From what nobody notices to what a person gives up on.
QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Seconds of what waits for models and people: a turn may take five minutes.
SLOW: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


class Durations:
    """Counts durations in buckets with these upper bounds, and sums them up."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.total = 0.0
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)

    def add(self, seconds: float) -> None:
        """Count one; less than nothing, by a clock that was set, is nothing."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def add_ages(self, moments: Sequence[int], now: int) -> None:
        """Count how long ago each of these milliseconds was; they are in order, oldest first."""
        left = len(moments)
        for number, bound in enumerate(self._bounds):
            # Those that are older than the bound stand before the first that is not.
            older = bisect_left(moments, now - bound * 1000, 0, left)
            self._counts[number] += left - older
            left = older
        self._counts[-1] += left
        ahead = bisect_left(moments, now)
        self.total += (now * ahead - sum(moments[:ahead])) / 1000

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound with the number of durations up to it, as Prometheus has them."""
        names = [*map(str, self._bounds), "+Inf"]
        return [*zip(names, map(float, accumulate(self._counts)), strict=True)]
