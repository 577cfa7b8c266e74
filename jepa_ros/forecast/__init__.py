"""People: detection, tracking, and forecasts of where they will walk."""

from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.types import PedestrianForecast, Tracks

__all__ = ["PedestrianForecast", "Tracks", "load_forecaster"]
