"""How walls and obstacles around a person change their predicted path.

The latents of `scene_jepa` hold for each 0.4 m cell which height bands hold a lidar return. Those channels are laid out ahead of each
person, in the frame of the person's heading, and a small network turns them into corrections of the forecast that tracks alone gave.
Nothing in it has a bias: where nothing stands, the correction is exactly zero. The learned channels of the latents are not read, because
only the observed ones mean the same on every lidar and in every version of the weights (see docs/log.md on the occupancy probe).

Axes: B person, G point of the crop (R along the heading x A across), C channel, N token, D latent width, K mode, Y row, X column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jepa_ros.backends.bev import BEV_GRID, half_extent_m
from jepa_ros.backends.scene_jepa.encoder import GROUNDED_SCALE
from jepa_ros.backends.scene_jepa.latents import TOKENS, to_map
from jepa_ros.forecast.network import TERMS, Encoded, NetworkConfig, PersonFrames
from jepa_ros.protocols import SceneLatents
from jepa_ros.sensing.voxelize import HEIGHT_BANDS_M

MODEL = "scene_jepa"
ALL_BANDS = len(HEIGHT_BANDS_M) - 1
BANDS = ALL_BANDS - 1  # the lowest band is the ground, which is everywhere
CHANNELS = BANDS + 1  # the last: returns that may be those of a tracked person, who is no wall
PERSON_M = 0.5  # returns this near to a tracked person may be his,
PERSON_BANDS = BANDS - 1  # but for those above 2 m: beside him stands a wall or a pillar
SPACING_M = BEV_GRID.resolution_m
INSIDE_M = 0.2  # a path that lies deeper in cells with returns than this goes through something; less is a brush past a wall
LEAVES_M = 0.6
PIECES = 8  # of a step: places at which a path is looked at
AHEAD, BEHIND, ASIDE = 21, 3, 10  # points of the crop: 8.4 m, 1.2 m, 4.0 m


@dataclass(frozen=True)
class PlacedMap:
    """The obstacles around all people, and the positions of the people in that map."""

    map_YXC: Tensor  # from `split_people`
    people_m: np.ndarray  # (P, 2) in the anchor frame
    turn: np.ndarray  # (2, 2) from the anchor frame to that of the tracks
    shift: np.ndarray  # (2,) from the anchor's origin to the tracks', in the frame of the tracks

    def place(self, points_m: np.ndarray) -> np.ndarray:
        """(..., 2) in the frame of the tracks -> in the anchor frame."""
        placed: np.ndarray = (points_m + self.shift) @ self.turn
        return placed


def crop_points() -> Tensor:
    """(G, 2) the points of a crop in the own frame, row by row from behind to ahead."""
    ahead = SPACING_M * torch.arange(-BEHIND, AHEAD + 1.0)
    aside = SPACING_M * torch.arange(-ASIDE, ASIDE + 1.0)
    return torch.stack(torch.meshgrid(ahead, aside, indexing="ij"), dim=-1).flatten(0, 1)


CROP = (BEHIND + AHEAD + 1, 2 * ASIDE + 1)  # R, A


def returns_map(scene: SceneLatents) -> Tensor | None:
    """(Y, X, BANDS) in [0, 1]: which bands of each cell hold a return; None where the latents are not those of `MODEL`."""
    observed = 4 * ALL_BANDS
    tokens, width = scene.latents_ND.shape
    if scene.model != MODEL or tokens != TOKENS[0] * TOKENS[1] or width < observed:
        return None
    cells = F.pixel_shuffle(to_map(scene.latents_ND[None, :, :observed].float().cpu()) / GROUNDED_SCALE, 2)[0]
    return cells[ALL_BANDS - BANDS :].permute(1, 2, 0).clamp(0.0, 1.0)


def latents_of(returns_YXB: Tensor) -> Tensor:
    """(N, D) latents of `MODEL` with nothing in them but what `returns_map` reads."""
    cells = GROUNDED_SCALE * returns_YXB.permute(2, 0, 1)
    cells = torch.cat((torch.zeros(ALL_BANDS - BANDS, *cells.shape[1:]), cells))
    return F.pixel_unshuffle(cells[None], 2)[0].flatten(1).mT


def split_people(returns_YXB: Tensor, people_m: np.ndarray) -> Tensor:
    """(Y, X, CHANNELS): the returns without those that may be of somebody at (P, 2) in the anchor frame; then those, of any height."""
    reach = int(np.ceil(PERSON_M / SPACING_M))
    offset = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    cell = np.floor((people_m - np.array(BEV_GRID.origin_m)) / SPACING_M).astype(np.int64)[:, None] + offset
    centre = np.array(BEV_GRID.origin_m) + (cell + 0.5) * SPACING_M
    near = np.linalg.norm(centre - people_m[:, None], axis=-1) <= PERSON_M
    near &= (cell >= 0).all(axis=-1) & (cell < (BEV_GRID.columns, BEV_GRID.rows)).all(axis=-1)
    x, y = torch.from_numpy(cell[near]).unbind(-1)
    split = F.pad(returns_YXB, (0, 1))
    split[y, x, -1] = returns_YXB[y, x, :PERSON_BANDS].amax(dim=-1)
    split[y, x, :PERSON_BANDS] = 0.0
    return split


def metres_inside(map_YXC: Tensor, start_m: np.ndarray, paths_m: np.ndarray) -> np.ndarray:
    """(P, K) how far the paths (P, K, H, 2) from (P, 2), in the anchor frame, lead through cells with returns up to 2 m that are no person.

    The first `LEAVES_M` do not count: somebody may stand at a wall.
    """
    standing = map_YXC[..., :PERSON_BANDS].amax(dim=-1).numpy() > 0.5
    begin = np.broadcast_to(start_m[:, None, None], (*paths_m.shape[:2], 1, 2))
    corners = np.concatenate((begin, paths_m), axis=2)
    step = np.diff(corners, axis=2)
    share = (np.arange(PIECES)[:, None] + 1.0) / PIECES
    between = corners[:, :, :-1, None] + share * step[:, :, :, None]  # (P, K, H, PIECES, 2)
    cell = np.floor((between - np.array(BEV_GRID.origin_m)) / SPACING_M).astype(np.intp)
    inside = (cell >= 0).all(axis=-1) & (cell < (BEV_GRID.columns, BEV_GRID.rows)).all(axis=-1)
    inside &= standing[cell[..., 1].clip(0, BEV_GRID.rows - 1), cell[..., 0].clip(0, BEV_GRID.columns - 1)]
    inside &= np.linalg.norm(between - start_m[:, None, None, None], axis=-1) > LEAVES_M
    length = np.linalg.norm(step, axis=-1) / PIECES
    metres: np.ndarray = (inside.sum(axis=-1) * length).sum(axis=-1)
    return metres


def walk_around(probability: np.ndarray, modes_m: np.ndarray, map_YXC: Tensor, start_m: np.ndarray) -> np.ndarray:
    """(P, K) probabilities changed so that no likeliest mode leads through obstacles, if another mode does not.

    The two change places, so the mixture keeps its weights. `modes_m` (P, K, H, 2) and `start_m` (P, 2) are in the anchor frame.
    """
    rows, best = np.arange(len(probability)), probability.argmax(axis=1)
    through = np.flatnonzero(metres_inside(map_YXC, start_m, modes_m[rows, best][:, None])[:, 0] > INSIDE_M)
    if not len(through):
        return probability
    free = metres_inside(map_YXC, start_m[through], modes_m[through]) <= INSIDE_M
    other = np.where(free, probability[through], -1.0).argmax(axis=1)
    changed = probability.copy()
    some = free.any(axis=1)
    person, blocked, other = through[some], best[through[some]], other[some]
    changed[person, blocked], changed[person, other] = probability[person, other], probability[person, blocked]
    return changed


def sample(map_YXC: Tensor, points_m: Tensor) -> Tensor:
    """(B, C, R, A): a map at the crop points (B, G, 2) of each person in its anchor frame, bilinear; 0 outside the map."""
    grid = points_m / half_extent_m(BEV_GRID)
    crops = F.grid_sample(map_YXC.permute(2, 0, 1)[None], grid[None], align_corners=False)[0]
    return crops.transpose(0, 1).reshape(len(points_m), -1, *CROP)


class SceneAdapter(nn.Module):
    """Crops of the surroundings and the context of each person -> what they change in the terms of the decoder."""

    def __init__(self, config: NetworkConfig, token: int = 96) -> None:
        super().__init__()
        self.modes = config.modes
        self.crop = nn.Sequential(
            nn.Conv2d(CHANNELS, 24, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(24, 32, 3, stride=2, padding=1, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * -(-CROP[0] // 4) * -(-CROP[1] // 4), token, bias=False),
        )
        self.crop.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs; a third faster
        self.gate = nn.Sequential(nn.Linear(config.width, 192), nn.GELU(), nn.Linear(192, token))
        self.hidden = nn.Sequential(nn.Linear(token, 192, bias=False), nn.GELU())
        self.output = nn.Linear(192, config.modes * TERMS, bias=False)
        for layer in self.crop:  # without biases the usual start would shrink the little that stands around to nothing
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(self.output.weight)
        self.points: Tensor
        self.register_buffer("points", crop_points(), persistent=False)

    def forward(self, crops_BCRA: Tensor, encoded: Encoded) -> Tensor:
        """(B, K, TERMS) from crops (B, CHANNELS, *CROP). Who has no heading has no crop either: zero."""
        token = self.crop(crops_BCRA) * self.gate(encoded.context) * encoded.frames.has_heading[:, None]
        return self.output(self.hidden(token)).view(-1, self.modes, TERMS)

    def points_of(self, frames: PersonFrames) -> Tensor:
        """(B, G, 2) the points of each person's crop in the frame of the tracks."""
        return frames.to_world(self.points.expand(len(frames.origin), -1, -1))
