"""What the fusion reads, in the same way when it is trained and when it runs.

Axes: P evidence of a place, M evidence of an object that comes there, N cell at a step, H step, Y/X grid rows and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.sensing.hit_rates import SHARES
from jepa_ros.sensing.sight import centres
from jepa_ros.types import FloatArray, GridSpec

LEAST = 0.01  # a cell is read where the world model, objects or the last seconds make it at least so likely; the rest is empty
SURE = 1e-3  # probabilities are read as logits, no nearer to 0 and 1 than this

PLACE = ("now", "now_near", "now_around", "mover", "range", *SHARES, "hits_near")  # of a cell, whatever the step
COMING = ("objects", "time", "range", "now")  # of a cell at a step, where an object may be


@dataclass(frozen=True)
class Evidence:
    """Of one instant."""

    model_HYX: Tensor  # logits of the world model
    objects_HYX: Tensor  # probability that an object is there, from `mover_cells`
    place_PYX: Tensor  # as PLACE: now: probability of the world model, its mean over 3 x 3 and 5 x 5 cells; mover: where something that
    # moves is now, 1 or 0; range: logarithm of 1 + m from the robot; shares of `HitRates`, and the mean of hits_long over 3 x 3 cells
    log_times_H: Tensor  # of the steps, s
    read_HYX: Tensor  # bool: the cells that count

    def coming(self, cells: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """(N, M) as COMING, of cells given by step, row and column."""
        step, row, column = cells
        of_place = self.place_PYX[[PLACE.index("range"), PLACE.index("now")]][:, row, column]
        return torch.stack((logit(self.objects_HYX[cells]), self.log_times_H[step], *of_place), dim=1)


def gather(
    model_HYX: Tensor, now_YX: Tensor, objects_HYX: Tensor, lately_SYX: Tensor, mover_YX: Tensor, times_s: FloatArray, grid: GridSpec
) -> Evidence:
    """model_HYX, now_YX: probabilities of the world model. lately_SYX: from `HitRates`. times_s: (H,) of the steps."""
    hits_YX = lately_SYX[SHARES.index("hits_long")]
    return Evidence(
        model_HYX=logit(model_HYX),
        objects_HYX=objects_HYX,
        place_PYX=torch.stack(
            (now_YX, _mean(now_YX, 3), _mean(now_YX, 5), mover_YX, torch.from_numpy(_log_range(grid)), *lately_SYX, _mean(hits_YX, 3))
        ),
        log_times_H=torch.as_tensor(np.log(times_s), dtype=torch.float32),
        read_HYX=(model_HYX >= LEAST) | (objects_HYX >= LEAST) | (hits_YX >= LEAST),
    )


def logit(probability: Tensor) -> Tensor:
    """Of probabilities that are never sure."""
    return torch.log((probability + SURE) / (1.0 - probability + SURE))


def _mean(map_YX: Tensor, side: int) -> Tensor:
    """Over `side` x `side` cells, 0 beyond the border. Shifted rows, then columns, take a third of the time of `avg_pool2d`."""
    rows, columns = map_YX.shape
    around = F.pad(map_YX, (side // 2,) * 4)
    down = torch.stack([around[step : step + rows] for step in range(side)]).sum(dim=0)
    return torch.stack([down[:, step : step + columns] for step in range(side)]).sum(dim=0) / side**2


@lru_cache(maxsize=4)
def _log_range(grid: GridSpec) -> NDArray[np.float32]:
    """(Y, X) logarithm of 1 + m from the robot: the same for every sweep."""
    return np.log1p(np.hypot(*centres(grid).T)).reshape(grid.rows, grid.columns).astype(np.float32)
