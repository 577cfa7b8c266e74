"""A latent's two forms: a list of tokens, as the seams pass it on, and a map. Both share their memory.

Axes: T latent, N token (= Y * X), D latent width, C channel that holds something of single cells, Z of these what is held of a cell,
Y row, X column.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from jepa_ros.backends.bev import BEV_GRID

TOKENS = (BEV_GRID.rows // 2, BEV_GRID.columns // 2)  # Y, X: one token covers 0.8 m x 0.8 m


def to_map(latents: Tensor) -> Tensor:
    """(..., N, D) -> (..., D, Y, X), without a copy: the map is channels-last in memory."""
    return latents.unflatten(-2, TOKENS).movedim(-1, -3)


def from_map(maps: Tensor) -> Tensor:
    """(..., D, Y, X) -> (..., N, D)."""
    return maps.movedim(-3, -1).flatten(-3, -2)


CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # row and column of the cells of a token


def to_cells(latents: Sequence[Tensor]) -> Tensor:
    """(T, Z, 2 Y, 2 X) cells of T (N, 4 Z) latents, as `pixel_shuffle` orders them."""
    rows, columns = TOKENS
    channels = latents[0].shape[1] // 4
    cells = latents[0].new_empty((len(latents), channels, rows, 2, columns, 2))
    for map_ZYyXx, latent_NC in zip(cells, latents, strict=True):
        of_corners = to_map(latent_NC).unflatten(0, (channels, 2, 2))
        for row, column in CORNERS:  # four plain copies take a quarter of the time of one that moves six axes
            map_ZYyXx[:, :, row, :, column] = of_corners[:, row, column]
    return cells.view(len(latents), channels, 2 * rows, 2 * columns)


def from_cells(cells_TZYX: Tensor) -> Tensor:
    """(T, 4 Z, Y / 2, X / 2), as `pixel_unshuffle` orders it; in memory place by place, what is held of one beside each other."""
    count, channels, rows, columns = cells_TZYX.shape
    cells = cells_TZYX.view(count, channels, rows // 2, 2, columns // 2, 2)
    places = cells_TZYX.new_empty((rows // 2, columns // 2, count, channels, 2, 2))
    for row, column in CORNERS:
        places[..., row, column] = cells[:, :, :, row, :, column].permute(2, 3, 0, 1)
    return places.flatten(3).permute(2, 3, 0, 1)
