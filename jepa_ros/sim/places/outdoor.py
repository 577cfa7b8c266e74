"""Places under the sky: a street and a crossing, right-hand traffic. The ego is a car."""

from __future__ import annotations

import numpy as np

from jepa_ros.sim.people.signals import CYCLE_S
from jepa_ros.sim.places.furniture import Builder
from jepa_ros.sim.places.layout import Lane, Layout, polyline
from jepa_ros.sim.places.ways import Ways, finish
from jepa_ros.types import FloatArray

REACH_M = 110.0  # streets end here
WALK_REACH_M = 60.0  # at a crossing people come from this far
PARKING_M = 2.2  # width of a parking lane
FURNITURE_M = 0.9  # strip behind the kerb for trees and lamps
PAINT = (0.88, 0.88, 0.86)


def street(seed: int, rng: np.random.Generator) -> Layout:
    """A two-lane street along x with pavements, parked cars, zebra crossings and houses."""
    build, ways = Builder(rng), Ways()
    lane = rng.uniform(2.9, 3.6)
    parking = PARKING_M * (rng.random(2) < 0.75)  # left, right
    kerbs = np.array([1.0, -1.0]) * (lane + parking)
    zebras = np.sort(rng.uniform(-60.0, 60.0, 3))
    zebras = zebras[np.concatenate([[True], np.diff(zebras) > 15.0])]
    walks = []
    for side, kerb, park in zip((1.0, -1.0), kerbs, parking, strict=True):
        width = rng.uniform(3.0, 5.5)
        _street_side(build, rng, side, kerb, width, zebras)
        if park:
            _parked_row(build, (-REACH_M + 5, REACH_M - 5), kerb - side * PARKING_M / 2, zebras, rng.uniform(0.3, 0.9))
        middle, half = kerb + side * (FURNITURE_M + width) / 2, (width - FURNITURE_M) / 2 - 0.4
        stops = np.sort(np.concatenate([np.linspace(-REACH_M + 2, REACH_M - 2, 15), zebras]))
        walks.append([ways.node((x, middle), (1.0, half), i in (0, len(stops) - 1)) for i, x in enumerate(stops)])
        ways.chain(walks[-1])
    for zebra in zebras:
        build.stripes(zebra, -lane, lane, 1.6)
        ways.cross(ways.nearest(zebra, kerbs[0], walks[0]), ways.nearest(zebra, kerbs[1], walks[1]))
    for x in np.arange(-REACH_M, REACH_M, 9.0):
        build.box((x, 0.0), -0.09, (1.5, 0.07), 0.1, "paint", PAINT)
    ends = np.array([[-REACH_M, 0.0], [REACH_M, 0.0]])

    def way(offset: float, back: bool = False) -> np.ndarray:
        return (ends[::-1] if back else ends) + np.array([0.0, offset])

    right = polyline(way(-lane / 2))
    lanes = (
        Lane(right, rng.uniform(6, 9), "car", int(rng.integers(0, 3))),
        Lane(polyline(way(lane / 2, back=True)), rng.uniform(6, 9), "car", int(rng.integers(1, 4))),
        Lane(polyline(way(-lane + 0.5)), rng.uniform(3.5, 5.5), "cyclist", int(rng.integers(0, 3))),
        Lane(polyline(way(lane - 0.5, back=True)), rng.uniform(3.5, 5.5), "cyclist", int(rng.integers(0, 3))),
    )
    ego = Lane(right, rng.uniform(4.0, 8.0), "car", 1)
    return finish(build, ways, "street", seed, (int(rng.integers(24, 48)), 3), ego, rng.uniform(20, 60), "car", lanes)


