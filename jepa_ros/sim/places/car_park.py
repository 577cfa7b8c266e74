"""A car park: rows of bays along two aisles, most of them taken. The ego is a car."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.places.furniture import Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.ways import Ways, finish

BAY_M = (5.0, 2.5)  # length and width of a bay (2.3 to 2.5 m in most countries)
END_M = 26.0  # aisles reach so far to both sides


def car_park(seed: int, rng: np.random.Generator) -> Layout:
    """Two aisles along x, joined at both ends. Cars stand across, not all of them straight or in the middle of their bays."""
    build, ways = Builder(rng), Ways()
    aisle, taken = rng.uniform(5.5, 6.5), rng.uniform(0.6, 0.9)
    middles = (0.0, -(aisle + 2.0 * BAY_M[0]))
    rows = [middle + side * 0.5 * (aisle + BAY_M[0]) for middle in middles for side in (1.0, -1.0)]
    for row in rows:
        for x in np.arange(-END_M + 5.0, END_M - 5.0, BAY_M[1]):
            build.box((x, row), -0.09, (0.05, 0.5 * BAY_M[0]), 0.1, "paint", (0.88, 0.88, 0.86))
            if rng.random() < taken:
                at = (x + 0.5 * BAY_M[1] + rng.uniform(-0.15, 0.15), row + rng.uniform(-0.2, 0.2))
                build.parked_car(at, float(rng.choice([-0.5, 0.5]) * np.pi + rng.uniform(-0.05, 0.05)))
    low, high = rows[-1] - 0.5 * BAY_M[0] - 0.6, rows[0] + 0.5 * BAY_M[0] + 0.6
    for y in (low, high):
        build.hedge((0.0, y), (END_M, 0.3))
    for x in np.linspace(-END_M + 8.0, END_M - 8.0, 4):
        build.lamp((x, 0.5 * (rows[1] + rows[2])), toward_y=0.0)
    walks = [
        [ways.node((x, middle), (1.0, 0.5 * aisle - 0.8), abs(x) == END_M) for x in np.linspace(-END_M, END_M, 9)] for middle in middles
    ]
    for walk in walks:
        ways.chain(walk)
    for end in (0, -1):
        ways.chain([walk[end] for walk in walks])
    turn = END_M - 2.5
    corners = [(-END_M, 0.0), (turn, 0.0), (turn, middles[1]), (-END_M, middles[1])]
    ego = Lane(polyline(np.array(corners), 5.0), rng.uniform(2.0, 3.5), "car", 1)
    return finish(build, ways, "car_park", seed, (int(rng.integers(8, 20)), 1), ego, rng.uniform(4, 20), "car")
