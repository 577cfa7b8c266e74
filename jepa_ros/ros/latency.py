"""Rolling latencies of named stages."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

WINDOW = 512  # samples kept of each stage: about a minute at 10 Hz


class LatencyBook:
    """Keeps the last samples of each stage; written by the worker and the callbacks, read by the diagnostics."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, elapsed_ms: float) -> None:
        with self._lock:
            self._samples.setdefault(stage, deque(maxlen=WINDOW)).append(elapsed_ms)

    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Stage -> (p50, p99) in ms, in the order in which the stages were first seen."""
        with self._lock:
            samples = {stage: list(values) for stage, values in self._samples.items()}
        return {stage: (float(np.percentile(values, 50)), float(np.percentile(values, 99))) for stage, values in samples.items()}
