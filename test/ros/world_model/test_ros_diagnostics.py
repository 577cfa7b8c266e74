"""What a start looks like in /diagnostics: a healthy robot is quiet from its first report on, and a fault that lasts is not."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from diagnostic_msgs.msg import DiagnosticStatus

from jepa_ros.ros.world_model.diagnostics import choice_status, input_statuses
from jepa_ros.sensing import InputStatus
from jepa_ros.sensing.topic_choice.rule import NOT_YET
from jepa_ros.sensing.topic_choice.verdicts import Verdict

OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN


def camera(lacking: int) -> dict[str, InputStatus]:
    """One camera of whose images so many came without intrinsics."""
    return {"/cam": InputStatus("camera", 20, 20 - lacking, 0, 0, {"missing_camera_info": lacking}, last_stamp_ns=None, lost=False)}


def test_images_that_came_before_their_camera_info_are_counted_not_warned_of() -> None:
    (first,) = input_statuses(camera(3), {}, {})
    assert first.level == OK
    assert ("malformed.missing_camera_info", "3") in [(pair.key, pair.value) for pair in first.values]
    (then,) = input_statuses(camera(3), camera(3), {})
    assert then.level == OK
    (lasting,) = input_statuses(camera(13), camera(3), {})
    assert lasting.level == WARN
    assert "missing_camera_info" in lasting.message


def test_topics_that_have_shown_nothing_yet_are_no_fault_of_the_choice() -> None:
    waiting = [Verdict("/lidar", "lidar", False, NOT_YET), Verdict("/odom", "odometry", False, NOT_YET)]
    assert choice_status(waiting).level == OK
    assert choice_status([Verdict("/lidar", "lidar", True, ""), waiting[1]]).level == OK
    assert choice_status([Verdict("/map", "lidar", False, "its frame does not move with the vehicle"), waiting[1]]).level == WARN
