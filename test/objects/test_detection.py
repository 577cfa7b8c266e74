"""People are told from walls, poles, cars and slopes, on clouds made here."""

import time

import numpy as np
import pytest
from scipy import ndimage

from jepa_ros.objects.blobs import highest
from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import Detections

GENERATOR = np.random.default_rng(5)


def cylinder(x: float, y: float, radius: float, top: float, count: int, bottom: float = 0.05) -> np.ndarray:
    """The side of an upright cylinder that a lidar at the origin sees."""
    facing = np.arctan2(-y, -x)
    angle = facing + GENERATOR.uniform(-1.4, 1.4, count)
    height = GENERATOR.uniform(bottom, top, count)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle), height], axis=1)


def person(x: float, y: float, height: float = 1.72) -> np.ndarray:
    """Legs, trunk with shoulders, head."""
    count = max(int(15000 / (x * x + y * y)), 40)
    legs = [cylinder(x, y + side, 0.08, 0.85, count // 5) for side in (-0.12, 0.12)]
    return np.concatenate(
        [*legs, cylinder(x, y, 0.24, height - 0.25, count // 2, 0.8), cylinder(x, y, 0.1, height, count // 6, height - 0.25)]
    )


def within_view(cloud: np.ndarray, lidar_height_m: float, highest_rad: float, lowest_rad: float = -1.5) -> np.ndarray:
    """What a lidar above the origin sees whose highest and lowest beams rise at these angles."""
    slope = (cloud[:, 2] - lidar_height_m) / np.hypot(cloud[:, 0], cloud[:, 1])
    return cloud[(slope < np.tan(highest_rad)) & (slope > np.tan(lowest_rad))]


def wall(x: float, y0: float, y1: float) -> np.ndarray:
    count = int((y1 - y0) * 300)
    return np.stack([np.full(count, x), GENERATOR.uniform(y0, y1, count), GENERATOR.uniform(0, 3, count)], axis=1)


def car(x: float, y: float) -> np.ndarray:
    side = np.stack([GENERATOR.uniform(x, x + 4.3, 500), np.full(500, y), GENERATOR.uniform(0.2, 1.45, 500)], axis=1)
    back = np.stack([np.full(300, x), GENERATOR.uniform(y, y + 1.8, 300), GENERATOR.uniform(0.2, 1.45, 300)], axis=1)
    return np.concatenate([side, back])


def ground(slope: float = 0.0) -> np.ndarray:
    xy = GENERATOR.uniform(-28, 28, (20000, 2))
    return np.column_stack([xy, slope * xy[:, 0] + GENERATOR.normal(0, 0.015, len(xy))])


def scores_near(cloud: np.ndarray, x: float, y: float, ground_height_m: float = 0.0, within: float = 0.3) -> np.ndarray:
    seen = PersonDetector().detect(cloud.astype(np.float32), ground_height_m)
    return seen.scores[np.hypot(seen.positions_m[:, 0] - x, seen.positions_m[:, 1] - y) < within]


@pytest.mark.parametrize(("x", "y"), [(3.0, 0.5), (8.0, -4.0), (-10.0, 9.0), (22.0, 3.0)])
def test_a_person_is_found_once_where_they_stand(x: float, y: float) -> None:
    cloud = np.concatenate([ground(), person(x, y)])
    seen = PersonDetector().detect(cloud.astype(np.float32))
    assert len(seen.scores) == 1
    assert np.hypot(*(seen.positions_m[0] - (x, y))) < 0.15
    assert seen.scores[0] > 0.7
    assert 1.55 < seen.heights_m[0] < 1.9
    assert 0.2 < seen.radii_m[0] < 0.5


def test_a_street_may_slope_and_the_frame_may_sit_high() -> None:
    lift = np.array([0.0, 0.0, 1.0])
    cloud = np.concatenate([ground(0.08), person(12.0, 2.0) + 0.96 * lift]) - 1.7 * lift
    assert (scores_near(cloud, 12.0, 2.0, ground_height_m=-1.7) > 0.7).sum() == 1


def test_walls_poles_bollards_and_cars_are_no_people() -> None:
    things = [
        wall(9.0, -8, 8),
        cylinder(5, 4, 0.09, 3.5, 300),
        cylinder(4, -3, 0.06, 1.0, 120),
        car(-12, 3),
        cylinder(6, -5, 0.2, 4.0, 500),
    ]
    seen = PersonDetector().detect(np.concatenate([ground(), *things]).astype(np.float32))
    assert not (seen.scores > 0.5).any()


def test_a_person_beside_a_wall_and_two_side_by_side_are_each_found() -> None:
    cloud = np.concatenate([ground(), wall(9.0, -8, 8), person(7.6, 0.0), person(6.0, 5.0), person(6.0, 5.65)])
    for x, y in ((7.6, 0.0), (6.0, 5.0), (6.0, 5.65)):
        assert scores_near(cloud, x, y, within=0.25).max(initial=0.0) > 0.5


def test_so_near_a_person_and_the_wall_behind_are_two_and_so_is_a_pair() -> None:
    cloud = np.concatenate([ground(), wall(2.0, -3, 3), person(1.5, 0.6), person(-1.2, 0.36), person(-1.2, -0.36)])
    for x, y in ((1.5, 0.6), (-1.2, 0.36), (-1.2, -0.36)):
        assert scores_near(cloud, x, y, within=0.15).max(initial=0.0) > 0.5


@pytest.mark.parametrize("x", [3.8, 4.0, 4.2, 4.8, 5.2])
def test_whoever_crosses_the_edge_of_the_finer_cells_is_found_once(x: float) -> None:
    seen = PersonDetector().detect(np.concatenate([ground(), person(x, 0.3)]).astype(np.float32))
    assert len(seen.scores) == 1
    assert seen.scores[0] > 0.7


def test_a_short_range_is_no_fault() -> None:
    seen = PersonDetector(DetectionConfig(max_range_m=3.0)).detect(np.concatenate([ground(), person(2.0, 0.3)]).astype(np.float32))
    assert len(seen.scores) == 1


@pytest.mark.parametrize("away_m", [0.8, 1.2, 2.0])
def test_a_person_whose_head_is_above_the_highest_beam_is_nobody_short(away_m: float) -> None:
    cloud = within_view(np.concatenate([ground(), person(away_m, 0.0)]), 0.8, 0.21).astype(np.float32)
    lidar_m = np.array([0.0, 0.0, 0.8])
    known = PersonDetector().detect(cloud, lidar_m=lidar_m)
    assert len(known.scores) == 1
    assert known.scores[0] > 0.45  # half of a body is half of the evidence, so near as 0.8 m
    assert np.hypot(*(known.positions_m[0] - (away_m, 0.0))) < 0.15
    assert known.scores[0] > scores_near(cloud, away_m, 0.0).max(initial=0.0)


def test_of_several_lidars_those_that_look_there_tell_where_a_body_ends() -> None:
    """Behind the robot only a low lidar looks, whose highest beam ends at the chest; the leading one is high, and looks ahead only."""
    behind = within_view(np.concatenate([ground(), person(0.8, 0.0)]), 0.8, 0.21)
    behind = behind[behind[:, 0] > 0.3] * (-1, -1, 1) - (0.5, 0.0, 0.0)
    floor = ground()
    ahead = np.concatenate([floor[floor[:, 0] > 2.0], wall(9.0, -4, 4) + np.array([0, 0, 3.0])])
    cloud = np.concatenate([ahead, behind]).astype(np.float32)
    leading, low = np.array([0.5, 0.0, 1.7]), np.array([-0.5, 0.0, 0.8])
    parts = [(slice(0, len(ahead)), leading), (slice(len(ahead), len(cloud)), low)]
    by_leading, by_both = PersonDetector().detect(cloud, lidar_m=leading), PersonDetector().detect(cloud, lidar_m=leading, parts=parts)

    def score(seen: Detections) -> float:
        return seen.scores[np.hypot(*(seen.positions_m - (-1.3, 0.0)).T) < 0.2].max(initial=0.0)

    assert score(by_both) > max(0.4, 1.5 * score(by_leading))
    beside = np.array([[-1.3, 0.0], [-1.3, 1.5]])
    assert by_both.sight is not None
    assert by_both.sight.free(beside).tolist() == [-1.0, 1.0]  # seen by the low one alone


def test_a_crowd_around_a_lidar_that_sees_the_ground_only_beyond_it_is_found() -> None:
    """Of somebody a metre away the lowest beam meets the chest; that is neither something that floats nor, all around, the ground."""
    rings = [(radius_m, np.arange(count) * 2 * np.pi / count) for radius_m, count in ((1.2, 6), (2.0, 10), (2.8, 14))]
    places = np.concatenate([radius_m * np.stack([np.cos(angles), np.sin(angles)], axis=1) for radius_m, angles in rings])
    cloud = np.concatenate([ground(), *(person(x, y) for x, y in places)])
    cloud = within_view(cloud, 1.7, 0.2, -0.44).astype(np.float32)
    seen = PersonDetector().detect(cloud, lidar_m=np.array([0.0, 0.0, 1.7]))
    away_m = np.linalg.norm(seen.positions_m[:, None] - places, axis=2)
    assert len(seen.scores) == len(places)
    assert away_m.min(axis=0).max() < 0.15
    assert np.median(seen.scores) > 0.7
    assert seen.scores.min() > 0.3
    assert (np.abs(seen.ground_m) < 0.05).all()


def test_where_the_lidar_is_changes_nothing_below_the_end_of_its_view() -> None:
    post = np.concatenate([ground(), cylinder(6.0, 0.0, 0.2, 1.05, 600), wall(9.0, -2.0, 2.0)])
    seen = within_view(post, 0.8, 0.21).astype(np.float32)
    evidence = [PersonDetector().columns(seen, lidar_m=lidar_m)[1] for lidar_m in (None, np.array([0.0, 0.0, 0.8]))]
    assert len(evidence[0])
    np.testing.assert_allclose(evidence[0], evidence[1])


def test_whoever_stands_in_a_long_row_is_found() -> None:
    """The row is one blob, longer than any group that is parted at its valleys."""
    row = [(13.0, y) for y in (-1.5, -0.75, 0.0, 0.75, 1.5)]
    cloud = np.concatenate([ground(), *(person(x, y) for x, y in row)])
    columns, _ = PersonDetector().columns(cloud.astype(np.float32))
    for place in row:
        assert np.hypot(*(columns.centres_m - place).T).min() < 0.35


def test_nothing_in_nothing_out() -> None:
    seen = PersonDetector().detect(np.zeros((0, 3), np.float32))
    assert seen.positions_m.shape == (0, 2)
    assert seen.scores.shape == seen.radii_m.shape == seen.heights_m.shape == (0,)


def test_wrong_shapes_and_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"\(N, 3\), got \(4, 2\)"):
        PersonDetector().detect(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"cell_m = 5"):
        DetectionConfig(cell_m=5.0)


def test_sixty_thousand_points_take_a_small_part_of_a_sweep() -> None:
    people = [person(GENERATOR.uniform(3, 20), GENERATOR.uniform(-15, 15)) for _ in range(20)]
    street = [wall(24.0, -25, 25), wall(-24.0, -25, 0), *(car(x, 6.0) for x in (-20, -12, 10, 16))]
    cloud = np.concatenate([ground(), ground(), *street, *people]).astype(np.float32)
    assert len(cloud) > 60_000
    detector = PersonDetector()
    ground_m = Terrain.fit(cloud, 0.0).at(cloud)  # as the hub has it already
    spent = []
    for _ in range(5):
        start = time.process_time()
        detector.detect(cloud, local_ground_m=ground_m)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # some ten milliseconds on an idle core


@pytest.mark.parametrize("side", [1, 3, 5, 7])
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_the_highest_around_is_scipys(side: int, kind: type) -> None:
    values = (50 * np.random.default_rng(side).random((23, 31))).astype(kind)
    found = highest(values, side)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, ndimage.maximum_filter(values, size=side))
