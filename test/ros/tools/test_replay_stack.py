"""What a replay says of parameters that it cannot follow."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from jepa_ros.ros.detections.inputs import DetectionsConfig
from jepa_ros.ros.tools.replay import stack
from jepa_ros.ros.tools.replay.stack import ReplayConfig, Stack
from jepa_ros.ros.world_model.config import WorldModelConfig


class Loaded(Exception):
    """The stack came as far as its model."""


@pytest.mark.parametrize(("detections", "times"), [(DetectionsConfig(), 0), (DetectionsConfig(topic_2d="/yolo", topic_3d="/boxes"), 1)])
def test_other_detectors_are_left_out_with_one_warning(
    detections: DetectionsConfig, times: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def load(*arguments: object) -> None:
        raise Loaded

    monkeypatch.setattr(stack, "WorldModelPipeline", SimpleNamespace(load=load))
    monkeypatch.setattr(stack.torch, "set_num_threads", lambda count: None)
    with caplog.at_level(logging.WARNING), pytest.raises(Loaded):
        Stack(None, ReplayConfig(world_model=WorldModelConfig(detections=detections)))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == times
    assert all("detections.topic_2d = '/yolo', detections.topic_3d = '/boxes'" in text for text in said)
