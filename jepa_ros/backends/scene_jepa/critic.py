"""A small network that predicts how likely lidar returns are one step ahead; unlikely returns mean surprise.

A vehicle that drives sees much that is new in 0.4 s: behind corners, at the borders, far away. The error of a prediction says how much is
new; the critic says how likely that was. It reads the lidar returns that latents hold, and nothing that is learned.
Axes: C channel, Z height band between 0.3 and 2 m, Y row, X column of cells.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from jepa_ros.backends.bev import BEV_GRID, half_extent_m, warp
from jepa_ros.backends.scene_jepa.blocks import cpu_multiplies_bfloat16
from jepa_ros.backends.scene_jepa.config import BODY, GROUNDED_SCALE
from jepa_ros.backends.scene_jepa.latents import to_cells
from jepa_ros.config import from_dict, param, validate
from jepa_ros.types import NANOSECONDS, FloatArray
from jepa_ros.weights import read_safetensors

GROUND = 0  # height band
OBSERVED = 4 * (max(BODY) + 2)  # channels of a latent that are read
VIEWS = 3  # steps of the past that the critic sees
VIEW_CHANNELS = len(BODY) + 2
FADE_M = 20.0  # what happens near the robot counts more
CROWDED = 0.2  # unlikely returns beside a cell that count against it: a wall that comes into view is one thing, not many
GONE = 0.2  # weight of expected returns that did not come where the sensor saw through
HALF_M = half_extent_m(BEV_GRID)
AZIMUTHS = 360
BEHIND_M = 0.3  # a body hides what is further away than its front by more than this
_AXIS = (np.arange(BEV_GRID.rows) + 0.5) * BEV_GRID.resolution_m - HALF_M
_RANGE_YX = np.hypot(_AXIS[None, :], _AXIS[:, None]).astype(np.float32)
_BIN_YX = np.minimum((np.arctan2(_AXIS[:, None], _AXIS[None, :]) + np.pi) / (2 * np.pi) * AZIMUTHS, AZIMUTHS - 1).astype(np.intp)
NEAR_YX = np.exp(-_RANGE_YX / FADE_M)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CriticConfig:
    """Sizes of the critic. Stored inside its weights file."""

    width: int = param(24, "channels of each layer", at_least=1)
    dilations: tuple[int, ...] = param(
        (1, 2, 3, 3), "of the 3 x 3 convolutions over tokens of 0.8 m; they reach as far as a car drives in 0.4 s"
    )

    def __post_init__(self) -> None:
        validate(self)


class CriticNetwork(nn.Module):
    """The last views and the world model's own prediction -> how likely a return is in each cell and height band one step on."""

    def __init__(self, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        channels = VIEWS * VIEW_CHANNELS + len(BODY) + 2
        self.stem = nn.Conv2d(channels, config.width, 2, stride=2)  # cells -> tokens
        self.steps = nn.ModuleList(nn.Conv2d(config.width, config.width, 3, padding=reach, dilation=reach) for reach in config.dilations)
        self.last = nn.Conv2d(config.width, 4 * len(BODY), 3, padding=1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, -3.0)  # most cells are free
        self.exact = nn.Conv2d(channels, len(BODY), 3, padding=1, bias=False)  # a token is two cells wide: what stands stays in its cell
        nn.init.zeros_(self.exact.weight)

    def forward(self, seen_BCYX: Tensor) -> Tensor:
        """(B, Z, Y, X) logits; seen: from `SceneCritic.seen`."""
        range_YX = torch.from_numpy(_RANGE_YX / np.float32(HALF_M))  # returns thin out with it
        input_BCYX = torch.cat([seen_BCYX, range_YX.expand(len(seen_BCYX), 1, -1, -1)], dim=1)
        input_BCYX = input_BCYX.contiguous(memory_format=torch.channels_last)  # so few channels take three quarters of the time
        tokens = F.relu(self.stem(input_BCYX))
        for step in self.steps:
            tokens = tokens + F.relu(step(tokens))
        exact = F.conv2d(input_BCYX, _of_two(self.exact.weight), stride=2, padding=1)
        return F.pixel_shuffle(self.last(tokens) + exact, 2)


def _of_two(kernel: Tensor) -> Tensor:
    """(Z, C, 3, 3) -> (4 Z, C, 4, 4): the same convolution for four cells of a token at once, which takes half the time."""
    wide = kernel.new_zeros(len(kernel), 2, 2, kernel.shape[1], 4, 4)
    for row in range(2):
        for column in range(2):
            wide[:, row, column, :, row : row + 3, column : column + 3] = kernel
    return wide.flatten(0, 2)


class SceneCritic:
    """A `protocols.Critic` of one stream, for latents of scene_jepa that saw a lidar."""

    channels: int | None = OBSERVED

    def __init__(self, network: CriticNetwork, dt_s: float) -> None:
        self.network = network
        self._step_ns = round(dt_s * NANOSECONDS)
        self._views: deque[tuple[int, FloatArray, Tensor]] = deque()
        self._looked_at: deque[tuple[Tensor, Tensor]] = deque(maxlen=4)  # a latent is judged, one step later expected from: looked at once

    def reset(self) -> None:
        self._views.clear()
        self._looked_at.clear()

    @torch.inference_mode()
    def expect(self, stamp_ns: int, odom_from_anchor: FloatArray, latent_ND: Tensor, predicted_ND: Tensor) -> Tensor:
        """(Z, Y, X) logits of returns one step on, in the anchor frame of now."""
        seen_CYX = self.seen(stamp_ns, odom_from_anchor, latent_ND, predicted_ND)
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_multiplies_bfloat16()):  # native: half the time
            logits: Tensor = self.network(seen_CYX[None])[0]
        return logits.float()

    def seen(self, stamp_ns: int, odom_from_anchor: FloatArray, latent_ND: Tensor, predicted_ND: Tensor) -> Tensor:
        """(C, Y, X) what the network judges from: the newest view, those one and two steps older, the prediction; remembers the view."""
        self._views.append((stamp_ns, odom_from_anchor, self._view(latent_ND)))
        while self._views[0][0] < stamp_ns - VIEWS * self._step_ns:
            self._views.popleft()
        wanted_ns = [stamp_ns - back * self._step_ns for back in range(1, VIEWS)]
        past = [min(self._views, key=lambda entry: abs(entry[0] - wanted)) for wanted in wanted_ns]
        moved = np.linalg.inv(odom_from_anchor) @ np.stack([pose for _, pose, _ in past])
        aligned_VCYX = warp(torch.stack([view for _, _, view in past]), moved, HALF_M)
        return torch.cat([self._views[-1][2], *aligned_VCYX, observed(predicted_ND)[[*BODY, GROUND]].clamp(0, 1)])

    @torch.inference_mode()
    def strangeness(self, expected_ZYX: Tensor, new_from_old: FloatArray, latent_ND: Tensor) -> float:
        """How unlikely the strangest place of a latent is, in nats (0 or more). `expected_ZYX` holds in the old frame."""
        known = torch.ones_like(expected_ZYX[:1])
        warped = warp(torch.cat([expected_ZYX, known])[None], new_from_old[None], HALF_M)[0]
        return strangest(warped[:-1], warped[-1] > 0.99, self._view(latent_ND))

    def _view(self, latent_ND: Tensor) -> Tensor:
        """(C, Y, X) what stands, where ground is seen, where it is free."""
        for latent, view in self._looked_at:
            if latent is latent_ND:
                return view
        observed_ZYX = observed(latent_ND)
        view = torch.cat([observed_ZYX[[*BODY, GROUND]], visible(observed_ZYX)[None]])
        self._looked_at.append((latent_ND, view))
        return view


