"""The occupancy of a scene, of one stream: what a world model predicts, read beside what was seen lately and what moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jepa_ros.movers import Bodies, TrackedVehicles
from jepa_ros.objects.scene.objects import objects_of
from jepa_ros.objects.scene.stands import bodies_of, cells_around, movers_among, unexplained
from jepa_ros.occupancy.calibration import OutcomeCalibration
from jepa_ros.occupancy.evidence import Evidence, gather
from jepa_ros.occupancy.network import OccupancyFusion
from jepa_ros.sensing.blind_zone import LowObstacles
from jepa_ros.sensing.hit_rates import HitRates
from jepa_ros.sensing.lidar_view import LidarView, lidar_views
from jepa_ros.sensing.sight import SightMemory, looks_of
from jepa_ros.types import OCCUPIED_FROM, FloatArray, GridSpec, Observation, OccupancyForecast, SceneState, TrackedPeople

STILL = 0.05  # where less than this moves, at any step, a later sweep tells what stands


@dataclass(frozen=True)
class Looked:
    """What one observation shows, before it is known who moves in it. Axes: Y/X grid rows and columns, S share as `HitRates` tells them."""

    views: Sequence[LidarView]
    seen_YX: NDArray[np.bool_]  # what a sensor has looked at lately
    lately_SYX: FloatArray | None  # how often each place was hit lately; None where no fusion reads it


class SceneOccupancy:
    """Finishes the occupancy of each state. One instance belongs to one stream and one thread."""

    def __init__(self, grid: GridSpec, seen_for_s: float, fusion: OccupancyFusion | None, step_s: float) -> None:
        """grid: of the world model. seen_for_s: how long a place counts as seen. fusion: None = what the world model says stays.
        step_s: between two steps of the world model."""
        self.fusion = fusion
        self._grid = grid
        self._sight, self._low_obstacles, self._hit_rates = SightMemory(grid, seen_for_s), LowObstacles(grid), HitRates(grid)
        self.calibration = OutcomeCalibration(grid, step_s)

    def clear(self) -> None:
        """Forget the stream."""
        for memory in (self._sight, self._low_obstacles, self._hit_rates, self.calibration):
            memory.clear()

    def look(self, observation: Observation, occupancy: OccupancyForecast) -> Looked:
        """What this observation shows by itself, whoever moves in it; once for each observation, before `update`.

        occupancy: what the world model says alone."""
        views = lidar_views(observation)
        looks = looks_of(observation, views, occupancy.probability[0] >= OCCUPIED_FROM, self._grid)
        stamp_ns, pose = observation.stamp_ns, observation.odom_from_anchor
        seen_YX = self._sight.update(stamp_ns, pose, looks)
        if observation.lidar is None or self.fusion is None:
            return Looked(views, seen_YX, None)
        self.calibration.learn(stamp_ns, pose, views, looks)
        returns_m = np.concatenate([view.body_m for view in views])
        lately_SYX = self._hit_rates.update(stamp_ns, pose, self._sight.looked_at, returns_m, observation.ground_height_m)
        return Looked(views, seen_YX, lately_SYX)

    def update(self, looked: Looked, state: SceneState, shares_HYX: FloatArray | None) -> OccupancyForecast:
        """The occupancy of a state, `state.occupancy` being what the world model says alone: read by the fusion where a lidar looks, with
        low obstacles that stood where no beam comes down any more, and with what a sensor has looked at lately.

        shares_HYX: `forecast_shares` of the state at the steps after now."""
        occupancy, pose = state.occupancy, state.anchor_pose
        moving = who_moves(state.people, state.vehicles, pose)
        if looked.lately_SYX is not None and self.fusion is not None:
            evidence = self.evidence(looked.lately_SYX, state, moving, shares_HYX)
            stands_HYX, moves_HYX = self.fusion.stands(evidence), self.fusion.comes(evidence)
            here_YX = torch.from_numpy(cells_around(bodies_of(movers_among(objects_of(state)), pose), self._grid))
            occupancy = joined(occupancy, evidence, self.calibration.correct(stands_HYX).sigmoid(), moves_HYX, here_YX)
            self.calibration.remember(state.stamp_ns, pose, stands_HYX, moves_HYX.amax(dim=0) < STILL)
        kept_YX = self._low_obstacles.update(pose, looked.views, moving)
        occupancy = _at_least(occupancy, kept_YX.astype(np.float32)) if kept_YX.any() else occupancy
        return replace(occupancy, seen=looked.seen_YX | (occupancy.probability[0] >= OCCUPIED_FROM))

    def evidence(self, lately_SYX: FloatArray, state: SceneState, moving: Bodies, shares_HYX: FloatArray | None) -> Evidence:
        """What the fusion reads of this state. lately_SYX: from `look`."""
        occupancy = state.occupancy
        predicted_HYX = torch.from_numpy(occupancy.probability[1:])
        return gather(
            predicted_HYX,
            torch.from_numpy(occupancy.probability[0]),
            torch.zeros_like(predicted_HYX) if shares_HYX is None else torch.from_numpy(shares_HYX),
            torch.from_numpy(lately_SYX),
            torch.from_numpy(cells_around(moving, self._grid).astype(np.float32)),
            np.asarray(occupancy.times_s)[1:],
            self._grid,
        )


def joined(occupancy: OccupancyForecast, evidence: Evidence, stands_HYX: Tensor, moves_HYX: Tensor, here_YX: Tensor) -> OccupancyForecast:
    """With both shares, and what stands as the part that no mover explains. here_YX: bool, where somebody is now.

    Now stays as it was seen; where somebody is, what stands now is no more than what stands a step later."""
    model = torch.from_numpy(occupancy.probability)
    said = torch.where(evidence.read_HYX, stands_HYX, model[1:])
    both = torch.cat((model[:1], torch.addcmul(said, moves_HYX, 1.0 - said)))  # 1 - (1 - said) (1 - moves)
    later = unexplained(said, moves_HYX)
    now = torch.where(here_YX, torch.minimum(model[0], later[0]), model[0])
    return replace(occupancy, probability=both.numpy(), from_latents=torch.cat((now[None], later)).numpy())


def _at_least(occupancy: OccupancyForecast, probability_YX: FloatArray) -> OccupancyForecast:
    alone = occupancy.from_latents
    return replace(
        occupancy,
        probability=np.maximum(occupancy.probability, probability_YX),
        from_latents=None if alone is None else np.maximum(alone, probability_YX),
    )


def who_moves(people: TrackedPeople, vehicles: TrackedVehicles, odom_from_anchor: FloatArray) -> Bodies:
    """People and driving vehicles in the anchor frame."""
    driving = vehicles.boxes[vehicles.velocities_mps.any(axis=1)]
    boxes = np.concatenate((np.column_stack((people.positions_m, np.zeros((len(people.ids), 3)))), driving))
    boxes[:, :2] = (boxes[:, :2] - odom_from_anchor[:2, 3]) @ odom_from_anchor[:2, :2]
    boxes[:, 2] -= np.arctan2(odom_from_anchor[1, 0], odom_from_anchor[0, 0])
    return Bodies(boxes, np.concatenate((people.radii_m, np.zeros(len(driving)))))
