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
from safetensors.torch import save_file

from jepa_ros.config import from_dict
from jepa_ros.forecast.learned import Calibration, covariances_of, metadata_of
from jepa_ros.forecast.traffic.network import TrafficConfig, TrafficNetwork, carried_on, shrunk
from jepa_ros.forecast.traffic.road_users import SCALE_M, Inputs, RoadUsers
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.objects.time_steps import HORIZON, STEP_S
from jepa_ros.objects.vehicles.proposals import CELL_M
from jepa_ros.types import EgoState, FloatArray, PedestrianForecast, TrackedPeople
from jepa_ros.weights import read_weights

FORMAT = "jepa_ros traffic forecaster 1"
TURNS_FROM_M = CELL_M  # a step that is shorter than a cell of the detector shows no heading
SAME_S = 1e-6  # steps of this much another length are the same
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
        metadata, tensors = read_weights(path, FORMAT, "train one: python -m jepa_ros.training traffic")
        network = TrafficNetwork(from_dict(TrafficConfig, json.loads(metadata["network"]), f"{path}: network"))
        calibration = from_dict(Calibration, json.loads(metadata["calibration"]), f"{path}: calibration")
        try:
            network.load_state_dict(tensors, strict=True)
        except RuntimeError as error:
            raise ValueError(f"{path}: tensors do not fit the network it describes: {error}") from error
        return cls(network, calibration)

    def save(self, path: str | Path, facts: dict[str, object]) -> None:
        """Write weights, sizes, calibration, and facts of the training (JSON) to a .safetensors file."""
        metadata = metadata_of(FORMAT, self.network.config, self.calibration, facts)
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, path, metadata)

    def predict(self, vehicles: TrackedVehicles, people: TrackedPeople | None = None, ego: EgoState | None = None) -> BoxForecast:
        """K modes for each of V vehicles over 12 steps of 0.4 s, in the frame of the tracks."""
        return self._forecast(RoadUsers.of(vehicles, people, ego), np.arange(len(vehicles)))

    def predict_with_cyclists(
        self, vehicles: TrackedVehicles, people: TrackedPeople, pedestrians: PedestrianForecast, ego: EgoState | None = None
    ) -> tuple[BoxForecast, PedestrianForecast]:
        """What `predict` gives, and the forecast of people (row i of `people` in row i) with cyclists forecast as cyclists.

        A forecast of people with fewer modes keeps a cyclist's likeliest; one with more gets unlikely copies of them. One whose
        steps are not 0.4 s apart is returned unchanged.
        """
        riders, steps, modes = np.flatnonzero(people.cyclists), len(pedestrians.times_s), pedestrians.probabilities.shape[1]
        if not len(riders) or steps > HORIZON or np.abs(pedestrians.times_s - STEP_S * np.arange(1, steps + 1)).max(initial=0.0) > SAME_S:
            return self.predict(vehicles, people, ego), pedestrians
        driving = len(vehicles)
        both = self._forecast(RoadUsers.of(vehicles, people, ego), np.concatenate((np.arange(driving), driving + riders)))
        boxes = BoxForecast(both.poses[:driving], both.probabilities[:driving], both.covariances_m2[:driving], both.times_s)
        rows, own = np.arange(driving, driving + len(riders))[:, None], both.probabilities.shape[1]
        taken = np.argsort(-both.probabilities[driving:], axis=1, kind="stable")[:, np.arange(modes) % own]
        share = np.where(np.arange(modes) < own, both.probabilities[rows, taken], UNLIKELY)
        new = [np.array(part) for part in (pedestrians.modes_m, pedestrians.probabilities, pedestrians.covariances_m2)]
        new[0][riders] = both.poses[rows, taken, :steps, :2]
        new[1][riders] = share / share.sum(axis=1, keepdims=True)
        new[2][riders] = both.covariances_m2[rows, taken, :steps]
        return boxes, replace(pedestrians, modes_m=new[0], probabilities=new[1], covariances_m2=new[2])

    def _forecast(self, users: RoadUsers, rows: NDArray[np.intp]) -> BoxForecast:
        """Of the road users in `rows` (B,), in one run of the network."""
        times_s, modes = STEP_S * np.arange(1, HORIZON + 1), self.network.config.modes
        if not len(rows):
            shape = (0, modes, HORIZON)
            return BoxForecast(np.zeros((*shape, 3)), np.zeros((0, modes)), np.zeros((*shape, 2, 2)), times_s)
        inputs = Inputs.of(users, rows)
        yaw = users.poses[rows, 2]
        c, s = np.cos(yaw), np.sin(yaw)
        rotation = np.stack((np.stack((c, s), axis=-1), np.stack((-s, c), axis=-1)), axis=1)  # world = own @ rotation
        with torch.inference_mode():
            start = carried_on(torch.from_numpy(inputs.own), self.network.steps)
            mixture, _ = self.network(*(torch.from_numpy(part) for part in vars(inputs).values()), start)
            mixture = shrunk(mixture, start, self.network.config.trust)
            spread = covariances_of(mixture, self.calibration, torch.from_numpy(rotation.astype(np.float32)))
            chances = (mixture.logits / self.calibration.temperature).softmax(dim=1).double().numpy()
        paths = SCALE_M * mixture.means.double().numpy() @ rotation[:, None]
        poses = np.concatenate((paths + users.poses[rows, None, None, :2], _headings(paths, yaw)[..., None]), axis=-1)
        return BoxForecast(poses, chances / chances.sum(axis=1, keepdims=True), SCALE_M**2 * spread.double().numpy(), times_s)


def _headings(paths_m: FloatArray, yaw: FloatArray) -> FloatArray:
    """(B, K, H) where each heads along (B, K, H, 2) paths from its place: along each step that is long enough to show it."""
    steps = np.diff(paths_m, axis=2, prepend=0.0)
    heading = np.arctan2(steps[..., 1], steps[..., 0])
    shows = np.hypot(steps[..., 0], steps[..., 1]) > TURNS_FROM_M
    last = np.maximum.accumulate(np.where(shows, np.arange(heading.shape[-1]), -1), axis=-1)
    held = np.take_along_axis(heading, np.maximum(last, 0), axis=-1)
    return np.where(last >= 0, held, yaw[:, None, None])
