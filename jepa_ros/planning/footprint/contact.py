"""What a polygon at its heading touches, exactly: cells of a grid, discs and oriented boxes.

Axes: S path, F fine time, J pose, M cell of a window, N one place of one mode, Q draw, C corner of a convex part, Y/X grid rows and
columns.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.planning.footprint.shape import Footprint
from jepa_ros.types import FloatArray, GridSpec

IGNORED = 0.01  # a probability below is none
POSES_AT_ONCE = 256


def under(footprint: Footprint, grid: GridSpec, pose: FloatArray) -> NDArray[np.bool_]:
    """(Y, X) cells whose centres lie within the shape at (3,) x m, y m, yaw rad."""
    x_X = grid.origin_m[0] + grid.resolution_m * (np.arange(grid.columns) + 0.5) - pose[0]
    y_Y = grid.origin_m[1] + grid.resolution_m * (np.arange(grid.rows) + 0.5) - pose[1]
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    along_YX, across_YX = cos * x_X + sin * y_Y[:, None], cos * y_Y[:, None] - sin * x_X
    return footprint.gap_squared(torch.as_tensor(along_YX), torch.as_tensor(across_YX)).numpy() == 0.0


def highest_under(footprint: Footprint, layers_FYX: Tensor, grid: GridSpec, poses_SF3: Tensor) -> Tensor:
    """(F, S) highest value among the cells that the shape touches at each pose, in the layer of its time.

    A cell is touched where its centre is nearer than half a cell. Beyond the grid the border's values hold.
    """
    found_J = layers_FYX.new_zeros(poses_SF3.shape[:2].numel())
    times_J = torch.arange(poses_SF3.shape[1]).repeat(len(poses_SF3))
    for part in torch.arange(len(found_J)).split(POSES_AT_ONCE):
        found_J[part] = _highest(footprint, layers_FYX, grid, poses_SF3.reshape(-1, 3)[part], times_J[part])
    return found_J.view(poses_SF3.shape[:2]).T


def _highest(footprint: Footprint, layers_FYX: Tensor, grid: GridSpec, poses_J3: Tensor, times_J: Tensor) -> Tensor:
    size_m, (centre_x, centre_y) = grid.resolution_m, footprint.centre_m
    # Far beyond the grid is as good as just beyond it, and does not overflow.
    beyond_m = 2.0 * footprint.reach_m + 2.0 * size_m
    (low_x, low_y), high_x, high_y = grid.origin_m, grid.columns * size_m, grid.rows * size_m
    x_J, y_J, yaw_J = poses_J3.unbind(-1)
    x_J, y_J = x_J.clamp(low_x - beyond_m, low_x + high_x + beyond_m), y_J.clamp(low_y - beyond_m, low_y + high_y + beyond_m)
    cos_J, sin_J = yaw_J.cos(), yaw_J.sin()
    reach = math.ceil(footprint.around_m / size_m + 0.5)
    offset = torch.arange(-reach, reach + 1)
    middle_x = ((x_J + cos_J * centre_x - sin_J * centre_y - low_x) / size_m).floor().long()
    middle_y = ((y_J + sin_J * centre_x + cos_J * centre_y - low_y) / size_m).floor().long()
    columns_JM = (middle_x[:, None, None] + offset).expand(-1, len(offset), -1).flatten(1)
    rows_JM = (middle_y[:, None, None] + offset[:, None]).expand(-1, -1, len(offset)).flatten(1)
    values_JM = layers_FYX[times_J[:, None], rows_JM.clamp(0, grid.rows - 1), columns_JM.clamp(0, grid.columns - 1)]
    pose, cell = (values_JM >= IGNORED).nonzero().unbind(-1)
    dx = low_x + size_m * (columns_JM[pose, cell] + 0.5) - x_J[pose]
    dy = low_y + size_m * (rows_JM[pose, cell] + 0.5) - y_J[pose]
    gap = footprint.gap_squared(cos_J[pose] * dx + sin_J[pose] * dy, cos_J[pose] * dy - sin_J[pose] * dx)
    touched_JM = torch.zeros_like(values_JM)
    touched_JM[pose, cell] = torch.where(gap <= (0.5 * size_m) ** 2, values_JM[pose, cell], 0.0)
    return touched_JM.amax(1)


def meets_disc(footprint: Footprint, dx: Tensor, dy: Tensor, yaw_N: Tensor, radius_N: Tensor) -> Tensor:
    """(N, Q) whether the shape at yaw (N,) touches discs. dx, dy: (N, Q) m from the middles of the discs to base_link."""
    cos, sin = yaw_N.cos()[:, None], yaw_N.sin()[:, None]
    return footprint.gap_squared(-cos * dx - sin * dy, sin * dx - cos * dy) < radius_N.square()[:, None]


def meets_box(footprint: Footprint, dx: Tensor, dy: Tensor, yaw_N: Tensor, box_yaw_N: Tensor, half_N2: Tensor, radius_N: Tensor) -> Tensor:
    """(N, Q) whether the shape touches boxes. radius_N: m, what is kept from the boxes: they are that much larger on each side.

    Two convex shapes are apart exactly where their shadows on a normal of one of their sides are (separating axes; Gottschalk, Lin and
    Manocha, OBBTree, 1996): one multiplication and one comparison for each side and draw.
    """
    half_N2 = half_N2 + radius_N[:, None]
    ahead_N, left_N = _unit(box_yaw_N), _unit(box_yaw_N + 0.5 * math.pi)
    meets = torch.zeros_like(dx, dtype=torch.bool)
    turn_N = _unit(yaw_N)
    for part_C2 in footprint.convex_parts:
        corners_NC = turn_N[:, None] * torch.view_as_complex(part_C2)
        sides_NC = corners_NC.roll(-1, 1) - corners_NC
        normals = (ahead_N, left_N, *(-1j * sides_NC / sides_NC.abs()).unbind(1))
        apart = torch.zeros_like(meets)
        for normal_N in normals:
            shadow_NC = _dot(corners_NC, normal_N[:, None])
            reach_N1 = (half_N2[:, 0] * _dot(ahead_N, normal_N).abs() + half_N2[:, 1] * _dot(left_N, normal_N).abs())[:, None]
            at = dx * normal_N.real[:, None] + dy * normal_N.imag[:, None]
            apart |= (at + shadow_NC.amin(1, keepdim=True) > reach_N1) | (at + shadow_NC.amax(1, keepdim=True) < -reach_N1)
        meets |= ~apart
    return meets


def _unit(angle: Tensor) -> Tensor:
    return torch.polar(torch.ones_like(angle), angle)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return one.real * other.real + one.imag * other.imag
