"""The final collision check of a motion, on a finer time grid than the search, with the forecasts' own distributions.

Axes: S path, L step, F fine time, Y/X grid rows and columns, X state or pose (x m, y m, yaw rad, ...).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from jepa_ros.planning.footprint import Footprint
from jepa_ros.planning.footprint.contact import highest_under
from jepa_ros.planning.grids import at_times
from jepa_ros.planning.objective import GridCost
from jepa_ros.planning.outcome import STOPPED_MPS
from jepa_ros.planning.people import PeopleFuture, contact_probability
from jepa_ros.planning.start_contact import StartContact
from jepa_ros.types import FloatArray, GridSpec

FINE_DT_S = 0.1
STANDSTILL_M = STOPPED_MPS * FINE_DT_S  # in a fine step
STAYS_M = 0.3  # whoever came no further has stayed
AWAY_M = 1e4  # where nobody is


class Verifier:
    """Collision probability of whole paths.

    Occupancy is read under the robot at every fine time and the highest value along the path counts: neighbouring cells and steps
    see the same obstacle, so their probabilities must not be multiplied. People are counted by `contact_probability`. The two are
    combined as independent. Contact with people counts while the robot moves: they walk around what stands, and to stop for them is always
    right. To stop in the way of a vehicle is not: contact with one counts but for a robot that stays where it is. A vehicle that follows
    the robot in its lane keeps its distance: contact with it counts where the robot comes back towards it.
    """

    def __init__(
        self,
        inflated_TYX: FloatArray,
        grid: GridSpec,
        times_s: FloatArray,
        future: PeopleFuture,
        robot: Footprint | float,
        start_s: float,
        leaving: StartContact | None = None,
    ) -> None:
        """inflated_TYX: for a disc, the highest probability among the cells that it touches; for a polygon, of each cell. robot: a number
        is the radius of a disc, m. leaving: where the start touches something, what is allowed there nevertheless."""
        self._inflated_TYX = inflated_TYX
        self._grid = grid
        self._times_s = times_s
        self._future = future
        self._footprint = Footprint.of(robot)
        self._start_s = start_s
        self._leaving = leaving

    def collision_probability(self, states_SLX: Tensor, dt_s: float) -> tuple[Tensor, Tensor]:
        """(S,) probability of any collision, and (S,) the part of it that is contact with people; `states_SLX` starts with the present."""
        fine_SFX, elapsed_F = refine(states_SLX, dt_s)
        times_F = self._start_s + elapsed_F
        layers = torch.as_tensor(at_times(self._inflated_TYX, self._times_s, times_F.numpy()))
        occupied_FS = self._occupied(layers, fine_SFX)
        if self._leaving is not None:
            now_FYX = torch.as_tensor(self._inflated_TYX[:1]).expand(len(times_F), -1, -1)
            comes_FS = (occupied_FS - self._occupied(now_FYX, fine_SFX)).clamp(min=0.0)
            occupied_FS = torch.where(self._leaving.allows(fine_SFX), comes_FS, occupied_FS)
        occupied_S = occupied_FS.amax(0)
        stride_SF = fine_SFX[..., :2].diff(dim=1).norm(dim=-1)
        if not self._footprint.is_round:  # a polygon that turns on its place moves
            stride_SF = stride_SF + self._footprint.reach_m * turned(fine_SFX[..., 2].diff(dim=1)).abs()
        stands_SF = torch.cat((stride_SF, stride_SF[:, -1:]), dim=1) < STANDSTILL_M
        touched_S = self._contacts(self._future.at(times_F), fine_SFX, stands_SF, states_SLX[0, 0])
        return 1.0 - (1.0 - occupied_S) * (1.0 - touched_S), touched_S

    def _occupied(self, layers_FYX: Tensor, fine_SFX: Tensor) -> Tensor:
        """(F, S) of what is under the robot."""
        if self._footprint.is_round:
            return GridCost(layers_FYX, self._grid).read(fine_SFX)
        return highest_under(self._footprint, layers_FYX, self._grid, fine_SFX)

    def _contacts(self, future: PeopleFuture, fine_SFX: Tensor, stands_SF: Tensor, start_X: Tensor) -> Tensor:
        """(S,) probability of contact with anybody, or with a vehicle. `start_X`: of the robot, with its heading where vehicles are."""
        if future.vehicles_P is None or future.follows_P is None:
            return contact_probability(future, fine_SFX.masked_fill(stands_SF[..., None], AWAY_M), self._footprint)
        moved_SF2, heading_rad = (fine_SFX - fine_SFX[:, :1])[..., :2], float(start_X[2])
        stays_SF = stands_SF & (moved_SF2.norm(dim=-1) < STAYS_M)
        onward_SF = moved_SF2[..., 0] * math.cos(heading_rad) + moved_SF2[..., 1] * math.sin(heading_rad) > -STAYS_M
        free_S = torch.ones(len(fine_SFX))
        groups = (
            (~future.vehicles_P, stands_SF),
            (future.vehicles_P & ~future.follows_P, stays_SF),
            (future.follows_P, onward_SF),
        )
        for own_P, spared_SF in groups:
            path_SFX = fine_SFX.masked_fill(spared_SF[..., None], AWAY_M)
            free_S = free_S * (1.0 - contact_probability(future.select(own_P), path_SFX, self._footprint))
        return 1.0 - free_S

    def contact_now(self, start_X: Tensor) -> float:
        """Probability that the robot already touches somebody where it stands; no motion can undo that."""
        now = self._future.at(torch.tensor([self._start_s], dtype=torch.float32))
        return float(contact_probability(now, start_X[None, None, :3], self._footprint))


def refine(states_SLX: Tensor, dt_s: float) -> tuple[Tensor, Tensor]:
    """The same paths on a time grid of at most FINE_DT_S: (S, F, 3) poses, or (S, F, 2) where no yaw is given, and (F,) seconds from the
    first state. A heading turns the shorter way."""
    pieces = max(1, math.ceil(dt_s / FINE_DT_S - 1e-6))
    share = torch.arange(pieces) / pieces
    before, after = states_SLX[:, :-1, None, :3], states_SLX[:, 1:, None, :3].clone()
    after[..., 2:] = before[..., 2:] + turned(after[..., 2:] - before[..., 2:])
    between = torch.lerp(before, after, share[:, None]).flatten(1, 2)
    fine_SFX = torch.cat((between, states_SLX[:, -1:, :3]), dim=1)
    return fine_SFX, torch.as_tensor(np.arange(fine_SFX.shape[1]) * (dt_s / pieces), dtype=torch.float32)


def turned(angle: Tensor) -> Tensor:
    """The same angle within +-pi."""
    return torch.remainder(angle + math.pi, 2.0 * math.pi) - math.pi