def strangest(logits_ZYX: Tensor, known_YX: Tensor, view_CYX: Tensor) -> float:
    """Nats of the strangest place: returns where none were likely, and a little for likely ones that are gone from where the lidar saw."""
    body_ZYX, visible_YX = view_CYX[: len(BODY)], view_CYX[-1]
    return_nats_ZYX = F.softplus(-logits_ZYX)
    come_YX = ((return_nats_ZYX * body_ZYX).sum(dim=0) * known_YX).numpy()
    missing_YX = ((return_nats_ZYX + logits_ZYX).sum(dim=0) * known_YX * visible_YX).numpy()  # softplus(x) = softplus(-x) + x
    around_YX = 81 * ndimage.uniform_filter(come_YX, 9, mode="constant") - 9 * ndimage.uniform_filter(come_YX, 3, mode="constant")
    beside_body_YX = ndimage.maximum_filter(body_ZYX.amax(dim=0).numpy(), 3)
    gone_YX = 9 * ndimage.uniform_filter(missing_YX * (1 - beside_body_YX), 3, mode="constant")
    appeared = np.maximum(come_YX - CROWDED * around_YX, 0)
    return max(0.0, float((appeared * NEAR_YX).max() + GONE * (gone_YX * NEAR_YX).max()))


def observed(latent_ND: Tensor) -> Tensor:
    """(all height bands, Y, X) returns that a latent holds, 0-1, on the CPU."""
    return to_cells([latent_ND[:, :OBSERVED].float().cpu()])[0] / GROUNDED_SCALE


