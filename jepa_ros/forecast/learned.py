"""The learned forecaster: tracks in, mixture out. See `network` for what happens between.

Axes: P person, T history step, H future step, K mode, M neighbour.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from jepa_ros.config import from_dict, param, validate
from jepa_ros.forecast.history import NEIGHBOURS, nearest_neighbours, resample
from jepa_ros.forecast.network import SIGMA_FLOOR_M, Encoded, Mixture, NetworkConfig, Output, TrackNetwork, fill
from jepa_ros.forecast.scene import PlacedMap, SceneAdapter, returns_map, sample, split_people, walk_around
from jepa_ros.forecast.separation import separate
from jepa_ros.objects.time_steps import HORIZON, STEP_S
from jepa_ros.protocols import SceneLatents
from jepa_ros.types import FloatArray, PedestrianForecast, Tracks
from jepa_ros.weights import read_weights

FORMAT = "jepa_ros pedestrian forecaster 1"
FIX = "train one: python -m jepa_ros.training forecaster"
ADAPTER = "adapter."  # of the names of its tensors in a file
FAR_AWAY_M = 1e6  # where those are put who were not seen lately: nobody's neighbours
FASTEST_UNKNOWN_MPS = 1.6  # of people seen once, whose velocity is not known


@dataclass(frozen=True)
class Calibration:
    """Corrections measured on scenes that the network was not trained on."""

    sigma_scale: float = param(1.0, "factor on the standard deviations", at_least=0.1, at_most=10.0)
    sigma_m: float = param(0.0, "standard deviation added in quadrature at each step", at_least=0.0, at_most=1.0)
    temperature: float = param(1.0, "divides the logits of the modes", at_least=0.1, at_most=10.0)

    def __post_init__(self) -> None:
        validate(self)


class LearnedForecaster:
    """A joint-embedding predictive network over tracks and scene latents; deterministic; safe to call from one thread at a time."""

    def __init__(self, network: TrackNetwork, calibration: Calibration | None = None, adapter: SceneAdapter | None = None) -> None:
        """`adapter`: what the surroundings change; None = tracks alone, whatever scene is given."""
        self.network = network.eval()
        self.calibration = calibration or Calibration()
        self.adapter = adapter.eval() if adapter is not None else None

    @classmethod
    def load(cls, path: str | Path) -> LearnedForecaster:
        """Read what `save` wrote. Raises ValueError where the file is missing, is no forecaster, or does not fit the network."""
        metadata, tensors = read_weights(path, FORMAT, FIX)
        network = TrackNetwork(from_dict(NetworkConfig, json.loads(metadata["network"]), f"{path}: network"))
        calibration = from_dict(Calibration, json.loads(metadata["calibration"]), f"{path}: calibration")
        of_adapter = {name.removeprefix(ADAPTER): tensors.pop(name) for name in list(tensors) if name.startswith(ADAPTER)}
        adapter = SceneAdapter(network.config) if of_adapter else None
        try:
            network.load_state_dict(tensors, strict=True)
            if adapter is not None:
                adapter.load_state_dict(of_adapter, strict=True)
        except RuntimeError as error:
            raise ValueError(f"{path}: tensors do not fit the network it describes: {error}") from error
        return cls(network, calibration, adapter)

    def save(self, path: str | Path, facts: dict[str, object]) -> None:
        """Write weights, network sizes, calibration, and facts of the training (JSON) to a .safetensors file."""
        metadata = metadata_of(FORMAT, self.network.config, self.calibration, facts)
        tensors = self.network.state_dict()
        if self.adapter is not None:
            tensors |= {ADAPTER + name: value for name, value in self.adapter.state_dict().items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata)

    def predict(self, tracks: Tracks, scene: SceneLatents | None = None) -> PedestrianForecast:
        """Mixture of `modes` paths for every row, 12 steps of 0.4 s, in the frame of the tracks.

        Takes any period, gaps, and histories from one valid sample on. Without a scene, with that of another world model, without an
        adapter, and where nothing stands around a person, the forecast is that of the tracks alone. Raises ValueError where a row has no
        valid sample or a valid position is not finite.
        """
        times = STEP_S * np.arange(1, HORIZON + 1)
        people, modes = len(tracks.valid), self.network.config.modes
        if people == 0:
            return PedestrianForecast(np.zeros((0, modes, HORIZON, 2)), np.zeros((0, modes)), np.zeros((0, modes, HORIZON, 2, 2)), times)
        _check(tracks)
        # Far from the origin of odom, float32 loses millimetres.
        centre = tracks.positions_m[tracks.valid].mean(axis=0)
        history, seen = resample(dataclasses.replace(tracks, positions_m=tracks.positions_m - centre))
        lone = seen.sum(axis=1) < 2
        with torch.inference_mode():
            encoded = self._encode(torch.from_numpy(history.astype(np.float32)), torch.from_numpy(seen))
            around = None if scene is None else self._surroundings(encoded, scene, centre)
            output = self.network.decode(encoded, None if around is None else self._correction(encoded, around))
            means, covariances, probabilities = self._calibrated(output)
        modes_m, covariances_m2 = means.double().numpy(), covariances.double().numpy()
        probability = probabilities.double().numpy()
        if around is not None:
            probability = walk_around(probability, around.place(modes_m), around.map_YXC, around.people_m)
        aimless = ~output.frames.has_heading.numpy()
        if aimless.any() or lone.any():
            origin = output.frames.origin.double().numpy()
            _make_isotropic(modes_m, covariances_m2, origin, aimless & ~lone)
            newest = tracks.valid.shape[1] - 1 - tracks.valid[:, ::-1].argmax(axis=1)
            place = tracks.positions_m[np.arange(people), newest] - centre
            _make_unknown(modes_m, covariances_m2, probability, place, lone)
        rows, best = np.arange(people), probability.argmax(axis=1)  # as most_likely() takes it
        modes_m[rows, best] = separate(modes_m[rows, best])
        return PedestrianForecast(modes_m + centre, probability / probability.sum(axis=1, keepdims=True), covariances_m2, times)

    def _encode(self, history: Tensor, seen: Tensor) -> Encoded:
        history = fill(history, seen)
        place = np.where(seen.any(dim=1).numpy()[:, None], history[:, -1].numpy(), FAR_AWAY_M)
        index = torch.from_numpy(nearest_neighbours(place, NEIGHBOURS))
        return self.network.encode(history, seen, history[index], seen[index] & (index >= 0)[..., None])

    def _surroundings(self, encoded: Encoded, scene: SceneLatents, centre: FloatArray) -> PlacedMap | None:
        """`centre` (2,): origin of the encoded positions in the frame of the tracks."""
        returns = returns_map(scene) if self.adapter is not None else None
        if returns is None:
            return None
        turn = scene.tracks_from_scene[:2, :2]
        shift = centre - scene.tracks_from_scene[:2, 3]
        people_m = (encoded.frames.origin.double().numpy() + shift) @ turn
        return PlacedMap(split_people(returns, people_m), people_m, turn, shift)

    def _correction(self, encoded: Encoded, around: PlacedMap) -> Tensor:
        assert self.adapter is not None
        points = self.adapter.points_of(encoded.frames) + torch.from_numpy(around.shift.astype(np.float32))
        points = points @ torch.from_numpy(around.turn.astype(np.float32))
        return self.adapter(sample(around.map_YXC, points), encoded)

    def _calibrated(self, output: Output) -> tuple[Tensor, Tensor, Tensor]:
        frames = output.frames
        covariances = covariances_of(output.mixture, self.calibration, frames.rotation)
        probabilities = (output.mixture.logits / self.calibration.temperature).softmax(dim=1)
        return frames.to_world(output.mixture.means), covariances, probabilities


def metadata_of(format: str, network: object, calibration: Calibration, facts: dict[str, object]) -> dict[str, str]:
    """The metadata of a weights file; `network` is the dataclass of its sizes."""
    return {
        "format": format,
        "network": json.dumps(dataclasses.asdict(network)),  # type: ignore[call-overload]
        "calibration": json.dumps(dataclasses.asdict(calibration)),
        "training": json.dumps(facts),
    }


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata that `LearnedForecaster.save` wrote. Raises ValueError where the file is missing or is no forecaster."""
    return read_weights(path, FORMAT, FIX)[0]


