"""Places made from a seed: `street`, `crossing`, `corridor` and `hall`. Every measure that can vary does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jepa_ros.sim.furniture import Builder
from jepa_ros.sim.layout import Lane, Layout, WalkGraph, polyline
from jepa_ros.types import FloatArray

REACH_M = 110.0  # streets end here
STREET_GREY = (0.30, 0.30, 0.31)


def make_layout(scenario: str, seed: int) -> Layout:
    """The place of this name and seed. Raises ValueError on an unknown scenario."""
    if scenario not in SCENARIOS:
        raise ValueError(f"scenario {scenario!r} is not known; choose one of {', '.join(SCENARIOS)}")
    rng = np.random.default_rng([seed, list(SCENARIOS).index(scenario)])
    return SCENARIOS[scenario](seed, rng)


class Ways:
    """Collects the nodes and edges of a WalkGraph."""

    def __init__(self) -> None:
        self.nodes: list[tuple[float, float]] = []
        self.extents: list[tuple[float, float]] = []
        self.edges: list[tuple[int, int]] = []
        self.crossings: list[tuple[int, int]] = []
        self.exits: list[int] = []

    def node(self, x: float, y: float, half_x: float, half_y: float, exit_: bool = False) -> int:
        self.nodes.append((x, y))
        self.extents.append((max(half_x, 0.05), max(half_y, 0.05)))
        if exit_:
            self.exits.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def chain(self, nodes: list[int]) -> None:
        self.edges.extend(zip(nodes[:-1], nodes[1:], strict=True))

    def cross(self, a: int, b: int) -> None:
        self.edges.append((a, b))
        self.crossings += [(a, b), (b, a)]

    def nearest(self, x: float, y: float, among: list[int]) -> int:
        return min(among, key=lambda n: (self.nodes[n][0] - x) ** 2 + (self.nodes[n][1] - y) ** 2)

    def graph(self) -> WalkGraph:
        neighbours: list[list[int]] = [[] for _ in self.nodes]
        for a, b in self.edges:
            neighbours[a].append(b)
            neighbours[b].append(a)
        return WalkGraph(
            np.array(self.nodes), np.array(self.extents), tuple(map(tuple, neighbours)), tuple(self.exits), frozenset(self.crossings)
        )


def _row_of_buildings(build: Builder, start: float, stop: float, front: float, outward: float, along_x: bool = True) -> None:
    """Houses side by side with gaps, some set back behind a hedge."""
    at = start
    while at < stop - 5.0:
        width = min(build.rng.uniform(8.0, 20.0), stop - at)
        setback = build.rng.uniform(1.5, 4.0) if build.rng.random() < 0.35 else 0.0
        build.building(at, at + width, front + outward * setback, outward, build.rng.uniform(5.0, 16.0), along_x)
        if setback:
            middle, half = at + width / 2, width / 2 - 1.2
            place = (middle, front + outward * 0.35) if along_x else (front + outward * 0.35, middle)
            build.hedge(*place, *((half, 0.3) if along_x else (0.3, half)))
        at += width + (build.rng.uniform(1.5, 6.0) if build.rng.random() < 0.3 else 0.0)
    wall = [(start, front), (stop, front)]
    build.wall(*wall) if along_x else build.wall(*[(y, x) for x, y in wall])  # type: ignore[arg-type]


def _kerbside(build: Builder, start: float, stop: float, kerb: float, outward: float, keep_clear: FloatArray, along_x: bool = True) -> None:
    """Trees, lamps, signs and bins in a row just behind the kerb, away from the crossings."""
    line = kerb + outward * 0.55
    trees = build.rng.random() < 0.75
    for at in np.arange(start + build.rng.uniform(2, 8), stop - 2, build.rng.uniform(7.0, 12.0)):
        if len(keep_clear) and np.abs(keep_clear - at).min() < 3.5:
            continue
        place = (at, line) if along_x else (line, at)
        kind = build.rng.random()
        if trees and kind < 0.6:
            build.tree(*place)
        elif kind < 0.75:
            build.lamp(*place, toward_y=0.0)
        elif kind < 0.85:
            build.sign(*place, yaw=0.0 if along_x else np.pi / 2)
        elif kind < 0.93:
            build.bin(*place)


def _parked_row(build: Builder, start: float, stop: float, line: float, keep_clear: FloatArray, fill: float, along_x: bool = True) -> None:
    at = start + build.rng.uniform(0, 5)
    while at < stop - 3:
        if build.rng.random() < fill and (not len(keep_clear) or np.abs(keep_clear - at).min() > 6.0):
            yaw = build.rng.choice([0.0, np.pi]) + build.rng.uniform(-0.03, 0.03)
            y = line + build.rng.uniform(-0.1, 0.1)
            build.parked_car(*((at, y) if along_x else (y, at)), yaw if along_x else yaw + np.pi / 2)
        at += build.rng.uniform(5.0, 6.5)


def street(seed: int, rng: np.random.Generator) -> Layout:
    """A two-lane street along x with pavements, parked cars, crossings and houses; right-hand traffic."""
    build, ways = Builder(rng), Ways()
    lane = rng.uniform(2.9, 3.6)
    parking = (2.2 * (rng.random() < 0.75), 2.2 * (rng.random() < 0.75))  # left, right
    kerbs = (lane + parking[0], -(lane + parking[1]))
    widths = rng.uniform(3.0, 5.5, 2)
    zebras = np.sort(rng.uniform(-60.0, 60.0, 3))
    zebras = zebras[np.concatenate([[True], np.diff(zebras) > 15.0])]
    walks: list[list[int]] = []
    for side, kerb, width, park in zip((1.0, -1.0), kerbs, widths, parking, strict=True):
        front = kerb + side * width
        build.pavement(-REACH_M, min(kerb, front + side * 12), REACH_M, max(kerb, front + side * 12))
        _row_of_buildings(build, -REACH_M, REACH_M, front, side)
        _kerbside(build, -REACH_M, REACH_M, kerb, side, zebras)
        if park:
            _parked_row(build, -REACH_M + 5, REACH_M - 5, kerb - side * 1.1, zebras, rng.uniform(0.3, 0.9))
        middle = kerb + side * (0.9 + (width - 0.9) / 2)
        stops = np.sort(np.concatenate([np.linspace(-REACH_M + 2, REACH_M - 2, 15), zebras]))
        walks.append([ways.node(x, middle, 1.0, (width - 0.9) / 2 - 0.4, i in (0, len(stops) - 1)) for i, x in enumerate(stops)])
        ways.chain(walks[-1])
        if rng.random() < 0.6:
            build.bench(rng.uniform(-30, 30), front - side * 0.35)
    for zebra in zebras:
        build.stripes(zebra, -lane, lane, 1.6)
        ways.cross(ways.nearest(zebra, kerbs[0], walks[0]), ways.nearest(zebra, kerbs[1], walks[1]))
    for x in np.arange(-REACH_M, REACH_M, 9.0):
        build.box(x, 0.0, -0.09, 1.5, 0.07, 0.1, "paint", (0.85, 0.85, 0.82))
    ends = np.array([[-REACH_M, 0.0], [REACH_M, 0.0]])
    right, left = polyline(ends + (0, -lane / 2)), polyline(ends[::-1] + (0, lane / 2))
    speed = rng.uniform(4.5, 8.0)
    lanes = (
        Lane(right, rng.uniform(6, 9), "car", int(rng.integers(0, 3))),
        Lane(left, rng.uniform(6, 9), "car", int(rng.integers(1, 4))),
        Lane(polyline(ends + (0, -lane + 0.5)), rng.uniform(3.5, 5.5), "cyclist", int(rng.integers(0, 3))),
        Lane(polyline(ends[::-1] + (0, lane - 0.5)), rng.uniform(3.5, 5.5), "cyclist", int(rng.integers(0, 3))),
    )
    return _finish(
        build, ways, "street", seed, int(rng.integers(18, 40)), 2, Lane(right, speed, "car", 1), rng.uniform(20, 60), "car", lanes
    )


def crossing(seed: int, rng: np.random.Generator) -> Layout:
    """Two streets that meet at the origin, with signals, four corners and a zebra over each arm."""
    build, ways = Builder(rng), Ways()
    half = rng.uniform(3.2, 4.2, 2)  # half carriageway of the street along x, and of the one along y
    widths = rng.uniform(3.2, 5.0, 2)
    arms = {}
    for sx in (1.0, -1.0):
        for sy in (1.0, -1.0):
            front_y, front_x = sy * (half[0] + widths[0]), sx * (half[1] + widths[1])
            x0, x1 = sorted((sx * half[1], sx * REACH_M))
            y0, y1 = sorted((sy * half[0], sy * REACH_M))
            build.pavement(x0, y0, x1, y1)
            _row_of_buildings(build, *sorted((front_x, sx * REACH_M)), front_y, sy)
            _row_of_buildings(build, *sorted((front_y + sy * 11.5, sy * REACH_M)), front_x, sx, along_x=False)
            build.wall((front_x, front_y), (front_x, front_y + sy * 11.5))
            far = np.zeros(0)
            _kerbside(build, *sorted((sx * (half[1] + 7), sx * REACH_M)), sy * half[0], sy, far)
            _kerbside(build, *sorted((sy * (half[0] + 7), sy * REACH_M)), sx * half[1], sx, far, along_x=False)
            walk_y, walk_x = sy * (half[0] + 0.9 + (widths[0] - 0.9) / 2), sx * (half[1] + 0.9 + (widths[1] - 0.9) / 2)
            spread_y, spread_x = (widths[0] - 0.9) / 2 - 0.4, (widths[1] - 0.9) / 2 - 0.4
            corner = ways.node(walk_x, walk_y, spread_x, spread_y)
            for k, (reach, spread) in enumerate([((sx, 0.0), (1.0, spread_y)), ((0.0, sy), (spread_x, 1.0))]):
                chain = [corner]
                for i, at in enumerate(np.linspace(25, REACH_M - 2, 5)):
                    place = (sx * at, walk_y) if k == 0 else (walk_x, sy * at)
                    chain.append(ways.node(*place, *spread, exit_=i == 4))
                ways.chain(chain)
            arms[sx, sy] = corner
            pole = (sx * (half[1] + 0.5), sy * (half[0] + 0.5))
            build.pole(*pole, 0.07, 3.2)
            build.box(*pole, 2.4, 0.15, 0.15, 0.8, "plain", (0.08, 0.08, 0.08))
    for s in (1.0, -1.0):
        ways.cross(arms[s, 1.0], arms[s, -1.0])
        ways.cross(arms[1.0, s], arms[-1.0, s])
        build.stripes(s * (half[1] + widths[1] / 2 + 0.3), -half[0], half[0], 1.3)
        build.stripes(s * (half[0] + widths[0] / 2 + 0.3), -half[1], half[1], 1.3, across_x=False)
    if rng.random() < 0.7:
        _parked_row(build, 16, 90, -half[0] + 1.0, np.zeros(0), 0.0)
    return _crossing_traffic(build, ways, seed, rng, half, widths)


def _crossing_traffic(build: Builder, ways: Ways, seed: int, rng: np.random.Generator, half: FloatArray, widths: FloatArray) -> Layout:
    lane_x, lane_y = half / 2  # lateral offset of the lanes of the streets along x and y
    stop_x, stop_y = half[1] + widths[1] + 1.2, half[0] + widths[0] + 1.2
    for s in (1.0, -1.0):
        build.box(-s * stop_x, -s * lane_x, -0.09, 0.2, lane_x - 0.1, 0.1, "paint", (0.9, 0.9, 0.88))
        build.box(s * lane_y, -s * stop_y, -0.09, lane_y - 0.1, 0.2, 0.1, "paint", (0.9, 0.9, 0.88))
    for s in (1.0, -1.0):
        for d in np.arange(18.0, REACH_M, 9.0):
            build.box(s * d, 0.0, -0.09, 1.5, 0.07, 0.1, "paint", (0.85, 0.85, 0.82))
            build.box(0.0, s * d, -0.09, 0.07, 1.5, 0.1, "paint", (0.85, 0.85, 0.82))

    def way(entry: tuple[float, float], turn: int) -> FloatArray:
        """Drive in along `entry` (unit vector) and go straight (0), right (-1) or left (1)."""
        e = np.array(entry)
        right = np.array([e[1], -e[0]])
        lateral_in, lateral_out = (lane_x, lane_y) if e[1] == 0 else (lane_y, lane_x)
        start = -REACH_M * e + lateral_in * right
        if turn == 0:
            return np.array([start, REACH_M * e + lateral_in * right])
        out = -turn * right
        out_right = np.array([out[1], -out[0]])
        corner = lateral_in * right + lateral_out * out_right
        return np.array([start, corner, corner + REACH_M * out])

    def lane(entry: tuple[float, float], turn: int, kind: str, count: int, speed: float) -> Lane:
        path = polyline(way(entry, turn), 6.0)
        along_x = entry[1] == 0
        return Lane(path, speed, kind, count, REACH_M - (stop_x if along_x else stop_y) - 2.6, 0 if along_x else 1)

    entries = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    lanes = [lane(e, 0, "car", int(rng.integers(0, 3)), rng.uniform(5.5, 8.5)) for e in entries]
    lanes += [lane(e, -1, "cyclist", int(rng.integers(0, 2)), rng.uniform(3.5, 5.0)) for e in entries]
    ego = lane((1.0, 0.0), int(rng.integers(-1, 2)), "car", 1, rng.uniform(4.0, 7.0))
    return _finish(build, ways, "crossing", seed, int(rng.integers(24, 44)), 2, ego, rng.uniform(66, 88), "car", tuple(lanes))


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
        build.wall(tuple(a_), tuple(b_))  # type: ignore[arg-type]
        back = (a_ + b_) / 2 + out * 0.45
        extent = np.abs(way) * length / 2 + np.abs(out) * 0.1
        build.box(*back, 0.0, *extent, height, "plain", (0.45, 0.30, 0.20))
        edge = 0.0
        doors = np.arange(rng.uniform(2, 4), length - 2, rng.uniform(3.5, 6.5))
        for door in [*doors, length + 0.5]:
            stop = min(door - 0.5, length)
            if stop > edge:
                middle, half_run = a_ + way * (edge + stop) / 2 + out * 0.175, (stop - edge) / 2
                build.box(*middle, 0.0, *(np.abs(way) * half_run + np.abs(out) * 0.175), height, "plain", rgb)
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
        build.box(x, side * (half - 0.25), 0.0, rng.uniform(0.3, 0.9), 0.22, rng.uniform(0.8, 1.9), "plain", (0.35, 0.38, 0.42), solid=True)
    spread = half - 0.75
    xs = np.linspace(-1.2, first - half - 1, 6)
    chain = [ways.node(x, 0.0, 0.3, spread, i == 0) for i, x in enumerate(xs)]
    chain.append(ways.node(first, 0.0, spread, spread))
    ys = np.linspace(half + 2, half + second - 1.2, 4)
    chain += [ways.node(first, turn * y, spread, 0.3, i == 3) for i, y in enumerate(ys)]
    ways.chain(chain)
    route = polyline(np.array([[0.0, -0.4 * half], [first, -0.4 * half], [first, turn * (half + second - 2.0)]]), 2.5, 0.25)
    if turn < 0:
        route = polyline(np.array([[0.0, 0.4 * half], [first, 0.4 * half], [first, turn * (half + second - 2.0)]]), 2.5, 0.25)
    build.box(first / 2, turn * second / 2, height + 0.05, first, second + 10, 0.2, "plain", (0.92, 0.92, 0.90))
    ego = Lane(route, rng.uniform(0.6, 1.3), "robot", 1)
    return _finish(build, ways, "corridor", seed, int(rng.integers(6, 15)), 0, ego, rng.uniform(1, 6), "robot", (), indoor=True)


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
            build.box(*centre, 0.0, *extent, height, "facade" if rng.random() < 0.5 else "plain", (0.78, 0.76, 0.72))
            a, b = half.copy(), half.copy()
            a[axis], b[axis] = s * half[axis], s * half[axis]
            b[1 - axis] *= -1
            build.wall(tuple(a), tuple(b))
    route_y = rng.uniform(-0.4, 0.4) * half[1]
    corners = np.array(
        [[-half[0] + 3, route_y], [rng.uniform(-2, 4), route_y], [half[0] * 0.5, rng.uniform(-0.6, 0.6) * half[1]], [half[0] - 3, 0.0]]
    )
    route = polyline(corners, 3.0, 0.25)
    _fill_hall(build, rng, half, route.points_m, height)
    exits = [(s * (half[0] - 0.8), rng.uniform(-0.7, 0.7) * half[1], 0.2, 1.0) for s in (1.0, -1.0) for _ in range(2)]
    exits += [(rng.uniform(-0.7, 0.7) * half[0], s * (half[1] - 0.8), 1.0, 0.2) for s in (1.0, -1.0) for _ in range(2)]
    gates = [ways.node(*e, exit_=True) for e in exits]
    discs = build.obstacles().discs_m
    inner: list[int] = []
    while len(inner) < 8:
        place = rng.uniform(-0.65, 0.65, 2) * half
        if len(discs) == 0 or np.linalg.norm(discs[:, :2] - place, axis=1).min() > 2.0:
            inner.append(ways.node(*place, 1.5, 1.5))
    for gate in gates:
        for place in rng.choice(inner, 3, replace=False):
            ways.edges.append((gate, int(place)))
    for i in range(len(inner)):
        ways.edges.append((inner[i], inner[(i + 1) % len(inner)]))
        ways.edges.append((inner[i], inner[(i + 3) % len(inner)]))
    build.box(0, 0, height, half[0] + 1, half[1] + 1, 0.2, "plain", (0.90, 0.90, 0.88))
    ego = Lane(route, rng.uniform(0.7, 1.5), "robot", 1)
    return _finish(build, ways, "hall", seed, int(rng.integers(16, 40)), 3, ego, rng.uniform(0.5, 4), "robot", (), indoor=True)


def _fill_hall(build: Builder, rng: np.random.Generator, half: FloatArray, route: FloatArray, height: float) -> None:
    """Pillars on a loose grid, counters and benches along the sides, all clear of the ego's way."""
    step = rng.uniform(6.5, 9.0)
    for x in np.arange(-half[0] + step, half[0] - 3, step):
        for y in np.arange(-half[1] + step, half[1] - 3, step):
            if np.linalg.norm(route - (x, y), axis=1).min() > 1.6 and rng.random() < 0.85:
                build.pole(x, y, rng.uniform(0.25, 0.45), height, "plain", (0.66, 0.65, 0.62))
    for _ in range(int(rng.integers(3, 8))):
        x, side = rng.uniform(-0.8, 0.8) * half[0], rng.choice([-1.0, 1.0])
        y = side * (half[1] - rng.uniform(1.6, 3.5))
        if np.linalg.norm(route - (x, y), axis=1).min() < 2.5:
            continue
        if rng.random() < 0.5:
            build.bench(x, y)
        else:
            build.box(x, y, 0.0, rng.uniform(0.6, 1.6), 0.45, 1.1, "plain", (0.30, 0.45, 0.55), solid=True)


def _finish(
    build: Builder,
    ways: Ways,
    scenario: str,
    seed: int,
    n_people: int,
    groups: int,
    ego: Lane,
    start_m: float,
    platform: str,
    lanes: tuple[Lane, ...],
    indoor: bool = False,
) -> Layout:
    parked = np.array(build.parked, dtype=float).reshape(-1, 3)
    raised = np.array(build.raised, dtype=float).reshape(-1, 5)
    return Layout(
        scenario,
        seed,
        tuple(build.solids),
        build.obstacles(),
        ways.graph(),
        n_people,
        groups,
        ego,
        float(start_m),
        platform,
        lanes,
        parked,
        raised,
        indoor,
    )


SCENARIOS: dict[str, Callable[[int, np.random.Generator], Layout]] = {
    "street": street,
    "crossing": crossing,
    "corridor": corridor,
    "hall": hall,
}
