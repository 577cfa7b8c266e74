"""Which way a vehicle lies of which a corner is seen: beams that met nothing tell, and where there is none its length."""

import numpy as np
import pytest

from jepa_ros.objects.vehicles.boxes import within
from jepa_ros.objects.vehicles.laying import Beams, laid, turned
from jepa_ros.objects.vehicles.proposals import grown

CORNER = np.array([[15.9, 2.85, 0.15, 1.95, 1.8]])  # two metres of either side of a car, 16 m away


def sweep(standing: np.ndarray, lidar_m: np.ndarray, ground_m: float = 0.0) -> Beams:
    """Beams that end on level ground 27 m away, but for those that what stands keeps from it."""
    bearing = np.linspace(-np.pi, np.pi, 4000)
    ends = lidar_m[:2] + 27.0 * np.column_stack((np.cos(bearing), np.sin(bearing)))
    on_the_way = lidar_m[:2] + np.linspace(0.02, 1.0, 200)[:, None, None] * (ends - lidar_m[:2])
    hidden = within(standing, on_the_way.reshape(-1, 2)).any(axis=0).reshape(200, -1).any(axis=0)
    return np.column_stack((ends, np.full(len(ends), ground_m)))[~hidden].astype(np.float32), lidar_m


@pytest.mark.parametrize("ground_m", [0.0, 2.5])
@pytest.mark.parametrize("lies", [CORNER, turned(CORNER)])
def test_a_car_does_not_lie_where_beams_went_through(lies: np.ndarray, ground_m: float) -> None:
    lidar_m, car = np.array([0.0, 0.0, ground_m + 1.8]), grown(lies, np.zeros(2))
    found = laid(CORNER, np.full(1, ground_m), lidar_m[:2], [sweep(car, lidar_m, ground_m)])
    np.testing.assert_array_equal(found, lies)


def test_each_lidar_counts_from_where_it_is() -> None:
    car, aside = grown(CORNER, np.zeros(2)), np.array([30.0, 6.0, 1.8])
    hedge = np.array([[8.0, 1.5, 0.0, 0.5, 12.0]])  # lets no beam of the first lidar by
    beams = [sweep(hedge, np.array([0.0, 0.0, 1.8])), sweep(car, aside)]
    np.testing.assert_array_equal(laid(CORNER, np.zeros(1), np.zeros(2), beams[:1]), turned(CORNER))  # by its length
    np.testing.assert_array_equal(laid(CORNER, np.zeros(1), np.zeros(2), beams), CORNER)


def test_beams_above_a_bonnet_say_nothing() -> None:
    high = np.array([0.0, 0.0, 4.0])  # on a lorry: its beams reach that ground 27 m away, and pass 17 m away at 1.5 m
    told = laid(CORNER, np.zeros(1), high[:2], [sweep(np.zeros((0, 5)), high)])
    np.testing.assert_array_equal(told, laid(CORNER, np.zeros(1), high[:2], []))


def test_without_beams_what_is_wider_than_a_front_is_a_side() -> None:
    seen = np.array([[9.0, 0.0, 1.5, length, 0.4] for length in (1.8, 2.2, 2.6, 4.4)])
    found = laid(seen, np.zeros(4), np.zeros(2), [])
    np.testing.assert_allclose(found[0], turned(seen)[0])
    np.testing.assert_array_equal(found[1:], seen[1:])
