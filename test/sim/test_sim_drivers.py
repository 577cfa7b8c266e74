"""Drivers of simulated traffic: who turns, gives way, passes, weaves; and traffic that does not come to a standstill."""

import numpy as np
import pytest

from jepa_ros.sim.people.drivers import Drivers
from jepa_ros.sim.people.traffic import Vehicle, advance, restart_if_done
from jepa_ros.sim.places.layout import Lane, polyline
from jepa_ros.sim.simulation import Simulation

NOBODY = np.zeros((0, 2))
AHEAD = Lane(polyline(np.array([[-100.0, -1.6], [100.0, -1.6]])), 8.0, "car", 1)
BACK = Lane(polyline(np.array([[100.0, 1.6], [-100.0, 1.6]])), 8.0, "car", 1)
LEFT = Lane(polyline(np.array([[-100.0, -1.6], [1.6, -1.6], [1.6, 100.0]]), 6.0), 8.0, "car", 0, 90.0, 0)


def vehicle(lane: Lane, x: float, speed: float, kind: str = "car") -> Vehicle:
    arc = float(lane.path.project(np.array([[x, lane.path.points_m[0, 1]]]), 0.0, lane.path.length_m)[0][0])
    return Vehicle(kind, lane, arc, speed, lane.speed_mps if kind == "car" else speed, lane.path.pose(arc))


def drive(vehicles: list[Vehicle], seconds: float, lanes: tuple[Lane, ...] = (), seed: int = 3) -> np.ndarray:
    """(T, V, 4) x, y, yaw, speed."""
    drivers, told = Drivers(vehicles, lanes or (AHEAD, BACK), np.random.default_rng(seed)), []
    for step in range(round(seconds / 0.05)):
        drivers.decide(vehicles, 0.05 * step, 0.05)
        for one in vehicles:
            advance(one, vehicles, NOBODY, NOBODY, 0.05 * step, 0.05)
        told.append([[*one.pose, one.speed_mps] for one in vehicles])
    return np.array(told)


def test_a_car_passes_a_slow_cyclist_and_comes_back_into_its_lane() -> None:
    told = drive([vehicle(AHEAD, -70, 8.0), vehicle(AHEAD, -45, 3.0, "cyclist")], 18.0)
    assert told[-1, 0, 0] > told[-1, 1, 0] + 5.0
    beside = np.abs(told[:, 0, 0] - told[:, 1, 0]) < 2.0
    assert beside.any()
    assert (told[beside, 0, 1] - told[beside, 1, 1] > 1.5).all()
    assert told[-1, 0, 1] == pytest.approx(-1.6, abs=0.4)


def test_it_stays_behind_while_somebody_comes_the_other_way() -> None:
    """Until who comes has gone by, it does not pull out."""
    told = drive([vehicle(AHEAD, -70, 8.0), vehicle(AHEAD, -50, 3.0, "cyclist"), vehicle(BACK, 5, 7.0)], 20.0)
    comes = told[:, 2, 0] > told[:, 0, 0] + 5.0
    assert told[comes, 0, 1].max() < -0.9
    assert told[-1, 0, 0] > told[-1, 1, 0]


def test_who_turns_left_gives_way_to_who_goes_straight_on() -> None:
    turning, straight = vehicle(LEFT, -18, 6.0), vehicle(BACK, 30, 8.0)
    turning.arc_m = max(turning.arc_m, 83.0)
    told = drive([turning, straight], 14.0, (LEFT, BACK))
    apart = np.hypot(*(told[:, 0, :2] - told[:, 1, :2]).T)
    assert apart.min() > 2.2
    gone = told[:, 1, 0] < told[:, 0, 0] - 3.0
    assert told[~gone, 0, 1].max() < 0.5  # it has not crossed the other lane before that
    assert told[-1, 0, 1] > 10.0


def test_cyclists_weave_and_nobody_else_s_place_is_changed_without_drivers() -> None:
    told = drive([vehicle(AHEAD, -90, 4.0, "cyclist")], 15.0)
    assert 0.05 < np.ptp(told[:, 0, 1]) < 1.2
    calm = vehicle(AHEAD, -90, 4.0, "cyclist")
    for step in range(100):
        advance(calm, [calm], NOBODY, NOBODY, 0.05 * step, 0.05)
    assert calm.pose[1] == -1.6


def test_two_ends_of_a_road_do_not_wait_for_each_other() -> None:
    there, back = vehicle(AHEAD, 100, 5.0), vehicle(BACK, -100, 5.0)
    for one, other in ((there, back), (back, there)):
        restart_if_done(one, [other], in_lane=True)
    assert there.arc_m == 0.0
    assert back.arc_m == 0.0


def test_lively_traffic_turns_and_keeps_moving_and_the_place_is_the_same() -> None:
    lively, calm = (Simulation("crossing", 6, n_people=0, traffic=2.0, lively=flag) for flag in (True, False))
    np.testing.assert_array_equal([v.pose for v in lively.vehicles], [v.pose for v in calm.vehicles])
    turned = np.zeros(len(lively.vehicles))
    for _ in range(300):
        before = np.array([v.pose[2] for v in lively.vehicles])
        lively.advance(0.1)
        turned += np.abs(np.array([v.pose[2] for v in lively.vehicles]) - before) * (np.array([v.arc_m for v in lively.vehicles]) > 1.0)
    assert (turned > 1.0).any()
    assert sum(v.speed_mps > 0.5 for v in lively.vehicles) > len(lively.vehicles) // 3
