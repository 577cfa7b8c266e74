"""Corrects the spread of forecasts online, so that a region of 90 % contains 90 % of what then happens (conformal prediction).

For each class and step two factors, moved a little after every forecast whose time has come (adaptive conformal inference: Gibbs and
Candes, NeurIPS 2021, on their logarithms): one on the standard deviations of all modes, up where too few outcomes lay within the 50 %
region and down where too many did; one on those of a further mode around the middle of all, by the 90 % region. One factor alone is not
enough: where most people do what was predicted and a few do something else, the inner region is too large and the outer one too small.
An instant counts by how many it scores, so that what holds is the share of all forecasts: where many cyclists come at once, others are
right than where one does.
Axes: P rows, K modes, N scored forecasts, H steps.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.config import param, validate
from jepa_ros.forecast.scoring import OnlineScore, Ranked
from jepa_ros.lazy import replaced
from jepa_ros.movers import BoxForecast, TrackedVehicles
from jepa_ros.objects.time_steps import STEP_S
from jepa_ros.types import FloatArray, PedestrianForecast, SceneState, TrackedPeople, Tracks

CLASSES = ("person", "cyclist", "vehicle")
LEVELS = (0.5, 0.9)  # of the regions by which the modes, and the further mode, are moved
FURTHER, LESS_THAN_LIKELIEST = 0.2, 0.8  # probability of the further mode, and its largest share of that of the likeliest
FORMAT = 2
MOST_STEPS = 200
USUAL_OVER = 500  # scored instants over which it is found how many are usual
MOST_USUAL = 4.0  # times as many as usual, than which an instant never counts more: whoever walks into a crowd scores a hundred at once


@dataclass(frozen=True)
class CorrectionConfig:
    """How fast what was seen is learned, and where it is kept."""

    enabled: bool = param(True, "correct the spread of forecasts by how often they come true", read_only=False)
    rate: float = param(
        0.05,
        "how far the logarithm of a factor moves, at most, with each instant that scores as many as usual",
        at_least=0.0,
        at_most=1.0,
    )
    largest: float = param(4.0, "factors stay within this and its inverse", at_least=1.0, at_most=100.0)
    file: str = param("", "JSON file that keeps the factors from run to run; empty = they are lost when the node ends", read_only=False)

    def __post_init__(self) -> None:
        validate(self)


class Correction:
    """Takes every state that is published, and corrects the spread of the next one."""

    def __init__(self, config: CorrectionConfig | None = None) -> None:
        """Takes up what the file holds. Raises ValueError where it is no such file."""
        self.config = config or CorrectionConfig()
        self.log_factors: dict[str, FloatArray] = {}  # class -> (2, H), of the modes and of the further mode
        self.scores = {name: OnlineScore(ranked=self._learner(name)) for name in CLASSES}
        if self.config.file and Path(self.config.file).exists():
            self.log_factors = _read(Path(self.config.file))

    def factors(self, name: str, steps: int) -> FloatArray:
        """(2, H) on the standard deviations of a class, of its modes and of the further mode; 1 before anything was scored."""
        known = self.log_factors.get(name)
        if known is None or not self.config.enabled:
            return np.ones((2, steps))
        return np.exp(known[:, np.minimum(np.arange(steps), known.shape[1] - 1)])

    def corrected(self, state: SceneState) -> SceneState:
        """The same state with forecasts as they should have been spread, and one mode more."""
        if not self.config.enabled or not self.log_factors:
            return state
        people, boxes = state.pedestrians, state.vehicle_forecast
        steps = len(people.times_s)
        riding = state.people.cyclists
        factors_2PH = np.where(riding[:, None], self.factors("cyclist", steps)[:, None], self.factors("person", steps)[:, None])
        modes, probabilities, covariances = widened(people.modes_m, people.probabilities, people.covariances_m2, factors_2PH)
        state = replaced(state, pedestrians=replace(people, modes_m=modes, probabilities=probabilities, covariances_m2=covariances))
        vehicles_2VH = np.broadcast_to(self.factors("vehicle", len(boxes.times_s))[:, None], (2, len(boxes.poses), len(boxes.times_s)))
        poses, probabilities, covariances = widened(boxes.poses, boxes.probabilities, boxes.covariances_m2, vehicles_2VH)
        return replaced(state, vehicle_forecast=replace(boxes, poses=poses, probabilities=probabilities, covariances_m2=covariances))

    def learn(self, published: SceneState) -> None:
        """Score earlier forecasts by the present positions, and remember the present forecasts."""
        riding, people, forecast = published.people.cyclists, published.people, published.pedestrians
        for name, own in (("person", ~riding), ("cyclist", riding)):
            self.scores[name].update(published.stamp_ns, _people(people, own), _forecast(forecast, own))
        self.scores["vehicle"].update(published.stamp_ns, as_people(published.vehicles), as_pedestrians(published.vehicle_forecast))

    def told(self) -> dict[str, float]:
        """Figures of `OnlineScore.summary` of people; those of the other classes under their names, where there are any; the factors."""
        found = dict(self.scores["person"].summary())
        for name in CLASSES[1:]:
            summary = self.scores[name].summary()
            if summary["scored"] > 0:
                found |= {f"{name}_{key}": value for key, value in summary.items()}
        return found | {f"{name}_spread": float(np.exp(values[0].mean())) for name, values in self.log_factors.items()}

    def save(self) -> None:
        """To the file, if there is one; whole or not at all."""
        if not self.config.file or not self.log_factors:
            return
        path = Path(self.config.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        told = {name: np.round(values, 5).tolist() for name, values in self.log_factors.items()}
        partial.write_text(json.dumps({"format": FORMAT, "log_factors": told}))
        partial.replace(path)

    def _learner(self, name: str) -> Ranked:
        usual, instants = 0.0, 0  # how many are scored at once

        def learn(ranks: FloatArray, known: NDArray[np.bool_]) -> None:
            nonlocal usual, instants
            steps, config = ranks.shape[1], self.config
            if not config.enabled:
                return
            now = self.log_factors.get(name, np.zeros((2, steps)))
            if now.shape[1] != steps:  # another forecaster
                now = np.zeros((2, steps))
            instants += 1
            usual += (len(ranks) - usual) / min(instants, USUAL_OVER)
            limit, one = np.log(config.largest), max(usual, len(ranks) / MOST_USUAL)
            self.log_factors[name] = np.clip(now + config.rate * _missed(ranks, known) / one, -limit, limit)

        return learn


def _missed(ranks_NH: FloatArray, known_NH: NDArray[np.bool_]) -> FloatArray:
    """(2, H) by how many more outcomes than promised lie outside the regions of `LEVELS`."""
    return np.stack([(((ranks_NH > level) - (1.0 - level)) * known_NH).sum(axis=0) for level in LEVELS])


def widened(
    means: FloatArray, probabilities: FloatArray, covariances: FloatArray, factors_2PH: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(P, K + 1, H, D), (P, K + 1), (P, K + 1, H, 2, 2): modes spread by the first factors, and one around them all, spread by the second.

    Of D numbers of a mean the first two are its place; the others of the further mode are those of the likeliest.
    """
    if not len(means):
        return means, probabilities, covariances
    weight = probabilities[:, :, None, None]
    middle = (weight * means[..., :2]).sum(axis=1)
    off = means[..., :2] - middle[:, None]
    around = (weight[..., None] * (covariances + off[..., :, None] * off[..., None, :])).sum(axis=1)
    further = means[np.arange(len(means)), probabilities.argmax(axis=1)].copy()
    further[..., :2] = middle
    share = np.minimum(FURTHER, LESS_THAN_LIKELIEST * probabilities.max(axis=1))[:, None]
    inner, outer = (factor[:, :, None, None] ** 2 for factor in factors_2PH)
    return (
        np.concatenate((means, further[:, None]), axis=1),
        np.concatenate((probabilities * (1 - share), share), axis=1),
        np.concatenate((covariances * inner[:, None], (around * outer)[:, None]), axis=1),
    )


