"""Random vehicles, and other things of that size, as solids that face along x before they are turned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.training.objects.bodies import CLUTTER, VEHICLE, Generator, person, random_thing, rider
from jepa_ros.training.objects.indoor_bodies import INDOOR
from jepa_ros.training.objects.rays import Solids


def car(g: Generator) -> Solids:
    """Saloons, hatchbacks, estates: a hull with round ends, pillars and a roof, glass that returns beams or lets them through."""
    long, wide, tall = g.uniform(3.5, 5.2), g.uniform(1.6, 1.95), g.uniform(1.38, 1.75)
    belt, floor = g.uniform(0.85, 1.05), g.uniform(0.2, 0.35)
    rear, front = g.uniform(-0.5, -0.3) * long, g.uniform(0.05, 0.25) * long  # of the cabin at the belt
    slant = g.uniform(0.1, 0.7)
    solids = Solids(boxes=_hull(long, wide, floor, belt, g))
    solids.boxes.append((((rear + front) / 2, 0.0, tall - 0.04), ((front - rear) / 2 - 0.5 * slant, wide / 2 - 0.15, 0.04), 0.0))
    for side in (-1, 1):
        for at, lean in ((rear, slant * 0.4), (front, -slant), ((rear + front) / 2, 0.0)):
            solids.capsules.append(((at, side * (wide / 2 - 0.08), belt), (at + lean, side * (wide / 2 - 0.2), tall - 0.05), 0.05))
    _glass(solids, rear, front - 0.5 * slant, wide, belt, tall, g)
    solids.boxes.append(((front - 0.1, 0.0, belt + 0.1), (0.08, wide / 2 + 0.15, 0.08), 0.0))  # mirrors
    return solids


def _hull(long: float, wide: float, floor: float, belt: float, g: Generator) -> list:
    """The body up to the windows, its ends a little narrower and lower than its middle."""
    middle, half = 0.5 * (floor + belt), 0.5 * (belt - floor)
    bonnet = g.uniform(0.0, 0.25)
    ends = long / 2 - g.uniform(0.1, 0.3)
    return [
        ((-0.1 * long, 0.0, middle), (0.4 * long - 0.1, wide / 2, half), 0.0),
        ((0.2 * long, 0.0, middle - bonnet / 2), (0.3 * long - 0.1, wide / 2 - 0.03, half - bonnet / 2), 0.0),
        ((0.0, 0.0, middle - 0.1), (ends + 0.1, wide / 2 - 0.12, half - 0.15), 0.0),
    ]


def _glass(solids: Solids, rear: float, front: float, wide: float, low: float, high: float, g: Generator) -> None:
    """Windows that reflect, or seats and heads behind those that do not."""
    if g.random() < 0.5:
        middle = ((rear + front) / 2, 0.0, 0.5 * (low + high))
        solids.boxes.append((middle, (max((front - rear) / 2 - 0.15, 0.3), wide / 2 - 0.15, 0.5 * (high - low) - 0.03), 0.0))
        return
    for at in (rear + 0.6, (rear + front) / 2 + 0.2):
        for side in (-0.4, 0.4):
            solids.boxes.append(((at, side, low - 0.1), (0.12, 0.22, 0.35), 0.0))


def van(g: Generator) -> Solids:
    """Vans, buses, lorries with a box: one body from end to end, perhaps a bonnet."""
    large = g.random() < 0.35
    long, wide = (g.uniform(6.0, 11.0), g.uniform(2.1, 2.5)) if large else (g.uniform(4.3, 6.2), g.uniform(1.75, 2.1))
    tall, floor, bonnet = (g.uniform(2.6, 3.5) if large else g.uniform(1.8, 2.6)), g.uniform(0.25, 0.6), g.uniform(0.0, 1.1)
    body = ((-bonnet / 2, 0.0, 0.5 * (floor + tall)), ((long - bonnet) / 2, wide / 2, 0.5 * (tall - floor)), 0.0)
    solids = Solids(boxes=[body])
    if bonnet > 0.3:
        solids.boxes.append((((long - bonnet) / 2, 0.0, 0.5 * (floor + 1.1)), (bonnet / 2, wide / 2 - 0.05, 0.5 * (1.1 - floor)), 0.0))
    for at in (-0.3 * long, 0.32 * long):
        for side in (-1, 1):
            solids.boxes.append(((at, side * (wide / 2 - 0.12), 0.35), (0.35, 0.1, 0.35), 0.0))
    return solids


def pickup(g: Generator) -> Solids:
    """A cabin and an open bed."""
    long, wide, tall = g.uniform(4.8, 5.8), g.uniform(1.8, 2.0), g.uniform(1.6, 1.95)
    solids = Solids(boxes=_hull(long, wide, 0.4, g.uniform(0.95, 1.15), g))
    solids.boxes.append(((g.uniform(0.0, 0.5), 0.0, tall - 0.04), (0.7, wide / 2 - 0.15, 0.04), 0.0))
    _glass(solids, -0.7, 0.9, wide, 1.0, tall, g)
    return solids


def _hedge(g: Generator) -> Solids:
    """A hedge or a bed of plants."""
    long, deep, tall = g.uniform(1.5, 9.0), g.uniform(0.4, 1.6), g.uniform(0.6, 2.4)
    porous = float(np.exp(g.uniform(np.log(0.03), np.log(0.6))))
    clouds = []
    for at in np.arange(-long / 2, long / 2, 0.8):
        half = tuple(0.5 * np.array([g.uniform(0.9, 1.5), deep * g.uniform(0.7, 1.2), tall * g.uniform(0.8, 1.2)]))
        clouds.append(((float(at), float(g.uniform(-0.15, 0.15)), half[2]), half, porous))
    return Solids(clouds=clouds)


def _wall(g: Generator) -> Solids:
    """A piece of a wall, a fence of boards, a kiosk, a shelter."""
    long, deep, tall = g.uniform(1.5, 9.0), g.choice((g.uniform(0.05, 0.3), g.uniform(0.3, 3.0))), g.uniform(0.6, 3.2)
    return Solids(boxes=[((0.0, 0.0, tall / 2), (long / 2, deep / 2, tall / 2), 0.0)])


def _rail(g: Generator) -> Solids:
    """A fence of bars, a railing, a rack of bicycles."""
    long, tall, step = g.uniform(1.5, 7.0), g.uniform(0.7, 1.6), g.uniform(0.15, 0.7)
    width = g.choice((0.0, g.uniform(0.3, 1.6)))
    bars = [((at, -width / 2, 0.0), (at, width / 2, tall), g.uniform(0.02, 0.06)) for at in np.arange(-long / 2, long / 2, step)]
    return Solids(capsules=[*bars, ((-long / 2, 0.0, tall), (long / 2, 0.0, tall), 0.04)])


def _bins(g: Generator) -> Solids:
    """Bins, boxes, cabinets side by side."""
    boxes, at = [], 0.0
    for _ in range(g.integers(1, 5)):
        half = (g.uniform(0.25, 0.7), g.uniform(0.25, 0.6), 0.5 * g.uniform(0.7, 1.5))
        boxes.append(((at, float(g.uniform(-0.2, 0.2)), half[2]), half, 0.0))
        at += 2 * half[0] + g.uniform(0.0, 0.3)
    return Solids(boxes=boxes)


def _group(g: Generator) -> Solids:
    """Trunks or people side by side."""
    capsules = []
    for _ in range(g.integers(2, 5)):
        x, y, radius, top = g.uniform(-1.5, 1.5), g.uniform(-0.8, 0.8), g.uniform(0.1, 0.3), g.uniform(1.2, 2.6)
        capsules.append(((x, y, 0.1), (x, y, top), radius))
    return Solids(capsules=capsules)


VEHICLES: tuple[Callable[[Generator], Solids], ...] = (car, car, car, car, van, van, pickup)
OTHERS: tuple[Callable[[Generator], Solids], ...] = (_hedge, _hedge, _hedge, _wall, _rail, _rail, _bins, _group, rider, rider, person)
IS_VEHICLE, SMALL, IN_HALLS = 0.45, 0.15, 0.18  # so often it is a vehicle, whatever is taken for people, or what stands indoors


def random_large_thing(g: Generator) -> tuple[Solids, int]:
    """One thing and its class."""
    draw = g.random()
    if draw < IS_VEHICLE:
        return VEHICLES[g.integers(len(VEHICLES))](g), VEHICLE
    if draw < IS_VEHICLE + SMALL:
        solids, kind = random_thing(g)
        return solids, VEHICLE if kind == VEHICLE else CLUTTER
    others = INDOOR if draw < IS_VEHICLE + SMALL + IN_HALLS else OTHERS
    return others[g.integers(len(others))](g), CLUTTER
