"""Under a roof, full of things as large as vehicles: racks, pallets with loads, tables with chairs, counters. The ego is a robot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from jepa_ros.sim.places.furniture import RGB, Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.ways import Ways, finish
from jepa_ros.types import FloatArray

WOOD: RGB = (0.62, 0.48, 0.32)
STEEL: RGB = (0.25, 0.35, 0.60)
CARTON: RGB = (0.66, 0.54, 0.38)


def warehouse(seed: int, rng: np.random.Generator) -> Layout:
    """A hall with aisles between rows of things, one row unlike the next; people walk in the aisles and stand in groups."""
    build, ways = Builder(rng), Ways()
    half = rng.uniform((14, 10), (22, 17))
    height, aisle = rng.uniform(3.5, 7.0), rng.uniform(2.6, 4.0)
    for axis in (0, 1):
        for s in (1.0, -1.0):
            centre, extent = np.zeros(2), np.full(2, 0.2)
            centre[axis], extent[1 - axis] = s * (half[axis] + 0.2), half[1 - axis] + 0.4
            build.box(centre, 0.0, extent, height, "plain", (0.74, 0.74, 0.76), solid=True)
    rows = [float(y) for y in np.arange(-half[1] + 1.2, half[1] - 0.8, aisle + 1.6)]
    kinds = (_racks, _pallets, _tables, _counters, _mixed)
    order = rng.permutation(len(kinds))
    for number, y in enumerate(rows):
        kinds[order[number % len(kinds)]](build, rng, y, half[0] - aisle)
    build.box((0, 0), height, (half[0] + 1, half[1] + 1), 0.2, "plain", (0.85, 0.85, 0.85))
    between = [0.5 * (a + b) for a, b in pairwise(rows)]
    ends = [[ways.node((s * (half[0] - 0.5 * aisle), y), (0.5, 0.5), exit_=True) for y in between] for s in (-1.0, 1.0)]
    middle = [[ways.node((x, y), (1.0, 0.25 * aisle)) for x in np.linspace(-0.5, 0.5, 3) * half[0]] for y in between]
    for left, aisle_nodes, right in zip(ends[0], middle, ends[1], strict=True):
        ways.chain([left, *aisle_nodes, right])
    for side in ends:
        ways.chain(side)
    y = between[len(between) // 2]
    route = polyline(np.array([[-half[0] + 0.7 * aisle, y], [half[0] - 0.7 * aisle, y]]), 1.5, 0.25)
    ego = Lane(route, rng.uniform(0.7, 1.5), "robot", 1)
    people = (int(rng.integers(20, 32)), int(rng.integers(1, 4)))
    return finish(build, ways, "warehouse", seed, people, ego, rng.uniform(0.5, 4), "robot", indoor=True)


def _along(rng: np.random.Generator, reach: float, lengths: tuple[float, float], gap: tuple[float, float]) -> list[tuple[float, float]]:
    """Middles and lengths of things side by side from -reach to reach."""
    placed, at = [], -reach
    while at < reach - lengths[0]:
        length = min(float(rng.uniform(*lengths)), reach - at)
        placed.append((at + length / 2, length))
        at += length + float(rng.uniform(*gap))
    return placed


def _racks(build: Builder, rng: np.random.Generator, y: float, reach: float) -> None:
    """Shelves on posts, boxes on the shelves."""
    deep, top = rng.uniform(0.35, 0.6), rng.uniform(1.6, 3.2)
    levels = np.arange(0.15, top, rng.uniform(0.6, 1.1))
    for x, length in _along(rng, reach, (2.0, 5.0), (0.0, 1.6)):
        for dx in (-1, 1):
            for dy in (-1, 1):
                build.box((x + dx * (length / 2 - 0.05), y + dy * (deep - 0.05)), 0.0, (0.04, 0.04), top, "metal", STEEL)
        for level in levels:
            build.box((x, y), float(level), (length / 2, deep), 0.05, "metal", STEEL)
            for at, wide in _along(rng, length / 2, (0.3, 0.8), (0.02, 0.9)):
                build.box(
                    (x + at, y), float(level) + 0.05, (wide / 2, deep * rng.uniform(0.5, 0.95)), rng.uniform(0.2, 0.5), "plain", CARTON
                )
        build.footprint((x, y), (length / 2, deep))


def _pallets(build: Builder, rng: np.random.Generator, y: float, reach: float) -> None:
    """Pallets with loads, some two deep, some empty."""
    for x, length in _along(rng, reach, (0.8, 2.4), (0.1, 1.8)):
        deep = rng.uniform(0.4, 0.8)
        build.box((x, y), 0.0, (length / 2, deep), 0.15, "bark", WOOD, solid=True)
        if rng.random() < 0.85:
            lean = rng.uniform(-0.05, 0.05)
            build.box((x, y), 0.15, (0.47 * length, 0.94 * deep), rng.uniform(0.4, 1.7), "plain", CARTON, yaw=float(lean))


def _tables(build: Builder, rng: np.random.Generator, y: float, reach: float) -> None:
    """Tables with chairs on both sides, screens on some."""
    for x, length in _along(rng, reach, (1.4, 4.5), (0.6, 2.0)):
        deep, top = rng.uniform(0.35, 0.5), rng.uniform(0.7, 0.8)
        build.box((x, y), top, (length / 2, deep), 0.04, "bark", WOOD)
        for dx in (-1, 1):
            for dy in (-1, 1):
                build.box((x + dx * (length / 2 - 0.08), y + dy * (deep - 0.08)), 0.0, (0.03, 0.03), top, "metal", STEEL)
        build.footprint((x, y), (length / 2, deep))
        for at, _ in _along(rng, length / 2, (0.5, 0.5), (0.05, 0.5)):
            for side in (-1, 1):
                if rng.random() < 0.7:
                    _chair(build, x + at, y + side * (deep + 0.3), side)
            if rng.random() < 0.4:
                build.box((x + at, y), top + 0.15, (0.25, 0.03), 0.35, "plain", (0.1, 0.1, 0.1))


def _chair(build: Builder, x: float, y: float, side: int) -> None:
    build.box((x, y), 0.42, (0.21, 0.21), 0.04, "cloth", (0.2, 0.2, 0.3))
    build.box((x, y + side * 0.2), 0.46, (0.2, 0.02), 0.42, "cloth", (0.2, 0.2, 0.3))
    build.box((x, y), 0.0, (0.03, 0.03), 0.42, "metal", STEEL)


def _counters(build: Builder, rng: np.random.Generator, y: float, reach: float) -> None:
    """Counters, machines, cupboards."""
    for x, length in _along(rng, reach, (1.0, 5.0), (0.4, 2.5)):
        deep, tall = rng.uniform(0.3, 0.7), rng.uniform(0.85, 1.5)
        build.box((x, y), 0.0, (length / 2, deep), tall, "plain", (0.42, 0.44, 0.47), solid=True)
        if rng.random() < 0.5:  # something on it, or a taller part
            build.box((x + rng.uniform(-0.3, 0.3) * length, y), tall, (0.15 * length, 0.7 * deep), rng.uniform(0.2, 0.9), "plain", CARTON)


def _mixed(build: Builder, rng: np.random.Generator, y: float, reach: float) -> None:
    """Pillars, benches, bins, stacks and sofas."""
    for x, _ in _along(rng, reach, (1.0, 2.0), (0.5, 2.0)):
        kind = rng.random()
        if kind < 0.25:
            build.bench((x, y))
        elif kind < 0.45:
            build.bin((x, y))
        elif kind < 0.6:
            build.pole((x, y), rng.uniform(0.15, 0.4), 3.0, "plain", (0.7, 0.7, 0.7))
        else:
            wide = np.array([rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.45)])
            _sofa(build, x, y, wide)


def _sofa(build: Builder, x: float, y: float, half: FloatArray) -> None:
    build.box((x, y), 0.0, half, 0.42, "cloth", (0.30, 0.32, 0.40), solid=True)
    build.box((x, y + half[1] - 0.08), 0.42, (half[0], 0.08), 0.45, "cloth", (0.30, 0.32, 0.40))
    for side in (-1, 1):
        build.box((x + side * (half[0] - 0.07), y), 0.42, (0.07, half[1]), 0.2, "cloth", (0.30, 0.32, 0.40))
