"""How far the world strayed from what was predicted, on a scale of 0 to 1."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import torch.nn.functional as F
from torch import Tensor

WARM_UP = 10  # errors seen before a value is given
MEMORY = 300  # errors remembered
WORST_SHARE = 0.005  # of all tokens: a person who steps out covers a few tokens of thousands, and drowns in their mean
MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation of a normal distribution


class SurpriseMeter:
    """Places each prediction error in the running history of such errors.

    The error of an instant is that of its worst places: latents that form a square map are averaged over 3 x 3 neighbours, because an event
    is wrong in one piece while sensor noise is scattered, and the worst 0.5 % of the places count.
    The history's median and MAD (robust: one shock does not hide the next) standardise the log error; the normal CDF turns that into
    0-1. 0.5 is a usual error; 0.98 lies two standard deviations above the usual.
    """

    def __init__(self) -> None:
        self._log_errors: deque[float] = deque(maxlen=MEMORY)

    def reset(self) -> None:
        """Forget the history, as after a jump in time."""
        self._log_errors.clear()

    def update(self, observed_ND: Tensor, predicted_ND: Tensor) -> float:
        """Surprise of one observation, both latents (N, D) in the same anchor frame; NaN until `WARM_UP` errors were seen.

        Raises ValueError where the shapes differ.
        """
        if observed_ND.shape != predicted_ND.shape:
            raise ValueError(f"observed {tuple(observed_ND.shape)} and predicted {tuple(predicted_ND.shape)} latents differ in shape")
        # A prediction warped into this frame is zero where it had no data: nothing was foretold there, so nothing surprises there.
        foretold_N1 = predicted_ND.abs().amax(dim=1, keepdim=True) > 0
        log_error = math.log(_worst_places((observed_ND - predicted_ND).square().mean(dim=1) * foretold_N1[:, 0]) + 1e-12)
        surprise = float("nan")
        if len(self._log_errors) >= WARM_UP:
            history = np.asarray(self._log_errors)
            median = float(np.median(history))
            sigma = max(MAD_TO_SIGMA * float(np.median(np.abs(history - median))), 0.05)  # floor: 5 % is never a surprise
            surprise = 0.5 * (1 + math.erf((log_error - median) / sigma / math.sqrt(2)))
        self._log_errors.append(log_error)
        return surprise


def _worst_places(error_N: Tensor) -> float:
    """Mean error of the worst places."""
    side = math.isqrt(len(error_N))
    if side > 2 and side * side == len(error_N):
        error_N = F.avg_pool2d(error_N.float().view(1, side, side), 3, stride=1, padding=1).flatten()
    return float(error_N.float().topk(max(1, round(WORST_SHARE * len(error_N)))).values.mean())
