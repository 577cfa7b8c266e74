"""The learned forecaster of vehicles and cyclists: tracks in, mixtures of poses out.

Axes: V vehicles, P people, B forecast at once, K modes, H steps of 0.4 s.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from jepa_ros.config import from_dict
from jepa_ros.forecast.history import HORIZON, STEP_S
from jepa_ros.forecast.learned import Calibration, covariances_of, metadata_of, read_metadata
from jepa_ros.forecast.traffic.network import TrafficConfig, TrafficNetwork, shrunk
from jepa_ros.forecast.traffic.road_users import RIDES, SCALE_M, Inputs, RoadUsers
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.types import EgoState, FloatArray, PedestrianForecast, TrackedPeople

FORMAT = "jepa_ros traffic forecaster 1"
TURNS_FROM_M = 0.25  # a step that is shorter shows no heading
UNLIKELY = 1e-6  # of modes that only fill up the table


class LearnedTraffic:
    """Forecasts vehicles and cyclists; deterministic; safe to call from one thread at a time."""

    name = "learned_traffic"

    def __init__(self, network: TrafficNetwork, calibration: Calibration | None = None) -> None:
        self.network = network.eval()
        self.calibration = calibration or Calibration()

    @classmethod
    def load(cls, path: str | Path) -> LearnedTraffic:
        """Read what `save` wrote. Raises ValueError where the file is missing, is no such forecaster, or does not fit the network."""
        metadata = read_metadata(path, FORMAT, "traffic")
        network = TrafficNetwork(from_dict(TrafficConfig, json.loads(metadata["network"]), f"{path}: network"))
        calibration = from_dict(Calibration, json.loads(metadata["calibration"]), f"{path}: calibration")
        try:
            network.load_state_dict(load_file(path), strict=True)
        except RuntimeError as error:
            raise ValueError(f"{path}: tensors do not fit the network it describes: {error}") from error
        return cls(network, calibration)

    def save(self, path: str | Path, facts: dict[str, object]) -> None:
        """Write weights, sizes, calibration, and facts of the training (JSON) to a .safetensors file."""
        metadata = metadata_of(FORMAT, self.network.config, self.calibration, facts)
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, path, metadata)

    def predict(self, vehicles: TrackedVehicles, people: TrackedPeople | None = None, ego: EgoState | None = None) -> BoxForecast:
        """K modes for each of V vehicles over 12 steps of 0.4 s, in the frame of the tracks."""
        return self.of(RoadUsers.of(vehicles, people, ego), np.arange(len(vehicles)))

    def of(self, users: RoadUsers, rows: NDArray[np.intp]) -> BoxForecast:
        """Of the road users in `rows` (B,)."""
        times_s, modes = STEP_S * np.arange(1, HORIZON + 1), self.network.config.modes
        if not len(rows):
            shape = (0, modes, HORIZON)
            return BoxForecast(np.zeros((*shape, 3)), np.zeros((0, modes)), np.zeros((*shape, 2, 2)), times_s)
        inputs = Inputs.of(users, rows)
        yaw = users.poses[rows, 2]
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.stack((np.stack((c, s), axis=-1), np.stack((-s, c), axis=-1)), axis=1)  # world = own @ rotation
        with torch.inference_mode():
            mixture, _ = self.network(*(torch.from_numpy(part) for part in vars(inputs).values()))
            mixture = shrunk(mixture, torch.from_numpy(inputs.own), self.network.config.trust)
            spread = covariances_of(mixture, self.calibration, torch.from_numpy(rotation.astype(np.float32)))
            chances = (mixture.logits / self.calibration.temperature).softmax(dim=1).double().numpy()
        ways = SCALE_M * mixture.means.double().numpy() @ rotation[:, None]
        poses = np.concatenate((ways + users.poses[rows, None, None, :2], _headings(ways, yaw)[..., None]), axis=-1)
        return BoxForecast(poses, chances / chances.sum(axis=1, keepdims=True), SCALE_M**2 * spread.double().numpy(), times_s)

    def with_cyclists(
        self, forecast: PedestrianForecast, vehicles: TrackedVehicles, people: TrackedPeople, ego: EgoState | None = None
    ) -> PedestrianForecast:
        """The forecast of people, row i of `people` in row i, with those who ride in the place of cyclists.

        Where it has another number of modes, the likeliest are kept, or unlikely ones are added. Its steps must be 0.4 s
        apart; a forecast with other steps is returned unchanged.
        """
        riders = np.flatnonzero(people.riding > RIDES) if people.riding is not None else np.zeros(0, np.intp)
        steps, modes = len(forecast.times_s), forecast.probabilities.shape[1]
        if not len(riders) or steps > HORIZON or not np.allclose(forecast.times_s, STEP_S * np.arange(1, steps + 1)):
            return forecast
        users, first = RoadUsers.of(vehicles, people, ego), len(vehicles)
        told = self.of(users, first + riders)
        rows, own = np.arange(len(riders))[:, None], told.probabilities.shape[1]
        taken = np.argsort(-told.probabilities, axis=1, kind="stable")[:, np.arange(modes) % own]
        share = np.where(np.arange(modes) < own, told.probabilities[rows, taken], UNLIKELY)
        new = [np.array(part) for part in (forecast.modes_m, forecast.probabilities, forecast.covariances_m2)]
        new[0][riders] = told.poses[rows, taken, :steps, :2]
        new[1][riders] = share / share.sum(axis=1, keepdims=True)
        new[2][riders] = told.covariances_m2[rows, taken, :steps]
        return replace(forecast, modes_m=new[0], probabilities=new[1], covariances_m2=new[2])


def _headings(ways_m: FloatArray, yaw: FloatArray) -> FloatArray:
    """(B, K, H) where each heads along (B, K, H, 2) ways from its place: along each step that is long enough to show it."""
    steps = np.diff(ways_m, axis=2, prepend=0.0)
    heading = np.arctan2(steps[..., 1], steps[..., 0])
    shows = np.hypot(steps[..., 0], steps[..., 1]) > TURNS_FROM_M
    last = np.maximum.accumulate(np.where(shows, np.arange(heading.shape[-1]), -1), axis=-1)
    held = np.take_along_axis(heading, np.maximum(last, 0), axis=-1)
    return np.where(last >= 0, held, yaw[:, None, None])
