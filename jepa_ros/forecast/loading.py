"""From a name or a path to a forecaster: our own, and, of people, those of installed packages (entry points `jepa_ros.forecasters`)."""

from __future__ import annotations

from pathlib import Path

from jepa_ros.extensions import Registry
from jepa_ros.protocols import Forecaster, TrafficForecaster
from jepa_ros.weights import find_weights

DEFAULT = "pedestrian_forecaster.safetensors"
TRAFFIC = "traffic_forecaster.safetensors"
SCENE = "pedestrian_forecaster_scene.safetensors"


def load_forecaster(name_or_path: str | Path | None = None) -> Forecaster:
    """The shipped default (None), one of `FORECASTERS` by name, or a trained forecaster by the path of its .safetensors file.

    "constant_velocity" is the baseline; "scene" is the default with an adapter for the latents of `scene_jepa`: better in simulation, not
    confirmed on a real recording.
    Raises ValueError where the name is unknown or the file is not a forecaster, FileNotFoundError where the default was not installed.
    """
    if name_or_path is None:
        return _from_file(find_weights(DEFAULT))
    if Path(name_or_path).suffix == ".safetensors":
        return _from_file(name_or_path)
    if str(name_or_path) not in FORECASTERS:
        known = ", ".join(map(repr, FORECASTERS))
        raise ValueError(f"unknown forecaster {str(name_or_path)!r}: use None, {known} or the path of a .safetensors file")
    forecaster: Forecaster = FORECASTERS[str(name_or_path)]()
    return forecaster


def load_traffic_forecaster(name_or_path: str | Path = "") -> TrafficForecaster:
    """Of vehicles and cyclists: the shipped default (""), "constant_turn_rate" (a rule, of vehicles alone), or what
    `-m jepa_ros.training traffic` wrote, by its path.

    Raises ValueError where the name is unknown or the file is no such forecaster, FileNotFoundError where the default was not installed.
    """
    from jepa_ros.forecast.constant_turn_rate import ConstantTurnRate
    from jepa_ros.forecast.traffic.learned import LearnedTraffic

    if str(name_or_path) == ConstantTurnRate.name:
        return ConstantTurnRate()
    if name_or_path and Path(name_or_path).suffix != ".safetensors":
        raise ValueError(
            f"unknown forecaster of traffic {str(name_or_path)!r}: use '', {ConstantTurnRate.name!r} or the path of a .safetensors file"
        )
    return LearnedTraffic.load(name_or_path or find_weights(TRAFFIC))


def _from_file(path: str | Path) -> Forecaster:
    from jepa_ros.forecast.learned import LearnedForecaster

    return LearnedForecaster.load(path)


def _constant_velocity() -> Forecaster:
    from jepa_ros.forecast.constant_velocity import ConstantVelocity

    return ConstantVelocity()


def _scene() -> Forecaster:
    return _from_file(find_weights(SCENE))


# Each is loader() -> Forecaster.
FORECASTERS = Registry("jepa_ros.forecasters", {"constant_velocity": _constant_velocity, "scene": _scene})