def crossing(seed: int, rng: np.random.Generator) -> Layout:
    """Two streets that meet at the origin, with signals, a zebra over each arm and parked cars along x."""
    build, ways = Builder(rng), Ways()
    lanes = rng.uniform(3.0, 3.8, 2)  # lane width of the street along x, and of the one along y
    kerbs = lanes + np.array([PARKING_M * (rng.random() < 0.8), 0.0])
    widths = rng.uniform(3.2, 5.0, 2)  # of the pavements
    corners = {(sx, sy): _corner(build, ways, rng, sx, sy, kerbs, widths) for sx in (1.0, -1.0) for sy in (1.0, -1.0)}
    for s in (1.0, -1.0):
        ways.cross(corners[s, 1.0], corners[s, -1.0], signal_group=0)
        ways.cross(corners[1.0, s], corners[-1.0, s], signal_group=1)
        build.stripes(s * (kerbs[1] + (widths[1] + FURNITURE_M) / 2), -kerbs[0], kerbs[0], 1.3)
        build.stripes(s * (kerbs[0] + (widths[0] + FURNITURE_M) / 2), -kerbs[1], kerbs[1], 1.3, across_x=False)
        if kerbs[0] > lanes[0]:
            for side in (1.0, -1.0):
                run = np.sort([s * (kerbs[1] + widths[1] + 7), s * (REACH_M - 5)])
                _parked_row(build, run, side * (kerbs[0] - PARKING_M / 2), np.zeros(0), rng.uniform(0.2, 0.8))
    stops = kerbs[::-1] + widths[::-1] + 1.4  # distance of the stop lines from the middle, along x and y
    for s in (1.0, -1.0):
        build.box((-s * stops[0], -s * lanes[0] / 2), -0.09, (0.2, lanes[0] / 2 - 0.1), 0.1, "paint", PAINT)
        build.box((s * lanes[1] / 2, -s * stops[1]), -0.09, (lanes[1] / 2 - 0.1, 0.2), 0.1, "paint", PAINT)
        for d in np.arange(stops.max() + 3.0, REACH_M, 9.0):
            build.box((s * d, 0.0), -0.09, (1.5, 0.07), 0.1, "paint", PAINT)
            build.box((0.0, s * d), -0.09, (0.07, 1.5), 0.1, "paint", PAINT)
    entries = [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]
    traffic = [_way(e, 0, lanes, stops, "car", int(rng.integers(0, 3)), rng.uniform(5.5, 8.5)) for e in entries]
    traffic += [_way(e, -1, lanes, stops, "cyclist", int(rng.integers(0, 2)), rng.uniform(3.5, 5.0)) for e in entries]
    ego = _way((1.0, 0.0), int(rng.integers(-1, 2)), lanes, stops, "car", 1, rng.uniform(2.5, 6.0))
    return finish(
        build,
        ways,
        "crossing",
        seed,
        (int(rng.integers(28, 44)), 2),
        ego,
        rng.uniform(66, 88),
        "car",
        tuple(traffic),
        start_time_s=rng.uniform(0.0, CYCLE_S),
        turnings=tuple(
            _way(entry, turn, lanes, stops, kind, 0, straight.speed_mps)
            for (entry, kind), straight in zip([(e, k) for k in ("car", "cyclist") for e in entries], traffic, strict=True)
            for turn in ((-1, 1) if kind == "car" else (0, 1))
        ),
    )


def _corner(build: Builder, ways: Ways, rng: np.random.Generator, sx: float, sy: float, kerbs: FloatArray, widths: FloatArray) -> int:
    """One of the four corners with its two pavements and rows of houses; returns the walk node at the corner."""
    front_y, front_x = sy * (kerbs[0] + widths[0]), sx * (kerbs[1] + widths[1])
    x0, x1 = np.sort([sx * kerbs[1], sx * REACH_M])
    y0, y1 = np.sort([sy * kerbs[0], sy * REACH_M])
    build.pavement(x0, y0, x1, y1)
    row_of_buildings(build, np.sort([front_x, sx * REACH_M]), front_y, sy)
    row_of_buildings(build, np.sort([front_y + sy * 11.5, sy * REACH_M]), front_x, sx, along_x=False)
    build.wall((front_x, front_y), (front_x, front_y + sy * 11.5))
    _kerbside(build, np.sort([sx * (kerbs[1] + 7), sx * REACH_M]), sy * kerbs[0], sy, np.zeros(0))
    _kerbside(build, np.sort([sy * (kerbs[0] + 7), sy * REACH_M]), sx * kerbs[1], sx, np.zeros(0), along_x=False)
    signal = (sx * (kerbs[1] + 0.5), sy * (kerbs[0] + 0.5))
    build.pole(signal, 0.07, 3.2)
    build.box(signal, 2.4, (0.15, 0.15), 0.8, "plain", (0.08, 0.08, 0.08))
    at_y, at_x = sy * (kerbs[0] + (FURNITURE_M + widths[0]) / 2), sx * (kerbs[1] + (FURNITURE_M + widths[1]) / 2)
    half_y, half_x = (widths - FURNITURE_M) / 2 - 0.4
    corner = ways.node((at_x, at_y), (half_x, half_y))
    distances = np.linspace(24, WALK_REACH_M, 3)
    last = len(distances) - 1
    ways.chain([corner, *(ways.node((sx * d, at_y), (1.0, half_y), i == last) for i, d in enumerate(distances))])
    ways.chain([corner, *(ways.node((at_x, sy * d), (half_x, 1.0), i == last) for i, d in enumerate(distances))])
    return corner