def _read(path: Path) -> dict[str, FloatArray]:
    try:
        told = json.loads(path.read_text())
        factors = {str(name): np.array(values, float) for name, values in told["log_factors"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no corrections of forecasts: {error}; remove it") from error
    good = all(
        values.ndim == 2 and len(values) == 2 and 0 < values.shape[1] <= MOST_STEPS and np.isfinite(values).all()
        for values in factors.values()
    )
    if told.get("format") != FORMAT or not good or not set(factors) <= set(CLASSES):
        raise ValueError(f"{path} holds no corrections of forecasts of format {FORMAT}; remove it")
    return factors


def _people(people: TrackedPeople, own: NDArray[np.bool_]) -> TrackedPeople:
    history = Tracks(people.history.positions_m[own], people.history.valid[own], people.history.dt_s)
    parts = (people.ids[own], people.positions_m[own], people.velocities_mps[own], people.existence[own], people.radii_m[own])
    return TrackedPeople(*parts, history)


def _forecast(forecast: PedestrianForecast, own: NDArray[np.bool_]) -> PedestrianForecast:
    return PedestrianForecast(forecast.modes_m[own], forecast.probabilities[own], forecast.covariances_m2[own], forecast.times_s)


def as_people(vehicles: TrackedVehicles) -> TrackedPeople:
    """Vehicles as points, for what asks where something is and no more."""
    places = vehicles.boxes[:, :2]
    history = Tracks(places[:, None], np.ones((len(places), 1), bool), dt_s=STEP_S)
    return TrackedPeople(vehicles.ids, places, vehicles.velocities_mps, vehicles.existence, 0.5 * vehicles.boxes[:, 4], history)


def as_pedestrians(forecast: BoxForecast) -> PedestrianForecast:
    """The paths of the centres of the boxes."""
    return PedestrianForecast(forecast.poses[..., :2], forecast.probabilities, forecast.covariances_m2, forecast.times_s)
