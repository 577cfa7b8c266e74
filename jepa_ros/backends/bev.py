"""Bird's-eye-view maps and how they move between anchor frames.

Axes: B batch, C channel, Y row (+y), X column (+x). The map is square and centred on the anchor.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_ros.sensing.voxelize import DEFAULT_GRID
from jepa_ros.types import GridSpec

BEV_GRID = DEFAULT_GRID  # 128 x 128 cells of 0.4 m, +-25.6 m


def half_extent_m(grid: GridSpec) -> float:
    """Distance from the centre of a square, centred grid to its border. Raises ValueError for any other grid."""
    half_m = grid.rows * grid.resolution_m / 2
    if grid.rows != grid.columns or not np.allclose(grid.origin_m, (-half_m, -half_m)):
        raise ValueError(f"{grid} is not square and centred on the anchor; use rows = columns and origin_m = (-{half_m}, -{half_m})")
    return half_m


def warp(maps_BCYX: Tensor, new_from_old: np.ndarray, half_m: float) -> Tensor:
    """The same maps seen from another anchor frame, bilinear; what lay outside the old map is 0.

    new_from_old: (B, 4, 4) or (1, 4, 4); of it only the motion in the plane matters. half_m: from `half_extent_m`.
    """
    if new_from_old.ndim != 3 or new_from_old.shape[1:] != (4, 4) or len(new_from_old) not in (1, len(maps_BCYX)):
        raise ValueError(f"new_from_old must be ({len(maps_BCYX)}, 4, 4) like the batch, got {new_from_old.shape}")
    if np.allclose(new_from_old, np.eye(4), atol=1e-6):
        return maps_BCYX
    # A map is read backwards: for each new cell, where was it in the old frame?
    old_from_new = np.linalg.inv(new_from_old)[:, :2]
    theta = np.concatenate([old_from_new[:, :, :2], old_from_new[:, :, 3:] / half_m], axis=2)
    theta_B23 = torch.as_tensor(theta, dtype=torch.float32, device=maps_BCYX.device).expand(len(maps_BCYX), 2, 3)
    rows, columns = ((2.0 * torch.arange(count, device=maps_BCYX.device) + 1.0) / count - 1.0 for count in maps_BCYX.shape[2:])
    # A turn moves rows and columns alike, so their shares are only added; `affine_grid`, which multiplies each cell, takes longer.
    of_rows_B2Y1 = (theta_B23[:, :, 1:2] * rows + theta_B23[:, :, 2:])[..., None]
    where_B2YX = of_rows_B2Y1 + (theta_B23[:, :, :1] * columns)[:, :, None]
    return F.grid_sample(maps_BCYX, where_B2YX.to(maps_BCYX.dtype).permute(0, 2, 3, 1), align_corners=False)