def _way(entry: tuple[float, float], turn: int, lanes: FloatArray, stops: FloatArray, kind: str, count: int, speed_mps: float) -> Lane:
    """A lane over the crossing: in along `entry` (unit vector), then straight on (0), right (-1) or left (1)."""
    along_x = entry[1] == 0
    inward = np.array(entry)
    right = np.array([inward[1], -inward[0]])
    near, far = lanes / 2 if along_x else lanes[::-1] / 2  # offsets of the lane left and of the lane entered
    if kind == "cyclist":
        near, far = 2 * near - 0.5, 2 * far - 0.5
    start = -REACH_M * inward + near * right
    if turn == 0:
        corners = np.array([start, REACH_M * inward + near * right])
    else:
        outward = -turn * right
        corner = near * right + far * np.array([outward[1], -outward[0]])
        corners = np.array([start, corner, corner + REACH_M * outward])
    stop = REACH_M - stops[0 if along_x else 1] - 2.6
    return Lane(polyline(corners, 6.0), speed_mps, kind, count, float(stop), 0 if along_x else 1)


def _street_side(build: Builder, rng: np.random.Generator, side: float, kerb: float, width: float, zebras: FloatArray) -> None:
    front = kerb + side * width
    y0, y1 = np.sort([kerb, front + side * 12])
    build.pavement(-REACH_M, y0, REACH_M, y1)
    ends = np.array([-REACH_M, REACH_M])
    row_of_buildings(build, ends, front, side)
    _kerbside(build, ends, kerb, side, zebras)
    if rng.random() < 0.6:
        build.bench((rng.uniform(-30, 30), front - side * 0.35))


def row_of_buildings(build: Builder, ends: FloatArray, front: float, outward: float, along_x: bool = True) -> None:
    """Houses side by side with gaps, some set back behind a hedge."""
    at, stop = ends
    while at < stop - 5.0:
        width = min(build.rng.uniform(8.0, 20.0), stop - at)
        setback = build.rng.uniform(1.5, 4.0) if build.rng.random() < 0.35 else 0.0
        build.building(at, at + width, front + outward * setback, outward, build.rng.uniform(5.0, 16.0), along_x)
        if setback:
            place, half = (at + width / 2, front + outward * 0.35), (width / 2 - 1.2, 0.3)
            build.hedge(*((place, half) if along_x else (place[::-1], half[::-1])))
        at += width + (build.rng.uniform(1.5, 6.0) if build.rng.random() < 0.3 else 0.0)
    a, b = (ends[0], front), (ends[1], front)
    build.wall(*((a, b) if along_x else (a[::-1], b[::-1])))


def _kerbside(build: Builder, ends: FloatArray, kerb: float, outward: float, keep_clear: FloatArray, along_x: bool = True) -> None:
    """Trees, lamps, signs and bins in a row just behind the kerb, away from the crossings."""
    line = kerb + outward * 0.55
    trees = build.rng.random() < 0.75
    for at in np.arange(ends[0] + build.rng.uniform(2, 8), ends[1] - 2, build.rng.uniform(7.0, 12.0)):
        if len(keep_clear) and np.abs(keep_clear - at).min() < 3.5:
            continue
        place = (at, line) if along_x else (line, at)
        kind = build.rng.random()
        if trees and kind < 0.6:
            build.tree(place)
        elif kind < 0.75:
            build.lamp(place, toward_y=0.0)
        elif kind < 0.85:
            build.sign(place, yaw=0.0 if along_x else np.pi / 2)
        elif kind < 0.93:
            build.bin(place)


def _parked_row(build: Builder, ends: FloatArray | tuple[float, float], line: float, keep_clear: FloatArray, fill: float) -> None:
    """Cars parked along x."""
    at = ends[0] + build.rng.uniform(0, 5)
    while at < ends[1] - 3:
        if build.rng.random() < fill and (not len(keep_clear) or np.abs(keep_clear - at).min() > 6.0):
            yaw = build.rng.choice([0.0, np.pi]) + build.rng.uniform(-0.03, 0.03)
            build.parked_car((at, line + build.rng.uniform(-0.1, 0.1)), float(yaw))
        at += build.rng.uniform(5.0, 6.5)
