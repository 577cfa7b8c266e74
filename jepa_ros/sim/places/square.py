"""An open square between houses, with trees, benches and a fountain to one side. The ego is a robot."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.places.furniture import Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.outdoor import row_of_buildings
from jepa_ros.sim.places.ways import Ways, finish

ROOM_M = 16.0  # the middle stays free this far from the origin


def square(seed: int, rng: np.random.Generator) -> Layout:
    """People cross the square in all directions; the robot drives along one side of its free middle."""
    build, ways = Builder(rng), Ways()
    half = rng.uniform(24.0, 34.0, 2)
    for s in (1.0, -1.0):
        row_of_buildings(build, np.array([-half[0], half[0]]), s * half[1], s)
        row_of_buildings(build, np.array([-half[1], half[1]]), s * half[0], s, along_x=False)
    route = polyline(np.array([[-half[0] + 4, -ROOM_M + 2], [half[0] * 0.4, -ROOM_M + 2], [half[0] - 5, rng.uniform(-2, 6)]]), 3.0, 0.25)
    for _ in range(int(rng.integers(8, 16))):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(ROOM_M + 1.5, half.min() - 3)
        place = distance * np.array([np.cos(angle), np.sin(angle)])
        if np.linalg.norm(route.points_m - place, axis=1).min() < 2.5:
            continue
        kind = rng.random()
        if kind < 0.5:
            build.tree(place)
        elif kind < 0.75:
            build.bench(place)
        elif kind < 0.9:
            build.lamp(place, toward_y=0.0)
        else:
            build.pole(place, 1.4, 0.6, "plain", (0.62, 0.60, 0.56))
    gates = [ways.node((s * (half[0] - 1.5), rng.uniform(-8, 8)), (0.3, 1.5), exit_=True) for s in (1.0, -1.0) for _ in range(2)]
    gates += [ways.node((rng.uniform(-8, 8), s * (half[1] - 1.5)), (1.5, 0.3), exit_=True) for s in (1.0, -1.0) for _ in range(2)]
    inner = [ways.node(rng.uniform(-11.0, 11.0, 2), (2.0, 2.0)) for _ in range(7)]
    for gate in gates:
        ways.edges += [(gate, int(place)) for place in rng.choice(inner, 3, replace=False)]
    for i in range(len(inner)):
        ways.edges += [(inner[i], inner[(i + 1) % len(inner)]), (inner[i], inner[(i + 2) % len(inner)])]
    ego = Lane(route, rng.uniform(0.7, 1.5), "robot", 1)
    return finish(build, ways, "square", seed, (int(rng.integers(20, 44)), 3), ego, rng.uniform(0.5, 6), "robot")
