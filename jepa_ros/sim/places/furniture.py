"""The parts that places are built from: buildings with windows and bays, trees, lamps, hedges, kerbs, parked cars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.sim.places.layout import Obstacles, Solid
from jepa_ros.types import FloatArray

RGB = tuple[float, float, float]
Place = Sequence[float] | FloatArray  # x, y
KERB_M = 0.12
CAR_HALF_M = (2.15, 0.9)  # half length and half width of a parked car's footprint
FACADES: tuple[RGB, ...] = (
    (0.72, 0.62, 0.50),
    (0.60, 0.34, 0.27),
    (0.80, 0.77, 0.70),
    (0.55, 0.57, 0.60),
    (0.70, 0.55, 0.42),
    (0.47, 0.42, 0.38),
)
CAR_PAINT: tuple[RGB, ...] = (
    (0.75, 0.08, 0.08),
    (0.10, 0.20, 0.55),
    (0.85, 0.85, 0.86),
    (0.12, 0.12, 0.13),
    (0.50, 0.52, 0.55),
    (0.10, 0.35, 0.20),
)


class Builder:
    """Collects solids for the sensors and obstacles for the people."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.solids: list[Solid] = []
        self.parked: list[tuple[float, float, float]] = []
        self.raised: list[tuple[float, float, float, float, float]] = []
        self._segments: list[FloatArray] = []
        self._lines: list[int] = []
        self._discs: list[tuple[float, float, float]] = []

    def obstacles(self) -> Obstacles:
        segments = np.concatenate([np.zeros((0, 2, 2)), *self._segments])
        return Obstacles(segments, np.array(self._discs, dtype=float).reshape(-1, 3), tuple(self._lines))

    def wall(self, a: Place, b: Place) -> None:
        """Something people cannot walk through, without a solid of its own."""
        self._lines.append(sum(map(len, self._segments)))
        self._segments.append(np.array([[tuple(a), tuple(b)]], dtype=float))

    def footprint(self, at: Place, half: Place, yaw: float = 0.0) -> None:
        """A rectangle that people walk around."""
        half_x, half_y = half
        corners = np.array([[half_x, half_y], [-half_x, half_y], [-half_x, -half_y], [half_x, -half_y]])
        c, s = np.cos(yaw), np.sin(yaw)
        corners = corners @ np.array([[c, s], [-s, c]]) + np.array(at)
        self._segments.append(np.stack([corners, np.roll(corners, -1, axis=0)], axis=1))

    def box(self, at: Place, z0: float, half: Place, height: float, material: str, rgb: RGB, yaw: float = 0.0, solid: bool = False) -> None:
        """A box around `at` standing at height z0; with solid=True people cannot enter it."""
        self.solids.append(Solid("box", (at[0], at[1], z0 + height / 2), (half[0], half[1], height / 2), material, rgb, yaw))
        if solid:
            self.footprint(at, half, yaw)

    def pole(self, at: Place, radius: float, height: float, material: str = "metal", rgb: RGB = (0.35, 0.36, 0.38)) -> None:
        self.solids.append(Solid("cylinder", (at[0], at[1], height / 2), (radius, height / 2, 0.0), material, rgb))
        self._discs.append((at[0], at[1], radius))

    def tree(self, at: Place) -> None:
        trunk, crown = self.rng.uniform(2.4, 3.2), self.rng.uniform(1.2, 2.2)  # nobody bumps his head
        self.pole(at, self.rng.uniform(0.12, 0.24), trunk + 0.5, "bark", (0.35, 0.26, 0.18))
        shade = self.rng.uniform(0.8, 1.15)
        for _ in range(2):
            dx, dy, dz = self.rng.uniform(-0.5, 0.5, 3)
            centre = (at[0] + dx, at[1] + dy, trunk + crown + dz)
            radii = (crown * self.rng.uniform(0.7, 1.0), crown * self.rng.uniform(0.7, 1.0), crown * self.rng.uniform(0.7, 1.0))
            self.solids.append(Solid("ellipsoid", centre, radii, "foliage", (0.20 * shade, 0.42 * shade, 0.15 * shade)))

    def lamp(self, at: Place, toward_y: float) -> None:
        self.pole(at, 0.08, 5.5)
        self.box((at[0], at[1] + 0.6 * np.sign(toward_y - at[1])), 5.4, (0.12, 0.6), 0.12, "metal", (0.35, 0.36, 0.38))

    def sign(self, at: Place, yaw: float) -> None:
        self.pole(at, 0.04, 2.4)
        colour = ((0.1, 0.25, 0.7), (0.8, 0.1, 0.1), (0.95, 0.8, 0.1))[self.rng.integers(3)]
        self.box(at, 1.9, (0.02, 0.3), 0.6, "plate", colour, yaw)

    def hedge(self, at: Place, half: Place) -> None:
        self.box(at, 0.0, half, self.rng.uniform(0.7, 1.5), "foliage", (0.17, 0.36, 0.14), solid=True)

    def pavement(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.box(((x0 + x1) / 2, (y0 + y1) / 2), -0.5, ((x1 - x0) / 2, (y1 - y0) / 2), 0.5 + KERB_M, "paving", (0.60, 0.58, 0.55))
        self.raised.append((x0, y0, x1, y1, KERB_M))

    def building(self, x0: float, x1: float, front_y: float, outward: float, z_height: float, along_x: bool = True) -> None:
        """A house from x0 to x1 whose front faces -outward, with bays and a recessed door. along_x=False swaps the axes."""

        def put(u: float, v: float, z0: float, half_u: float, half_v: float, height: float, material: str, rgb: RGB) -> None:
            if along_x:
                self.box((u, v), z0, (half_u, half_v), height, material, rgb)
            else:
                self.box((v, u), z0, (half_v, half_u), height, material, rgb)

        rgb = FACADES[self.rng.integers(len(FACADES))]
        depth, middle, half = 5.0, (x0 + x1) / 2, (x1 - x0) / 2
        put(middle, front_y + outward * (depth + 0.5), 0.0, half, depth, z_height, "facade", rgb)
        # The skin in front of the body is left open at the doors, so that the front is indented.
        doors = np.sort(self.rng.uniform(x0 + 1.0, x1 - 1.0, max(1, int((x1 - x0) / 8))))
        edge = x0
        for door in [*doors, x1 + 0.7]:
            stop = min(door - 0.7, x1)
            if stop - edge > 0.3:
                put((edge + stop) / 2, front_y + outward * 0.25, 0.0, (stop - edge) / 2, 0.25, z_height - 0.3, "facade", rgb)
            edge = max(edge, door + 0.7)
        if self.rng.random() < 0.5:
            bay = self.rng.uniform(x0 + 1.5, x1 - 1.5)
            put(bay, front_y - outward * 0.35, 2.9, 1.3, 0.35, min(2.8, z_height - 3.2), "facade", tuple(0.9 * c for c in rgb))  # type: ignore[arg-type]
        put(middle, front_y + outward * (depth + 0.5), z_height, half + 0.2, depth + 0.2, 0.4, "plain", (0.33, 0.24, 0.22))

    def parked_car(self, at: Place, yaw: float) -> None:
        self.parked.append((at[0], at[1], yaw))
        self.footprint(at, CAR_HALF_M, yaw)

    def bench(self, at: Place) -> None:
        self.box(at, 0.38, (0.8, 0.22), 0.08, "bark", (0.45, 0.30, 0.18))
        self.box(at, 0.0, (0.7, 0.08), 0.4, "metal", (0.25, 0.25, 0.27))
        self.footprint(at, (0.8, 0.22))

    def bin(self, at: Place) -> None:
        self.pole(at, 0.24, 0.95, "plain", (0.15, 0.35, 0.20))

    def stripes(self, x: float, y0: float, y1: float, half_length: float, across_x: bool = True) -> None:
        """A zebra crossing over a carriageway from y0 to y1 (across_x=False: swapped axes)."""
        for y in np.arange(y0 + 0.5, y1 - 0.2, 1.0):
            centre, half = ((x, y), (half_length, 0.25)) if across_x else ((y, x), (0.25, half_length))
            self.box(centre, -0.09, half, 0.1, "paint", (0.92, 0.92, 0.90))
