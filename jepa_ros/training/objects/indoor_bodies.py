"""What stands in halls, shops, offices and stores and is as large as a vehicle: made up at random, as solids that face along x."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.training.objects.bodies import Generator, person
from jepa_ros.training.objects.rays import Solids

POST_M = 0.03


def _box(solids: Solids, middle: tuple[float, float, float], half: tuple[float, float, float]) -> None:
    solids.boxes.append((middle, half, 0.0))


def _posts(solids: Solids, half: tuple[float, float], top: float) -> None:
    for sx in (-1, 1):
        for sy in (-1, 1):
            solids.capsules.append(((sx * half[0], sy * half[1], 0.0), (sx * half[0], sy * half[1], top), POST_M))


def _places(g: Generator, long: float, step: tuple[float, float]) -> list[float]:
    """Places side by side along x."""
    found, at = [], -long / 2 + g.uniform(0.1, 0.4)
    while at < long / 2 - 0.1:
        found.append(at)
        at += g.uniform(*step)
    return found


def _moved(solids: Solids, other: Solids, x: float, y: float) -> None:
    """Adds another thing, at (x, y)."""
    for start, end, radius in other.capsules:
        solids.capsules.append(((start[0] + x, start[1] + y, start[2]), (end[0] + x, end[1] + y, end[2]), radius))
    for middle, half, yaw in other.boxes:
        solids.boxes.append(((middle[0] + x, middle[1] + y, middle[2]), half, yaw))


def _chair(solids: Solids, x: float, y: float, side: float, g: Generator) -> None:
    top = g.uniform(0.8, 1.05)
    _box(solids, (x, y, 0.45), (0.2, 0.2, 0.03))
    _box(solids, (x, y + 0.2 * side, 0.5 * (0.45 + top)), (0.2, 0.02, 0.5 * (top - 0.45)))
    solids.capsules.append(((x, y, 0.0), (x, y, 0.45), POST_M))


def tables(g: Generator) -> Solids:
    """A table or several in a row, with chairs, screens and people who sit."""
    long, deep, top = g.uniform(1.2, 6.0), g.uniform(0.35, 0.9), g.uniform(0.68, 0.8)
    solids = Solids()
    _box(solids, (0.0, 0.0, top), (long / 2, deep, 0.03))
    _posts(solids, (long / 2 - 0.1, deep - 0.1), top)
    for x in _places(g, long, (0.5, 1.0)):
        for side in (-1, 1):
            if g.random() < 0.7:
                _chair(solids, x, side * (deep + g.uniform(0.1, 0.4)), side, g)
            if g.random() < 0.15:  # somebody sits there
                y = side * (deep + 0.25)
                solids.capsules.append(((x, y, 0.5), (x, y, 1.05), 0.17))
                solids.capsules.append(((x, y, 1.25), (x, y, 1.27), 0.11))
        if g.random() < 0.35:
            _box(solids, (x, 0.0, top + 0.3), (g.uniform(0.2, 0.35), 0.03, 0.18))
    return solids


def rack(g: Generator) -> Solids:
    """Shelves on posts with boxes on them."""
    long, deep, tall = g.uniform(1.5, 9.0), g.uniform(0.2, 0.65), g.uniform(1.2, 3.2)
    solids, level, filled = Solids(), g.uniform(0.05, 0.3), g.uniform(0.2, 1.0)
    for x in np.linspace(-long / 2, long / 2, max(2, round(long / 2.5) + 1)):
        for sy in (-1, 1):
            solids.capsules.append(((float(x), sy * deep, 0.0), (float(x), sy * deep, tall), POST_M))
    while level < tall:
        _box(solids, (0.0, 0.0, level), (long / 2, deep, 0.03))
        for x in _places(g, long, (0.4, 1.2)):
            if g.random() < filled:
                high = g.uniform(0.1, 0.3)
                _box(
                    solids, (x, float(g.uniform(-0.3, 0.3) * deep), level + high), (g.uniform(0.12, 0.35), deep * g.uniform(0.4, 0.9), high)
                )
        level += g.uniform(0.4, 1.1)
    return solids


def pallets(g: Generator) -> Solids:
    """Pallets side by side, or two deep, with loads of cartons, sacks, barrels."""
    solids = Solids()
    for row in range(g.integers(1, 3)):
        at = 0.0
        for _ in range(g.integers(1, 6)):
            half, load = (g.uniform(0.35, 0.65), g.uniform(0.35, 0.65)), g.uniform(0.2, 1.8) * (g.random() < 0.85)
            y = row * 1.3 + float(g.uniform(-0.15, 0.15))
            _box(solids, (at, y, 0.07), (*half, 0.07))
            if load > 0.0 and g.random() < 0.7:
                _box(solids, (at, y, 0.15 + load / 2), (half[0] * 0.95, half[1] * 0.95, load / 2))
            elif load > 0.0:
                for sx in (-0.5, 0.5):
                    for sy in (-0.5, 0.5):
                        x, radius = at + sx * half[0], 0.45 * min(half)
                        solids.capsules.append(((x, y + sy * half[1], 0.3), (x, y + sy * half[1], 0.15 + max(load, 0.4)), radius))
            at += 2 * half[0] + g.uniform(0.0, 0.8)
    return solids


def counter(g: Generator) -> Solids:
    """A counter, a bar, a row of machines or cupboards, perhaps round a corner, perhaps with things on it."""
    long, deep, tall = g.uniform(1.0, 7.0), g.uniform(0.2, 0.6), g.uniform(0.8, 1.5)
    solids = Solids()
    _box(solids, (0.0, 0.0, tall / 2), (long / 2, deep, tall / 2))
    if g.random() < 0.35:
        other = g.uniform(0.6, 2.0)
        _box(solids, (long / 2 - deep, other, tall / 2), (deep, other, tall / 2))
    for x in _places(g, long, (0.8, 2.5)):
        if g.random() < 0.4:
            high = g.uniform(0.1, 0.5)
            _box(solids, (x, 0.0, tall + high), (g.uniform(0.1, 0.4), deep * g.uniform(0.3, 0.8), high))
    return solids


def seats(g: Generator) -> Solids:
    """Rows of chairs, benches, sofas."""
    solids = Solids()
    for row in range(g.integers(1, 4)):
        y, side = row * g.uniform(0.8, 1.2), float(g.choice((-1, 1)))
        long = g.uniform(1.2, 5.0)
        if g.random() < 0.5:
            for x in _places(g, long, (0.48, 0.7)):
                _chair(solids, x, y, side, g)
        else:
            deep = g.uniform(0.2, 0.45)
            _box(solids, (0.0, y, 0.22), (long / 2, deep, 0.22))
            _box(solids, (0.0, y + side * deep, 0.45), (long / 2, 0.08, g.uniform(0.3, 0.5)))
    return solids


def people_together(g: Generator) -> Solids:
    """People who stand in a circle, a queue, or close to one another."""
    solids, count, shape = Solids(), int(g.integers(2, 8)), g.integers(3)
    for number in range(count):
        if shape == 0:
            angle, away = 2 * np.pi * number / count + g.uniform(-0.2, 0.2), 0.35 + 0.12 * count
            x, y = away * np.cos(angle), away * np.sin(angle)
        elif shape == 1:
            x, y = (number - count / 2) * g.uniform(0.55, 0.9), g.uniform(-0.2, 0.2)
        else:
            x, y = g.uniform(-1.6, 1.6), g.uniform(-0.9, 0.9)
        _moved(solids, person(g), float(x), float(y))
    return solids


def trolleys(g: Generator) -> Solids:
    """Nested carts, cages on wheels, ladders, stands: bars with little in them."""
    long, deep, tall = g.uniform(0.8, 4.5), g.uniform(0.25, 0.5), g.uniform(0.9, 1.8)
    solids, step = Solids(), g.uniform(0.15, 0.4)
    for x in np.arange(-long / 2, long / 2, step):
        for sy in (-1, 1):
            solids.capsules.append(((float(x), sy * deep, 0.1), (float(x), sy * deep, tall), 0.015))
        if g.random() < 0.5:
            solids.capsules.append(((float(x), -deep, 0.6), (float(x), deep, 0.6), 0.015))
    for level in (0.15, 0.6, tall):
        for sy in (-1, 1):
            solids.capsules.append(((-long / 2, sy * deep, level), (long / 2, sy * deep, level), 0.02))
    if g.random() < 0.4:
        _box(solids, (0.0, 0.0, 0.4), (long / 2, deep * 0.9, g.uniform(0.1, 0.4)))
    return solids


INDOOR: tuple[Callable[[Generator], Solids], ...] = (
    tables,
    tables,
    rack,
    rack,
    pallets,
    counter,
    counter,
    seats,
    people_together,
    people_together,
    trolleys,
)