def visible(observed_ZYX: Tensor) -> Tensor:
    """(Y, X) 1 where the sweep of a latent shows a cell to be free: no further than the first body in its direction, nor any return."""
    returns = observed_ZYX.numpy() > 0.5
    body_YX = returns[BODY].any(axis=0)
    some_YX = returns[: max(BODY) + 1].any(axis=0)
    first_m = np.full(AZIMUTHS, np.inf, np.float32)
    np.minimum.at(first_m, _BIN_YX[body_YX], _RANGE_YX[body_YX])
    farthest_m = np.zeros(AZIMUTHS, np.float32)
    np.maximum.at(farthest_m, _BIN_YX[some_YX], _RANGE_YX[some_YX])
    # A cell is wider than a direction: bodies hide, and returns show, a little to both sides.
    first_m = np.minimum.reduce([np.roll(first_m, k) for k in (-1, 0, 1)])
    farthest_m = np.maximum.reduce([np.roll(farthest_m, k) for k in (-2, -1, 0, 1, 2)])
    reach_m = np.minimum(first_m - BEHIND_M, farthest_m)
    return torch.from_numpy(((reach_m[_BIN_YX] >= _RANGE_YX) & ~body_YX).astype(np.float32))


def fingerprint(model: nn.Module) -> str:
    """A hash that identifies a set of scene_jepa weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith("encoder.columns."):  # how images without a lidar are read: a critic judges latents that saw one
            continue
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def critic_path(weights: Path) -> Path:
    """The path of the critic that belongs to a scene_jepa weights file, in the same folder."""
    return weights.with_name(f"{weights.stem}_critic.safetensors")


def save_critic(network: CriticNetwork, model: nn.Module, path: Path, about: dict[str, object]) -> None:
    """Write a critic with the fingerprint of the weights that it was fitted to."""
    metadata = {"config": json.dumps(dataclasses.asdict(network.config)), "fitted_to": fingerprint(model), "about": json.dumps(about)}
    save_file({name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}, str(path), metadata)


def load_critic(model: nn.Module, path: Path, dt_s: float) -> SceneCritic | None:
    """The critic for a model whose steps are `dt_s` apart; None, with a warning, where there is none or it was fitted to other weights."""
    instead = "surprise is judged by the plain prediction error; fit one: python -m jepa_ros.training surprise"
    try:
        metadata, tensors = read_safetensors(path, instead)
    except ValueError as error:
        log.warning("%s", error)
        return None
    if metadata.get("fitted_to") != fingerprint(model):
        log.warning("%s was fitted to other scene_jepa weights than these: %s", path, instead)
        return None
    config = json.loads(metadata["config"])
    network = CriticNetwork(from_dict(CriticConfig, config | {"dilations": tuple(config["dilations"])}, where=f"{path}: config"))
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        log.warning("%s holds another kind of network, of another version: %s", path, instead)
        return None
    return SceneCritic(network.eval().requires_grad_(False), dt_s)
