"""From a name or a path to a forecaster."""

from __future__ import annotations

from pathlib import Path

from jepa_ros.protocols import Forecaster
from jepa_ros.weights import find_weights

DEFAULT = "pedestrian_forecaster.safetensors"
SCENE = "pedestrian_forecaster_scene.safetensors"


def load_forecaster(name_or_path: str | Path | None = None) -> Forecaster:
    """The shipped default (None), the baseline ("constant_velocity"), or a trained forecaster by the path of its .safetensors file.

    "scene" is the default with an adapter for the latents of `scene_jepa`: better in simulation, not confirmed on a real recording.
    Raises ValueError where the name is unknown or the file is not a forecaster, FileNotFoundError where the default was not installed.
    """
    if name_or_path is None:
        name_or_path = find_weights(DEFAULT)
    if name_or_path == "scene":
        name_or_path = find_weights(SCENE)
    if name_or_path == "constant_velocity":
        from jepa_ros.forecast.constant_velocity import ConstantVelocity

        return ConstantVelocity()
    if Path(name_or_path).suffix != ".safetensors":
        raise ValueError(
            f"unknown forecaster {str(name_or_path)!r}: use None, 'scene', 'constant_velocity' or the path of a .safetensors file"
        )
    from jepa_ros.forecast.learned import LearnedForecaster

    return LearnedForecaster.load(name_or_path)
