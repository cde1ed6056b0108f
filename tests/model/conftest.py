"""How long the model test looks: TURNSTREAM_MODEL_EXAMPLES runs of some dozens of steps."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

# As many as take about ten seconds. A search through the night: 20000.
_QUICK: Final = "40"

settings.register_profile(
    "model",
    max_examples=int(os.environ.get("TURNSTREAM_MODEL_EXAMPLES", _QUICK)),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
