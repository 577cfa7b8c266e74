"""Forecasts of where people and vehicles will move."""

from jepa_ros.forecast.loading import load_forecaster
from jepa_ros.types import PedestrianForecast, Tracks

__all__ = ["PedestrianForecast", "Tracks", "load_forecaster"]
