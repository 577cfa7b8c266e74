"""Places under a roof: a corridor with a bend and a hall. The ego is a robot."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.places.furniture import Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.ways import Ways, finish
from jepa_ros.types import FloatArray


def corridor(seed: int, rng: np.random.Generator) -> Layout:
    """A long indoor corridor with a bend, doorways, pillars and side furniture; the ego is a robot."""
    build, ways = Builder(rng), Ways()
    half, first, second = rng.uniform(1.6, 2.6), rng.uniform(28, 40), rng.uniform(20, 32)
    height, turn = rng.uniform(2.7, 3.4), rng.choice([-1.0, 1.0])
    tint = rng.uniform(0.75, 0.95, 3)
    rgb = (float(tint[0]), float(tint[1]), float(tint[2]))

    def wall_along(a: tuple[float, float], b: tuple[float, float], outward: tuple[float, float]) -> None:
        """A wall with recessed doors every few metres."""
        a_, b_, out = np.array(a), np.array(b), np.array(outward)
        length = float(np.linalg.norm(b_ - a_))
        way = (b_ - a_) / length
        build.wall(a_, b_)
        back = (a_ + b_) / 2 + out * 0.45
        extent = np.abs(way) * length / 2 + np.abs(out) * 0.1
        build.box(back, 0.0, extent, height, "plain", (0.45, 0.30, 0.20))
        edge = 0.0
        doors = np.arange(rng.uniform(2, 4), length - 2, rng.uniform(3.5, 6.5))
        for door in [*doors, length + 0.5]:
            stop = min(door - 0.5, length)
            if stop > edge:
                middle, half_run = a_ + way * (edge + stop) / 2 + out * 0.175, (stop - edge) / 2
                build.box(middle, 0.0, (np.abs(way) * half_run + np.abs(out) * 0.175), height, "plain", rgb)
            edge = door + 0.5

    # First leg along +x from 0 to `first`, second leg along turn * y from the bend.
    inner, outer = first - half, first + half
    wall_along((-2, -turn * half), (outer, -turn * half), (0, -turn))
    wall_along((-2, turn * half), (inner, turn * half), (0, turn))
    wall_along((outer, -turn * half), (outer, turn * (half + second)), (1, 0))
    wall_along((inner, turn * half), (inner, turn * (half + second)), (-1, 0))
    wall_along((-2, -half), (-2, half), (-1, 0))
    wall_along((inner, turn * (half + second)), (outer, turn * (half + second)), (0, turn))
    for _ in range(int(rng.integers(1, 5))):
        x = rng.uniform(6, inner - 3)
        side = rng.choice([-1.0, 1.0])
        build.box(
            (x, side * (half - 0.25)), 0.0, (rng.uniform(0.3, 0.9), 0.22), rng.uniform(0.8, 1.9), "plain", (0.35, 0.38, 0.42), solid=True
        )
    spread = half - 0.75
    xs = np.linspace(-1.2, first - half - 1, 6)
    chain = [ways.node((x, 0.0), (0.3, spread), i == 0) for i, x in enumerate(xs)]
    chain.append(ways.node((first, 0.0), (spread, spread)))
    ys = np.linspace(half + 2, half + second - 1.2, 4)
    chain += [ways.node((first, turn * y), (spread, 0.3), i == 3) for i, y in enumerate(ys)]
    ways.chain(chain)
    route = polyline(np.array([[0.0, -0.4 * half], [first, -0.4 * half], [first, turn * (half + second - 2.0)]]), 2.5, 0.25)
    if turn < 0:
        route = polyline(np.array([[0.0, 0.4 * half], [first, 0.4 * half], [first, turn * (half + second - 2.0)]]), 2.5, 0.25)
    build.box((first / 2, turn * second / 2), height + 0.05, (first, second + 10), 0.2, "plain", (0.92, 0.92, 0.90))
    ego = Lane(route, rng.uniform(0.6, 1.3), "robot", 1)
    return finish(build, ways, "corridor", seed, (int(rng.integers(6, 15)), 0), ego, rng.uniform(1, 6), "robot", indoor=True)


def hall(seed: int, rng: np.random.Generator) -> Layout:
    """A large hall with pillars, counters, benches and exits on all sides; people cross it in all directions; the ego is a robot."""
    build, ways = Builder(rng), Ways()
    half = rng.uniform((14, 12), (24, 20))
    height = rng.uniform(4.5, 8.0)
    for axis in (0, 1):
        for s in (1.0, -1.0):
            centre = np.zeros(2)
            centre[axis] = s * (half[axis] + 0.2)
            extent = np.array([0.2, 0.2])
            extent[1 - axis] = half[1 - axis] + 0.4
            build.box(centre, 0.0, extent, height, "facade" if rng.random() < 0.5 else "plain", (0.78, 0.76, 0.72))
            a, b = half.copy(), half.copy()
            a[axis], b[axis] = s * half[axis], s * half[axis]
            b[1 - axis] *= -1
            build.wall(a, b)
    route_y = rng.uniform(-0.4, 0.4) * half[1]
    corners = np.array(
        [[-half[0] + 3, route_y], [rng.uniform(-2, 4), route_y], [half[0] * 0.5, rng.uniform(-0.6, 0.6) * half[1]], [half[0] - 3, 0.0]]
    )
    route = polyline(corners, 3.0, 0.25)
    _fill_hall(build, rng, half, route.points_m, height)
    exits = [((s * (half[0] - 0.8), rng.uniform(-0.7, 0.7) * half[1]), (0.2, 1.0)) for s in (1.0, -1.0) for _ in range(2)]
    exits += [((rng.uniform(-0.7, 0.7) * half[0], s * (half[1] - 0.8)), (1.0, 0.2)) for s in (1.0, -1.0) for _ in range(2)]
    gates = [ways.node(at, half_extent, exit_=True) for at, half_extent in exits]
    discs = build.obstacles().discs_m
    inner: list[int] = []
    while len(inner) < 8:
        place = rng.uniform(-0.65, 0.65, 2) * half
        if len(discs) == 0 or np.linalg.norm(discs[:, :2] - place, axis=1).min() > 2.0:
            inner.append(ways.node(place, (1.5, 1.5)))
    for gate in gates:
        for place in rng.choice(inner, 3, replace=False):
            ways.edges.append((gate, int(place)))
    for i in range(len(inner)):
        ways.edges.append((inner[i], inner[(i + 1) % len(inner)]))
        ways.edges.append((inner[i], inner[(i + 3) % len(inner)]))
    build.box((0, 0), height, (half[0] + 1, half[1] + 1), 0.2, "plain", (0.90, 0.90, 0.88))
    ego = Lane(route, rng.uniform(0.7, 1.5), "robot", 1)
    return finish(build, ways, "hall", seed, (int(rng.integers(16, 40)), 3), ego, rng.uniform(0.5, 4), "robot", indoor=True)


def _fill_hall(build: Builder, rng: np.random.Generator, half: FloatArray, route: FloatArray, height: float) -> None:
    """Pillars on a loose grid, counters and benches along the sides, all clear of the ego's way."""
    step = rng.uniform(6.5, 9.0)
    for x in np.arange(-half[0] + step, half[0] - 3, step):
        for y in np.arange(-half[1] + step, half[1] - 3, step):
            if np.linalg.norm(route - (x, y), axis=1).min() > 1.6 and rng.random() < 0.85:
                build.pole((x, y), rng.uniform(0.25, 0.45), height, "plain", (0.66, 0.65, 0.62))
    for _ in range(int(rng.integers(3, 8))):
        x, side = rng.uniform(-0.8, 0.8) * half[0], rng.choice([-1.0, 1.0])
        y = side * (half[1] - rng.uniform(1.6, 3.5))
        if np.linalg.norm(route - (x, y), axis=1).min() < 2.5:
            continue
        if rng.random() < 0.5:
            build.bench((x, y))
        else:
            build.box((x, y), 0.0, (rng.uniform(0.6, 1.6), 0.45), 1.1, "plain", (0.30, 0.45, 0.55), solid=True)
