"""Windows over cached latents: some past, the intended motion, futures to predict, and labels seen from the anchor frame of now.

Axes: B batch, T history step, H horizon, S future step, N token, D latent width, Y row, X column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.frozen.network import FrozenConfig
from jepa_ros.protocols import WorldModel
from jepa_ros.sensing.voxelize import cell_indices, occupancy_grid, visible_cells
from jepa_ros.training.frozen.cache import CachedFrame, CachedPart
from jepa_ros.types import NANOSECONDS, FloatArray

TOLERANCE = 0.25  # of a step: how far a frame may be from the instant that it stands for
PERSON_M = 0.5  # a cell this near to a person's middle counts as theirs


@dataclass(frozen=True)
class Batch:
    """Some windows, everything in the anchor frame of now."""

    history_BTND: Tensor
    actions_BHA: Tensor
    steps_S: Tensor
    target_BSND: Tensor
    valid_BSN: Tensor  # 0 where the future latent did not reach, or there is no such frame
    labels_BSCYX: Tensor  # S + 1: now first; C: occupied, person
    visible_BSYX: Tensor  # S + 1; 0 where nothing can be said


class FrozenWindows:
    """Windows by (part, frame)."""

    def __init__(self, model: WorldModel, config: FrozenConfig, parts: list[CachedPart]) -> None:
        self._model, self._config, self.parts = model, config, parts
        self.anchors = [(p, i) for p, part in enumerate(parts) for i in range(len(part)) if self._near(part, i, 1) is not None]

    def batch(self, chosen: list[tuple[int, int]], steps: NDArray[np.int64]) -> Batch:
        """The same future `steps` (indices into H) for all windows."""
        windows = [self._window(self.parts[part], now, steps) for part, now in chosen]
        return Batch(
            history_BTND=torch.stack([window[0] for window in windows]),
            actions_BHA=torch.from_numpy(np.stack([window[1] for window in windows])),
            steps_S=torch.from_numpy(steps),
            target_BSND=torch.stack([window[2] for window in windows]),
            valid_BSN=torch.stack([window[3] for window in windows]),
            labels_BSCYX=torch.from_numpy(np.stack([window[4] for window in windows])),
            visible_BSYX=torch.from_numpy(np.stack([window[5] for window in windows])),
        )

    def _near(self, part: CachedPart, now: int, steps: int) -> int | None:
        """The frame `steps` model steps after (before: negative) frame `now`; None where there is none near that instant."""
        step_ns = self._config.dt_s * NANOSECONDS
        wanted_ns = part.stamps_ns[now] + steps * step_ns
        nearest = int(np.abs(part.stamps_ns - wanted_ns).argmin())
        return nearest if abs(part.stamps_ns[nearest] - wanted_ns) <= TOLERANCE * step_ns else None

    def _window(self, part: CachedPart, now: int, steps: NDArray[np.int64]) -> tuple:
        past = [self._near(part, now, -k) for k in reversed(range(self._config.history))]
        oldest = next(index for index in past if index is not None)
        history = self._aligned(part, now, [oldest if index is None else index for index in past])[0]
        future = [self._near(part, now, int(step) + 1) for step in steps]
        target, valid = self._aligned(part, now, [now if index is None else index for index in future])
        for row, index in zip(valid, future, strict=True):
            row *= index is not None
        labels = [self._labels(part, now, index) for index in (now, *future)]
        return history, self._actions(part, now), target, valid, np.stack([label[0] for label in labels]), np.stack([x[1] for x in labels])

    @torch.no_grad()
    def _aligned(self, part: CachedPart, now: int, indices: list[int]) -> tuple[Tensor, Tensor]:
        """(K, N, D) latents in the anchor frame of now, and (K, N) 1 where they hold: moved ones show what came from outside."""
        latents = torch.from_numpy(part.latents(indices))
        now_from = np.linalg.inv(part.odom_from_anchor(now)) @ np.stack([part.odom_from_anchor(index) for index in indices])
        # A clone: some back-ends answer with inference tensors, which no gradient may meet.
        moved = self._model.align(latents, now_from).clone()
        ones = self._model.align(torch.ones_like(latents), now_from).clone()
        return moved, (ones.mean(dim=-1) > 0.99).float()

    def _actions(self, part: CachedPart, now: int) -> NDArray[np.float32]:
        """(H, 3): what the vehicle did is what it had intended; where the recording ends it stays."""
        actions = np.zeros((self._config.horizon, 3), np.float32)
        anchor_from_odom = np.linalg.inv(part.odom_from_anchor(now))
        for k in range(self._config.horizon):
            index = self._near(part, now, k + 1)
            if index is None:
                actions[k] = actions[k - 1] if k else 0
            else:
                pose = anchor_from_odom @ part.odom_from_anchor(index)
                actions[k] = pose[0, 3], pose[1, 3], np.arctan2(pose[1, 0], pose[0, 0])
        return actions

    def _labels(self, part: CachedPart, now: int, index: int | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """((2, Y, X) occupied and person, (Y, X) visible) of a frame, in the anchor frame of now."""
        shape = (BEV_GRID.rows, BEV_GRID.columns)
        if index is None or not part.has_lidar(index):
            return np.zeros((2, *shape), np.float32), np.zeros(shape, np.float32)
        frame = part.frame(index)
        anchor_from_odom = np.linalg.inv(part.odom_from_anchor(now))
        now_from_frame = anchor_from_odom @ frame.odom_from_anchor
        points = (frame.points_m @ now_from_frame[:3, :3].T + now_from_frame[:3, 3]).astype(np.float32)
        ground_m = frame.ground_height_m + float(now_from_frame[2, 3])
        origin = now_from_frame[:3, :3] @ frame.lidar_origin_m + now_from_frame[:3, 3]
        occupied = occupancy_grid(points, ground_m, BEV_GRID)
        visible = visible_cells(points, ground_m, BEV_GRID, (float(origin[0]), float(origin[1])))
        return np.stack([occupied, people_grid(frame, anchor_from_odom)]).astype(np.float32), visible.astype(np.float32)


def people_grid(frame: CachedFrame, anchor_from_odom: FloatArray) -> NDArray[np.bool_]:
    """(Y, X) cells within PERSON_M of somebody."""
    grid = np.zeros((BEV_GRID.rows, BEV_GRID.columns), bool)
    middle_m = frame.people_m @ anchor_from_odom[:2, :2].T + anchor_from_odom[:2, 3]
    reach = np.arange(-PERSON_M, PERSON_M + 1e-6, BEV_GRID.resolution_m / 4)
    dx, dy = (offset.ravel() for offset in np.meshgrid(reach, reach))
    near = np.hypot(dx, dy) <= PERSON_M
    around = (middle_m[:, None] + np.stack([dx, dy], axis=1)[near]).reshape(-1, 2)
    cells, _ = cell_indices(around, BEV_GRID)
    grid.reshape(-1)[cells] = True
    return grid
