"""Random people, riders and things that look like them, as solids on the ground that face along x before they are turned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.training.objects.rays import Solids

CLUTTER, PERSON, RIDER, VEHICLE = range(4)
CLASSES = ("clutter", "person", "rider", "vehicle")
Generator = np.random.Generator


def person(g: Generator) -> Solids:
    """Somebody on foot: 1.1-1.95 m, in any clothes, in stride or not, perhaps with a bag."""
    tall = float(np.clip(g.normal(1.70, 0.09), 1.5, 1.95)) if g.random() < 0.85 else float(g.uniform(1.1, 1.5))
    wide, cloth = g.uniform(0.85, 1.2) * tall / 1.7, g.uniform(0.0, 0.03)
    hip, shoulder, stride = 0.52 * tall, 0.81 * tall, g.uniform(0.0, 0.38) * (g.random() < 0.7)
    swing, lean = 0.6 * stride * g.uniform(0.0, 1.2), g.uniform(-0.05, 0.12)
    parts = [((lean, 0.0, 0.93 * tall), (lean, 0.0, 0.95 * tall), 0.06 * tall + 0.3 * cloth)]
    for side in (-1.0, 1.0):
        parts += [
            ((0.0, 0.09 * side * wide, hip), (side * stride, 0.1 * side * wide, 0.08), 0.075 * wide + cloth),
            ((0.0, 0.08 * side * wide, hip), (lean, 0.1 * side * wide, shoulder - 0.04), 0.115 * wide + cloth),
            ((lean, 0.19 * side * wide, shoulder), (lean - side * swing, 0.24 * side * wide, 0.48 * tall), 0.045 * wide + cloth),
        ]
    if g.random() < 0.25:  # a coat or a skirt
        parts.append(((lean, 0.0, shoulder - 0.15), (0.0, 0.0, g.uniform(0.3, 0.6) * tall), 0.18 * wide + cloth))
    if g.random() < 0.25:  # a rucksack, or what is carried before the body
        parts.append(((lean - 0.2 * g.choice((-1, 1)), 0.0, 0.62 * tall), (lean - 0.18, 0.0, 0.76 * tall), g.uniform(0.08, 0.14)))
    if g.random() < 0.15:  # a bag beside it
        parts.append(((0.0, 0.3, 0.3), (0.1, 0.3, 0.45), g.uniform(0.06, 0.14)))
    return Solids(capsules=parts)


def _wheel(x: float, radius: float, thick: float, g: Generator) -> list:
    """Some of the spokes and of the rim: most beams pass between them."""
    angle = np.linspace(0, 2 * np.pi, 9)
    rim = [(x + radius * np.cos(a), 0.0, radius + radius * np.sin(a)) for a in angle]
    return [(rim[i], rim[i + 1], thick) for i in range(8) if g.random() < 0.8]


def _cycle(g: Generator, motor: bool) -> list:
    if not motor:
        frame = [((-0.5, 0.0, 0.33), (-0.1, 0.0, 0.9), 0.025), ((-0.1, 0.0, 0.55), (0.4, 0.0, 0.75), 0.025)]
        bar = [((0.4, -0.28, 1.0), (0.4, 0.28, 1.0), 0.025), ((0.52, 0.0, 0.33), (0.4, 0.0, 1.0), 0.025)]
        return [*_wheel(-0.52, 0.34, 0.02, g), *_wheel(0.52, 0.34, 0.02, g), *frame, *bar]
    fat = g.uniform(0.13, 0.24)
    hull = [((-0.6, 0.0, 0.6), (0.3, 0.0, 0.6), fat), ((0.55, 0.0, 0.3), (0.4, 0.0, g.uniform(0.9, 1.15)), 0.1)]
    return [
        *hull,
        ((0.4, -0.32, 1.0), (0.4, 0.32, 1.0), 0.04),
        ((-0.6, 0.0, 0.28), (-0.6, 0.0, 0.3), 0.25),
        ((0.6, 0.0, 0.28), (0.6, 0.0, 0.3), 0.25),
    ]


def rider(g: Generator) -> Solids:
    """Somebody on a bicycle, a scooter or a motorcycle."""
    motor = g.random() < 0.4
    seat, cloth = g.uniform(0.72, 0.85) if motor else g.uniform(0.85, 1.0), g.uniform(0.0, 0.03)
    trunk, lean = g.uniform(0.48, 0.58), np.radians(g.uniform(5, 35 if motor else 55))
    top = (-0.15 + trunk * np.sin(lean), seat + trunk * np.cos(lean))
    parts = [((top[0] + 0.08, 0.0, top[1] + 0.17), (top[0] + 0.08, 0.0, top[1] + 0.2), g.uniform(0.1, 0.14 if motor else 0.12))]
    for side in (-1.0, 1.0):
        foot, pedal = (0.1, 0.35) if motor else (0.17 * side, 0.3 + 0.15 * side)
        knee = (0.25, 0.13 * side, seat - g.uniform(0.0, 0.15))
        parts += [
            ((-0.15, 0.07 * side, seat), (top[0], 0.11 * side, top[1]), 0.11 + cloth),
            ((-0.15, 0.08 * side, seat), knee, 0.075 + cloth),
            (knee, (foot, 0.12 * side, pedal), 0.055 + cloth),
            ((top[0], 0.18 * side, top[1]), (0.4, 0.26 * side, 1.0), 0.045 + cloth),
        ]
    return Solids(capsules=[*parts, *_cycle(g, motor)])


def _pole(g: Generator) -> Solids:
    radius, top = float(np.exp(g.uniform(np.log(0.03), np.log(0.25)))), g.uniform(1.0, 6.0)
    solids = Solids(capsules=[((0.0, 0.0, 0.0), (0.0, 0.0, top), radius)])
    if g.random() < 0.5:  # a sign, a meter, a box of switches, a letter box
        middle, half = g.uniform(0.9, 2.4), (g.uniform(0.01, 0.15), g.uniform(0.1, 0.35), g.uniform(0.1, 0.4))
        solids.boxes.append(((0.0, 0.0, middle), half, 0.0))
    return solids


def _box_thing(g: Generator) -> Solids:
    """Bins, cabinets, pillars, ends of walls, machines."""
    half = (g.uniform(0.1, 0.5), g.uniform(0.1, 0.6), 0.5 * g.choice((g.uniform(0.9, 2.0), g.uniform(2.0, 3.2))))
    return Solids(boxes=[((0.0, 0.0, half[2]), half, 0.0)])


def _round_thing(g: Generator) -> Solids:
    """Bollards, barrels, advertising columns, trunks."""
    radius, top = g.uniform(0.08, 0.6), g.choice((g.uniform(0.9, 1.9), g.uniform(1.9, 3.5)))
    shift = g.uniform(-0.1, 0.1, 2)
    return Solids(capsules=[((0.0, 0.0, 0.0), (shift[0], shift[1], max(top - radius, 0.1)), radius)])


def _bush(g: Generator) -> Solids:
    parts = []
    for _ in range(g.integers(1, 5)):
        half = g.uniform(0.15, 0.8, 3)
        middle = (*g.uniform(-0.5, 0.5, 2), max(half[2] * g.uniform(0.6, 1.0), g.uniform(0.2, 1.8)))
        parts.append((middle, tuple(half), float(np.exp(g.uniform(np.log(0.05), np.log(1.0))))))
    trunk = [((0.0, 0.0, 0.0), (g.uniform(-0.2, 0.2), 0.0, g.uniform(0.5, 4.0)), g.uniform(0.03, 0.2))] if g.random() < 0.4 else []
    return Solids(capsules=trunk, clouds=parts)


def _tree(g: Generator) -> Solids:
    top = g.uniform(1.5, 3.5)
    crown = [((*g.uniform(-0.8, 0.8, 2), top + g.uniform(0.0, 1.5)), tuple(g.uniform(0.5, 1.5, 3)), g.uniform(0.1, 1.0)) for _ in range(3)]
    return Solids(capsules=[((0.0, 0.0, 0.0), (g.uniform(-0.2, 0.2), g.uniform(-0.2, 0.2), top), g.uniform(0.05, 0.25))], clouds=crown)


def _parked_cycle(g: Generator) -> Solids:
    return Solids(capsules=_cycle(g, g.random() < 0.5))


def _furniture(g: Generator) -> Solids:
    """Tables, chairs, racks: thin legs, a plate, perhaps a back."""
    half, top = g.uniform(0.2, 0.5, 2), g.uniform(0.4, 1.2)
    legs = [((sx * half[0], sy * half[1], 0.0), (sx * half[0], sy * half[1], top), 0.025) for sx in (-1, 1) for sy in (-1, 1)]
    solids = Solids(capsules=legs, boxes=[((0.0, 0.0, top), (half[0], half[1], 0.03), 0.0)])
    if g.random() < 0.7:
        solids.boxes.append(((-half[0], 0.0, top + 0.3), (0.04, half[1], g.uniform(0.2, 0.5)), 0.0))
    return solids


def _fence(g: Generator) -> Solids:
    top, step = g.uniform(0.9, 2.2), g.uniform(0.1, 0.5)
    posts = [((0.0, y, 0.0), (0.0, y, top), g.uniform(0.015, 0.05)) for y in np.arange(-1.2, 1.2, step)]
    return Solids(capsules=[*posts, ((0.0, -1.2, top), (0.0, 1.2, top), 0.03)])


def vehicle(g: Generator) -> Solids:
    """A car or a van: hull and cabin."""
    long, wide, tall = g.uniform(3.6, 5.5), g.uniform(1.6, 2.0), g.uniform(1.4, 2.3)
    cabin = g.uniform(0.4, 1.0) * long / 2
    hull = ((0.0, 0.0, 0.6), (long / 2, wide / 2, 0.35), 0.0)
    mirror = ((0.25 * long, 0.0, 1.0), (0.08, wide / 2 + 0.18, 0.08), 0.0)
    return Solids(boxes=[hull, ((cabin - long / 2, 0.0, (0.9 + tall) / 2), (cabin, wide / 2 - 0.12, (tall - 0.9) / 2), 0.0), mirror])


THINGS: tuple[Callable[[Generator], Solids], ...] = (
    _pole,
    _pole,
    _box_thing,
    _box_thing,
    _round_thing,
    _bush,
    _bush,
    _bush,
    _tree,
    _parked_cycle,
    _furniture,
    _fence,
)


def random_thing(g: Generator) -> tuple[Solids, int]:
    """One thing and its class."""
    draw = g.random()
    if draw < 0.32:
        return person(g), PERSON
    if draw < 0.48:
        return rider(g), RIDER
    if draw < 0.54:
        return vehicle(g), VEHICLE
    return THINGS[g.integers(len(THINGS))](g), CLUTTER
