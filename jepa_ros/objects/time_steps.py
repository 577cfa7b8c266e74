"""The time steps that forecasters read and predict, and positions at such steps from reports at any times.

Axes: N objects, L reports, T wanted times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.4
HISTORY = 8  # steps seen, the last one = now
HORIZON = 12  # steps predicted
AT_A_REPORT = 1e-6  # share of the gap between two reports: a time this near to one of them does not need the other


def positions_at(wanted_s: NDArray[np.floating], times_s: NDArray[np.floating], path_m: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, T, 2) positions at `wanted_s` (T,), linear between reports `path_m` (N, L, 2) at `times_s` (L,); both ascend.

    NaN stands for a position that is not known: where a report that is needed is NaN, and before the first report.
    """
    after = np.clip(np.searchsorted(times_s, wanted_s - 1e-9), 0, len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    gap_s = times_s[after] - times_s[before]
    share = np.where(gap_s > 0, np.clip((wanted_s - times_s[before]) / np.where(gap_s > 0, gap_s, 1.0), 0.0, 1.0), 1.0)[:, None]
    start, end = path_m[:, before], path_m[:, after]
    start, end = np.where(share > 1 - AT_A_REPORT, end, start), np.where(share < AT_A_REPORT, start, end)
    return np.where((wanted_s >= times_s[0] - 1e-9)[:, None], (1.0 - share) * start + share * end, np.nan)
