"""Blobs are parted, and neighbours counted, all at once as they would be one by one."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from jepa_ros.objects.blobs import LARGEST_GROUP_M, MOST_IN_GROUP, SMALLEST_GROUP_M, SUMMIT_M, VALLEY, parted, smoothed
from jepa_ros.objects.columns import ATTACHED_M, _attached
from jepa_ros.objects.shape import BANDS_M, Surroundings
from jepa_ros.objects.sightlines import SightLines

CELL_M, SMOOTH_M = 0.2, 0.12


def peaks_of(summits: NDArray[np.intp], density: NDArray[np.float32]) -> list[NDArray[np.intp]]:
    """Of one blob, the highest first: those that a valley parts from all higher ones."""
    kept: list[NDArray[np.intp]] = []
    for peak in sorted(summits, key=lambda place: -density[tuple(place)])[:MOST_IN_GROUP]:
        lines = [np.rint(np.linspace(0, 1, 9)[:, None] * (other - peak) + peak).astype(int) for other in kept]
        if all(density[line[:, 0], line[:, 1]].min() < VALLEY * density[tuple(peak)] for line in lines):
            kept.append(peak)
    return kept


@pytest.mark.parametrize("seed", range(4))
def test_groups_are_parted_as_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = np.zeros((90, 90), np.intp)
    for row, column in rng.integers(6, 84, (70, 2)):  # people of about three cells, some of whom touch
        hits[row - 1 : row + 2, column - 1 : column + 2] += rng.integers(0, 5, (3, 3))
        hits[row, column] += 15
    cells, count = ndimage.label(hits > 0, np.ones((3, 3)))
    found, total, blobs_m = parted(cells.copy(), count, hits, CELL_M, SMOOTH_M)
    density = ndimage.gaussian_filter(hits.astype(np.float32), SMOOTH_M / CELL_M)
    summit = (density == ndimage.maximum_filter(density, size=2 * round(SUMMIT_M / CELL_M) + 1)) & (cells > 0)
    several = 0
    for label, box in enumerate(ndimage.find_objects(cells), start=1):
        longer_m = CELL_M * max(along.stop - along.start for along in box)
        assert blobs_m[label, 0] == pytest.approx(longer_m)
        own = cells[box] == label
        peaks = peaks_of(np.argwhere(own & summit[box]), density[box])
        if longer_m > LARGEST_GROUP_M + 1e-6:
            continue
        expected = len(peaks) if longer_m >= SMALLEST_GROUP_M - 1e-6 else 1
        several += expected > 1
        assert len(np.unique(found[box][own])) == expected
        for place in np.argwhere(own) if expected > 1 else ():
            nearest = int(np.argmin([((place - peak) ** 2).sum() for peak in peaks]))
            assert found[box][tuple(place)] == found[box][tuple(peaks[nearest])]
    assert several > 2  # the scene asks the question
    assert total == found.max()
    assert len(blobs_m) == total + 1


def test_nothing_is_parted_of_nothing() -> None:
    cells, count, blobs_m = parted(np.zeros((8, 8), np.int32), 0, np.zeros((8, 8), np.intp), CELL_M, SMOOTH_M)
    assert not cells.any()
    assert count == 0
    assert len(blobs_m) == 1


@pytest.mark.parametrize("spread_m", [3.0, 200.0])
def test_returns_beside_columns_are_those_within_the_distance(spread_m: float) -> None:
    rng = np.random.default_rng(0)
    others = rng.uniform(-spread_m, spread_m, (4000, 3)).astype(np.float32)
    centres_m = np.concatenate((rng.uniform(-1.2 * spread_m, 1.2 * spread_m, (30, 2)), others[:5, :2].astype(float) + 0.3))
    counts = np.ones(len(centres_m), np.intp)
    away_m = np.hypot(*(others[None, :, :2].astype(float) - centres_m[:, None]).transpose(2, 0, 1))
    np.testing.assert_array_equal(_attached(others, centres_m, counts), (away_m < ATTACHED_M).sum(axis=1))
    assert _attached(others[:0], centres_m, counts).tolist() == [0.0] * len(counts)


def test_surroundings_count_returns_by_height() -> None:
    rng = np.random.default_rng(1)
    points = np.column_stack((rng.uniform(-4, 4, (3000, 2)), np.zeros(3000))).astype(np.float32)
    height = rng.uniform(BANDS_M[0], BANDS_M[-1], 3000).astype(np.float32)
    around = Surroundings.of(points, height, 5.0, SightLines.of(points, height, points, np.zeros(2)))
    found = around.between(np.array([[-1.0, -2.0]]), np.array([[3.0, 1.0]]))[0]
    inside = (points[:, 0] >= -1) & (points[:, 0] < 3) & (points[:, 1] >= -2) & (points[:, 1] < 1)
    np.testing.assert_array_equal(found, np.histogram(height[inside], BANDS_M)[0])


@pytest.mark.parametrize("sigma", [0.6, 0.9])
def test_returns_are_spread_as_a_gaussian_filter_spreads_them(sigma: float) -> None:
    rng = np.random.default_rng(2)
    hits = np.where(rng.random((40, 50)) < 0.1, rng.integers(1, 60, (40, 50)), 0)
    np.testing.assert_allclose(smoothed(hits, sigma), ndimage.gaussian_filter(hits.astype(float), sigma, mode="constant"), atol=1e-4)
    mirrored = smoothed(hits[:, ::-1], sigma)
    np.testing.assert_array_equal(mirrored[:, ::-1], smoothed(hits, sigma))  # equal peaks stay equal, to the last bit
