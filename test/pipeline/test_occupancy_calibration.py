"""What comes true corrects what is said: more where too little was said, nothing where it was right."""

import numpy as np
import pytest
import torch

from jepa_ros.occupancy.calibration import OutcomeCalibration
from jepa_ros.sensing.lidar_view import LidarView
from jepa_ros.sensing.sight import Look
from jepa_ros.types import NANOSECONDS, GridSpec

GRID = GridSpec(64, 64, 0.4, (-12.8, -12.8))
FIELD_M = 16.0  # returns fall on so much to each side of odom's origin, wherever the robot turns and drives


def drive(said: float, true: float, seconds: float, looked: bool = True) -> OutcomeCalibration:
    """A robot that says of all cells that they are hit with probability `said`, where `true` is right."""
    calibration, random = OutcomeCalibration(GRID, 0.4), np.random.default_rng(1)
    looks = [Look(np.zeros(2), np.zeros(360), np.full(360, 100.0))] if looked else []
    logits = torch.full((12, 64, 64), float(np.log(said / (1 - said))))
    for sweep in range(round(10 * seconds)):
        pose = np.eye(4)
        angle = 0.05 * sweep
        pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        pose[:2, 3] = 0.03 * sweep, -0.02 * sweep
        # Spread evenly: a cell of any grid is hit as often as is true.
        count = random.poisson(-np.log(1 - true) * (2 * FIELD_M / GRID.resolution_m) ** 2)
        hits = random.uniform(-FIELD_M, FIELD_M, (count, 2))
        points = np.column_stack(((hits - pose[:2, 3]) @ pose[:2, :2], np.ones(len(hits))))
        stamp_ns = sweep * NANOSECONDS // 10
        calibration.learn(stamp_ns, pose, [LidarView(points.astype(np.float32), np.zeros(3), 0.0)], looks)
        calibration.remember(stamp_ns, pose, logits, torch.ones(64, 64, dtype=torch.bool))
    return calibration


def corrected(calibration: OutcomeCalibration, said: float) -> float:
    return float(calibration.correct(torch.tensor(np.log(said / (1 - said)))).sigmoid())


def test_what_was_said_too_low_is_raised_to_what_was_found() -> None:
    calibration = drive(said=0.2, true=0.6, seconds=8.0)
    assert corrected(calibration, 0.2) == pytest.approx(0.6, abs=0.04)
    calibration.clear()
    assert corrected(calibration, 0.2) == pytest.approx(0.2)


def test_what_was_right_stays() -> None:
    assert corrected(drive(said=0.6, true=0.6, seconds=8.0), 0.6) == pytest.approx(0.6, abs=0.01)


def test_nothing_is_learned_of_cells_that_no_sweep_shows() -> None:
    assert corrected(drive(said=0.2, true=0.0, seconds=4.0, looked=False), 0.2) == pytest.approx(0.2)


def test_the_first_look_moves_it_a_part_of_the_way() -> None:
    assert 0.2 < corrected(drive(said=0.2, true=0.6, seconds=0.6), 0.2) < 0.5


def test_no_evidence_talks_a_wall_away() -> None:
    calibration = drive(said=0.9, true=0.0, seconds=12.0)  # an odometry that slides: walls are never where they were said to be
    assert 0.5 < corrected(calibration, 0.9) < 0.7
    assert corrected(drive(said=0.1, true=0.99, seconds=12.0), 0.1) < 0.8
