"""Another detector's boxes over DDS: a person whom the lidar hardly shows is tracked, and bad messages cost nothing but themselves."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
vision_msgs = pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytestmark = pytest.mark.ros

from ros_harness import START_NS, Robot, cloud  # noqa: E402
from vision_msgs.msg import (  # noqa: E402
    BoundingBox3D,
    Detection2DArray,
    Detection3D,
    Detection3DArray,
    ObjectHypothesisWithPose,
)

from jepa_ros.ros.conversions import header_message  # noqa: E402

PERSON = (6.0, 2.0)
X, Y = np.meshgrid(np.arange(-20, 20, 0.5), np.arange(-20, 20, 0.5))
GROUND = np.stack((X.ravel(), Y.ravel(), 0 * X.ravel()), axis=1).astype(np.float32)  # nothing stands on it


def boxes(stamp_ns: int, frame: str, name: str, x: float, y: float) -> Detection3DArray:
    header = header_message(stamp_ns, frame)
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = name, 0.9
    box = BoundingBox3D()
    box.center.position.x, box.center.position.y, box.center.position.z = x, y, 0.85
    box.size.x, box.size.y, box.size.z = 0.5, 0.5, 1.7
    return Detection3DArray(header=header, detections=[Detection3D(header=header, bbox=box, results=[hypothesis])])


def test_a_person_whom_only_another_detector_sees_is_tracked() -> None:
    robot = Robot()
    try:
        outlines = robot.node.create_publisher(Detection3DArray, "/other/boxes", 5)
        pictures = robot.node.create_publisher(Detection2DArray, "/other/image_boxes", 5)
        process = robot.start_node(
            model="persistence", autostart="true", detections__topic_3d="/other/boxes", detections__topic_2d="/other/image_boxes"
        )
        robot.wait_until_heard_by("/lidar", "/odom", timeout_s=60.0)
        assert robot.spin_until(lambda: outlines.get_subscription_count() and pictures.get_subscription_count(), 30.0)
        stamp = START_NS
        for _ in range(40):
            robot.publishers["/lidar"].publish(cloud(stamp, GROUND))
            robot.drive(1, stamp, lidar=False)
            moved = (stamp - START_NS) / 1e9  # the robot drives on in odom, the person stands
            nan = boxes(stamp, "base_link", "person", float("nan"), 1.0)
            for message in (
                boxes(stamp, "base_link", "person", PERSON[0] - moved, PERSON[1]),
                nan, boxes(stamp, "base_link", "pallet_jack", 1.0, 9.0), boxes(stamp, "nowhere", "person", 3.0, 3.0),
            ):  # fmt: skip
                outlines.publish(message)
            pictures.publish(Detection2DArray(header=header_message(stamp, "camera")))
            stamp += 100_000_000
            people = [one for message in robot.heard["pedestrians"][-1:] for one in message.pedestrians]
            if people:
                break
        assert process.poll() is None
        assert people, "nobody was tracked"
        nearest = min(np.hypot(one.pose.position.x - PERSON[0], one.pose.position.y - PERSON[1]) for one in people)
        assert nearest < 0.5
        assert len(people) == 1  # nobody came of the bad messages
    finally:
        robot.close()
