"""Which replicas stand still, as one of them sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Seconds for which a heartbeat must have been seen unchanged until its replica counts as dead.
DEAD_AFTER: Final = 10.0
# Seconds that one look at the heartbeats can vouch for: a sweeper that was frozen itself between
# two looks has not seen anybody stand still.
_LONGEST_LOOK: Final = 2.0


@dataclass(slots=True)
class ReplicaWatch:
    """What a sweeper has itself seen of the heartbeats, by a clock that cannot be set."""

    dead_after: float = DEAD_AFTER
    _seen: dict[str, tuple[int, float]] = field(default_factory=lambda: {})
    _looked: float | None = None

    def observe(self, beats: Mapping[str, int], *, ignore: str) -> dict[str, int]:
        """Take one look; the replicas that stood still for too long, with their last beat."""
        now = asyncio.get_running_loop().time()
        passed = 0.0 if self._looked is None else min(now - self._looked, _LONGEST_LOOK)
        self._looked = now
        before = self._seen
        self._seen = {
            replica: (beat, before[replica][1] + passed if self._stands(replica, beat) else 0.0)
            for replica, beat in beats.items()
            if replica != ignore
        }
        return {
            replica: beat
            for replica, (beat, still) in self._seen.items()
            if still >= self.dead_after
        }

    def forget(self) -> None:
        """Start again: Redis did not answer, so that nobody can be blamed for standing still."""
        self._seen.clear()
        self._looked = None

    def _stands(self, replica: str, beat: int) -> bool:
        return replica in self._seen and self._seen[replica][0] == beat
