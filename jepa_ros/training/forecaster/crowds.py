"""Simulated crowds as recordings: streets, crossings, corridors and halls that the recordings of real people do not show."""

from __future__ import annotations

import numpy as np

from jepa_ros.objects.time_steps import STEP_S
from jepa_ros.sim.people.crowd import Crowd
from jepa_ros.sim.places.worlds import SCENARIOS, make_layout
from jepa_ros.training.forecaster.data import Recording

FIRST_SEED = 5000  # of the range for training; see jepa_ros.sim
DURATION_S = 72.0
SETTLING_S = 8.0
SUBSTEPS = 4  # of 0.1 s


def place_crowd(scenario: str, seed: int, rng: np.random.Generator) -> Crowd:
    """Two people or more in a simulated place, before they take their first step."""
    layout = make_layout(scenario, seed)
    return Crowd(layout.walk, layout.obstacles, max(layout.n_people, 2), rng, layout.n_standing_groups, layout.ego_lane.path.points_m)


def crowd_recording(scenario: str, seed: int) -> Recording:
    """People walking about one simulated place, every 0.4 s. Who leaves and comes back in is a new person."""
    crowd = place_crowd(scenario, seed, np.random.default_rng([seed, 100]))
    snapshots = []
    for step in range(int((SETTLING_S + DURATION_S) / STEP_S)):
        for _ in range(SUBSTEPS):
            crowd.step(STEP_S / SUBSTEPS)
        if step * STEP_S >= SETTLING_S:
            snapshots.append((crowd.serials.copy(), crowd.positions_m.copy()))
    serials = np.unique(np.concatenate([ids for ids, _ in snapshots]))
    positions = np.zeros((len(snapshots), len(serials), 2), np.float32)
    present = np.zeros((len(snapshots), len(serials)), bool)
    for instant, (ids, places) in enumerate(snapshots):
        column = np.searchsorted(serials, ids)
        positions[instant, column] = places
        present[instant, column] = True
    return Recording(f"crowd {scenario} {seed}", positions, present)


def crowd_recordings(count: int) -> list[Recording]:
    """`count` simulated places, the scenarios in turn."""
    names = list(SCENARIOS)
    return [crowd_recording(names[index % len(names)], FIRST_SEED + index) for index in range(count)]
