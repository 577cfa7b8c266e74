"""The local ground: slopes, ramps and kerbs are ground, what stands on them stands, and a bed of plants is no hill."""

import numpy as np
import pytest
from scipy import ndimage

from jepa_ros.sensing import occupancy_grid
from jepa_ros.sensing.terrain import Terrain, _median

LIDAR = np.array([0.0, 0.0, 1.8])


def scan(height_at, beams=56, columns=540, bodies=()):
    """(N, 3) what a lidar sees of a ground `height_at(x, y)` and of upright boxes (x0, x1, y0, y1, top above the ground), noisy; and which
    returns are the ground's."""
    azimuth, elevation = (
        a.ravel() for a in np.meshgrid(np.linspace(-np.pi, np.pi, columns, False), np.radians(np.linspace(-25, 3, beams)))
    )
    ray = np.column_stack((np.cos(azimuth), np.sin(azimuth), np.tan(elevation)))
    distance, hits_ground = np.full(len(ray), np.inf), np.zeros(len(ray), bool)
    for step in np.arange(1.0, 28.0, 0.05):
        x, y, z = (LIDAR + step * ray).T
        ground = height_at(x, y)
        below, inside = z < ground, np.zeros(len(ray), bool)
        for x0, x1, y0, y1, top in bodies:
            inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1) & (z < ground + top) & (z > ground)
        new = ~np.isfinite(distance) & (below | inside)
        distance[new], hits_ground[new] = step, below[new] & ~inside[new]
    seen = np.isfinite(distance)
    reach = (distance + np.random.default_rng(5).normal(0, 0.01, len(ray)))[seen, None]
    return (LIDAR + reach * ray[seen]).astype(np.float32), hits_ground[seen]


def flattened(points):
    ground = Terrain.fit(points, 0.0, LIDAR).at(points)
    return np.column_stack((points[:, :2], points[:, 2] - ground))


def ramp(degrees, begins_m=6.0):
    return lambda x, y: np.tan(np.radians(degrees)) * np.clip(x - begins_m, 0, None)


GROUNDS = {
    "level": lambda x, y: 0.0 * x,
    "ramp up, 10 degrees": ramp(10.0),
    "ramp down, 8 degrees": ramp(-8.0),
    "all of it tilted, 6 degrees": lambda x, y: np.tan(np.radians(6.0)) * x,
    "kerbs": lambda x, y: np.where(np.abs(y) > 3.5, 0.14, 0.0),
    "crowned road": lambda x, y: -0.03 * np.abs(y),
    "rolling": lambda x, y: 0.4 * np.sin(x / 4.0) + 0.3 * np.sin(y / 5.0 + 1.0) - 0.3 * np.sin(1.0),
    "bank beside the road": lambda x, y: 0.2 * np.clip(np.abs(y) - 4.0, 0, None),
    "speed bump": lambda x, y: 0.08 * np.exp(-(((x - 8.0) / 0.4) ** 2)),
}


@pytest.mark.parametrize("kind", GROUNDS)
def test_ground_is_free_and_what_stands_on_it_is_not(kind):
    person, car, wall = (11.8, 12.2, -0.2, 0.2, 1.7), (9.0, 13.0, 4.5, 6.3, 1.5), (2.0, 14.0, -9.2, -9.0, 3.0)
    points, is_ground = scan(GROUNDS[kind], bodies=(person, car, wall))
    flat = flattened(points)
    ground_cells, called = occupancy_grid(flat[is_ground] * (1, 1, 0), -1.0), occupancy_grid(flat[is_ground], 0.0)
    assert called.sum() <= 0.01 * ground_cells.sum()
    occupied = occupancy_grid(flat, 0.0)
    for x0, x1, y0, y1, _ in (person, car, wall):
        columns = slice(int((x0 + 25.6) / 0.4), int((x1 + 25.6) / 0.4) + 1)
        rows = slice(int((y0 + 25.6) / 0.4), int((y1 + 25.6) / 0.4) + 1)
        assert occupied[rows, columns].any(), (x0, y0)


def test_the_level_rule_sees_obstacles_where_the_ground_rises():
    """What this module is for: without it a ramp is a wall."""
    points, is_ground = scan(GROUNDS["ramp up, 10 degrees"])
    assert occupancy_grid(points[is_ground], 0.0).sum() > 100


def test_a_bed_of_plants_stands():
    """Half a metre of leaves on a traffic island, six metres by eight: as rough as leaves are, and a step above the street."""
    street, _ = scan(GROUNDS["level"])
    bed = (np.abs(street[:, 0] - 9.0) < 4.0) & (np.abs(street[:, 1] - 6.0) < 3.0)
    ray = street[bed] - LIDAR
    up = np.random.default_rng(6).uniform(0.35, 0.75, bed.sum())  # each beam ends where a leaf is
    leaves = LIDAR + ray * ((LIDAR[2] - up) / LIDAR[2])[:, None]
    flat = flattened(np.vstack((street[~bed], leaves)).astype(np.float32))
    stands, found = occupancy_grid(leaves, 0.0), occupancy_grid(flat, 0.0)
    assert (stands & found).sum() > 0.85 * stands.sum()


def test_returns_below_the_ground_are_no_hole():
    """Mirror images in a puddle or a window."""
    points, _ = scan(GROUNDS["level"])
    mirrored = np.random.default_rng(7).uniform((6, -1, -1.5), (8, 1, -0.4), (20, 3))
    flat = flattened(np.vstack((points, mirrored)).astype(np.float32))
    assert not occupancy_grid(flat[: len(points)], 0.0).any()


def test_without_ground_in_view_it_is_level():
    x = np.linspace(-10, 10, 400)
    wall = np.column_stack((x, np.full_like(x, 4.0), np.full_like(x, 1.0)))
    assert Terrain.fit(wall, 0.2, LIDAR).at(wall) == pytest.approx(np.full(len(x), 0.2))
    assert Terrain.fit(np.zeros((0, 3)), -0.4).at(np.zeros((1, 2)))[0] == pytest.approx(-0.4)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (31, 17)])
def test_the_median_of_squares_is_scipys(shape: tuple[int, int]) -> None:
    heights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = _median(heights)
    assert found.dtype == heights.dtype
    np.testing.assert_array_equal(found, ndimage.median_filter(heights, size=3))
