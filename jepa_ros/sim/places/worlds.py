"""Places made from a seed: `street`, `crossing`, `corridor`, `hall`, `square`, `doorway`, `car_park` and `warehouse`.

What can vary does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.sim.places.car_park import car_park
from jepa_ros.sim.places.doorway import doorway
from jepa_ros.sim.places.indoor import corridor, hall
from jepa_ros.sim.places.layout import Layout
from jepa_ros.sim.places.outdoor import crossing, street
from jepa_ros.sim.places.square import square
from jepa_ros.sim.places.warehouse import warehouse

SCENARIOS: dict[str, Callable[[int, np.random.Generator], Layout]] = {
    "street": street,
    "crossing": crossing,
    "corridor": corridor,
    "hall": hall,
}


# Kinds of place that no set of training bags holds: for recorded tracks, and for judging on something new.
PLACES = SCENARIOS | {"square": square, "doorway": doorway, "car_park": car_park, "warehouse": warehouse}


def make_layout(scenario: str, seed: int) -> Layout:
    """The place of this name and seed. Raises ValueError on an unknown scenario or a negative seed."""
    if scenario not in PLACES:
        raise ValueError(f"scenario {scenario!r} is not known; choose one of {', '.join(PLACES)}")
    if seed < 0:
        raise ValueError(f"seed = {seed}: must be 0 or more")
    return PLACES[scenario](seed, np.random.default_rng([seed, list(PLACES).index(scenario)]))
