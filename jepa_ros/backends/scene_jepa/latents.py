"""A latent's two forms: a list of tokens, as the seams pass it on, and a map. Both share their memory.

Axes: N token (= Y * X), D latent width, Y row, X column.
"""

from __future__ import annotations

from torch import Tensor

from jepa_ros.backends.bev import BEV_GRID

TOKENS = (BEV_GRID.rows // 2, BEV_GRID.columns // 2)  # Y, X: one token covers 0.8 m x 0.8 m


def to_map(latents: Tensor) -> Tensor:
    """(..., N, D) -> (..., D, Y, X), without a copy: the map is channels-last in memory."""
    return latents.unflatten(-2, TOKENS).movedim(-1, -3)


def from_map(maps: Tensor) -> Tensor:
    """(..., D, Y, X) -> (..., N, D)."""
    return maps.movedim(-3, -1).flatten(-3, -2)
