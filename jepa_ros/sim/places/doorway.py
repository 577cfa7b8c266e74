"""Two rooms and one door between them: people must wait for each other. The ego is a robot."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.places.furniture import Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.ways import Ways, finish

WALL_M = 0.15  # half thickness


def doorway(seed: int, rng: np.random.Generator) -> Layout:
    """People walk from either room to the other through a door 2.0 to 2.6 m wide; the robot's route leads through it, too."""
    build, ways = Builder(rng), Ways()
    length, half, height = rng.uniform(9.0, 12.0), rng.uniform(4.5, 7.0), rng.uniform(2.7, 3.6)
    door_y, door_half = rng.uniform(-0.4, 0.4) * half, rng.uniform(1.0, 1.3)
    grey = float(rng.uniform(0.7, 0.9))

    def wall(x0: float, y0: float, x1: float, y1: float) -> None:
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        extent = (abs(x1 - x0) / 2 + WALL_M, abs(y1 - y0) / 2 + WALL_M)
        build.box(middle, 0.0, extent, height, "plain", (grey, grey, 0.96 * grey), solid=True)

    for side in (1.0, -1.0):
        wall(-length, side * half, length, side * half)
        wall(side * length, -half, side * length, half)
    wall(0.0, -half, 0.0, door_y - door_half)
    wall(0.0, door_y + door_half, 0.0, half)
    door = ways.node((0.0, door_y), (0.1, door_half - 0.5))
    for side in (1.0, -1.0):
        before = ways.node((side * 1.6, door_y), (0.4, 0.6))
        ways.edges.append((door, before))
        for _ in range(3):
            room = ways.node((side * rng.uniform(3.5, length - 2.0), rng.uniform(-0.7, 0.7) * half), (1.0, 0.8))
            leave = ways.node((side * (length - 0.8), rng.uniform(-0.7, 0.7) * half), (0.2, 0.6), exit_=True)
            ways.edges += [(before, room), (room, leave)]
    start, goal = (-length + 2.0, rng.uniform(-0.5, 0.5) * half), (length - 2.5, rng.uniform(-0.5, 0.5) * half)
    route = polyline(np.array([start, (-1.5, door_y), (1.5, door_y), goal]), 1.0, 0.25)
    build.box((0.0, 0.0), height, (length + 0.5, half + 0.5), 0.2, "plain", (0.92, 0.92, 0.90))
    ego = Lane(route, rng.uniform(0.7, 1.3), "robot", 1)
    return finish(build, ways, "doorway", seed, (int(rng.integers(5, 11)), 0), ego, 0.0, "robot", indoor=True)
