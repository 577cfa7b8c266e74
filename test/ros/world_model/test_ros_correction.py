"""The stream publishes corrected forecasts, learns from what it published, and keeps it in a file; without a running node."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from test_ros_objects import street

from jepa_ros.forecast.conformal import Correction, CorrectionConfig
from jepa_ros.ros.world_model.config import WorldModelConfig
from jepa_ros.ros.world_model.session import Session


def stream(correction: Correction) -> tuple[Session, list, list]:
    """One without node, sensors and worker; what it publishes, and what it warns of."""
    made, published, warned = Session.__new__(Session), [], []
    made._correction, made._score_lock, made._published, made._saved_s = correction, threading.Lock(), None, time.monotonic()
    made._outputs = SimpleNamespace(publish=lambda state, frames, observation: published.append(state))
    made._logger = SimpleNamespace(is_enabled_for=lambda level: False, warning=lambda text, **_: warned.append(text))
    made.hub = SimpleNamespace(base_frame="base_link", odom_frame="odom")
    return made, published, warned


def test_what_goes_out_is_corrected_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "factors.json"
    correction = Correction(CorrectionConfig(file=str(path)))
    made, published, warned = stream(correction)
    state = street()
    made._publish(state, None)
    assert published[0] is state  # nothing was scored yet
    made._keep_score(state)
    correction.log_factors["vehicle"] = np.full((2, 12), np.log(2.0))
    made._publish(state, None)
    before, after = state.vehicle_forecast.covariances_m2, published[1].vehicle_forecast.covariances_m2
    np.testing.assert_allclose(after[:, :-1], 4.0 * before)
    assert made.forecast_scores()["vehicle_spread"] == pytest.approx(2.0)
    made._save()
    assert Correction(CorrectionConfig(file=str(path))).factors("vehicle", 12).mean() == pytest.approx(2.0, rel=1e-4)
    assert warned == []


def test_a_file_that_cannot_be_written_is_told_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    correction = Correction(CorrectionConfig(file=str(tmp_path / "taken" / "factors.json")))
    correction.log_factors["person"] = np.zeros((2, 12))
    made, _, warned = stream(correction)
    made._save()
    assert len(warned) == 1
    assert "correction.file" in warned[0]


def test_the_correction_is_a_part_of_the_nodes_parameters() -> None:
    assert WorldModelConfig().correction.enabled
