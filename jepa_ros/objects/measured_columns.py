"""Vertical columns of points, as measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.objects.struct_of_arrays import StructOfArrays
from jepa_ros.types import FloatArray


@dataclass(frozen=True)
class Columns(StructOfArrays):
    """M columns of points."""

    centres_m: FloatArray  # (M, 2)
    tops_m: FloatArray  # (M,) above the local ground
    bottoms_m: FloatArray  # (M,)
    widths_m: FloatArray  # (M,) across the line of sight
    depths_m: FloatArray  # (M,) along it
    thickness_m: FloatArray  # (M,) along the shorter principal axis, whichever way it lies
    counts: NDArray[np.intp]  # (M,) returns below `BODY_TOP_M`
    ground_m: FloatArray  # (M,) height of the local ground
    cut: NDArray[np.bool_]  # (M,) they end where the lidar's view ends, and so may well go on
    in_view_from_m: FloatArray  # (M,) above the local ground; 0 where they are in view down to it