def covariances_of(mixture: Mixture, calibration: Calibration, rotation: Tensor | None = None) -> Tensor:
    """(B, K, H, 2, 2) with the floor and the calibration applied: in the own frame, or turned to the world by `rotation` (B, 2, 2)."""
    raw = (2 * mixture.log_sigma).exp() * calibration.sigma_scale**2
    c = mixture.rho * (raw[..., 0] * raw[..., 1]).sqrt()
    # Added to both axes alike, so that no direction is surer than the floor.
    a, b = (raw + SIGMA_FLOOR_M**2 + calibration.sigma_m**2).unbind(-1)
    if rotation is not None:  # rotation.T @ covariance @ rotation, written out: batches of 2 x 2 products are slow
        cos, sin = rotation[:, 0, 0, None, None], rotation[:, 0, 1, None, None]
        cc, ss, cs = cos * cos, sin * sin, cos * sin
        a, b, c = cc * a - 2 * cs * c + ss * b, ss * a + 2 * cs * c + cc * b, cs * (a - b) + (cc - ss) * c
    return torch.stack((a, c, c, b), dim=-1).unflatten(-1, (2, 2))


def _check(tracks: Tracks) -> None:
    unseen = np.flatnonzero(~tracks.valid.any(axis=1))
    if len(unseen):
        raise ValueError(f"Tracks row {unseen[0]} has no valid sample; leave such people out")
    if not np.isfinite(tracks.positions_m[tracks.valid]).all():
        raise ValueError("Tracks.positions_m holds a position marked valid that is not finite; mark it invalid")


def _make_isotropic(modes_m: FloatArray, covariances_m2: FloatArray, origin: FloatArray, rows: np.ndarray) -> None:
    """Who stands perfectly still, alone, has no direction: keep each mode's second moment about the place and forget its direction."""
    offset = modes_m[rows] - origin[rows, None, None]
    moment = np.trace(covariances_m2[rows], axis1=-2, axis2=-1) + np.square(offset).sum(axis=-1)
    covariances_m2[rows] = 0.5 * moment[..., None, None] * np.eye(2)
    modes_m[rows] = origin[rows, None, None]


def _make_unknown(modes_m: FloatArray, covariances_m2: FloatArray, probability: FloatArray, place: FloatArray, rows: np.ndarray) -> None:
    """Who was seen once may go anywhere: circles about the place, one per mode, of speeds up to a brisk walk."""
    modes = modes_m.shape[1]
    speed = FASTEST_UNKNOWN_MPS * np.arange(1, modes + 1) / modes
    sigma = np.hypot(speed[:, None] * STEP_S * np.arange(1, HORIZON + 1) / np.sqrt(2), SIGMA_FLOOR_M)
    covariances_m2[rows] = np.square(sigma)[..., None, None] * np.eye(2)
    modes_m[rows] = place[rows, None, None]
    probability[rows] = 1.0 / modes
