"""cmd_vel: the commands that drive, as Twist or TwistStamped. From one command to the next, the robot's limits hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped, Vector3
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import QoSProfile

from jepa_ros.ros.own_topics import crowded
from jepa_ros.types import NANOSECONDS, FloatArray

QUEUE = QoSProfile(depth=1)
STOP = np.zeros(2)
ACKNOWLEDGED_S = 0.5  # longest wait for the base to have the last command
LONGEST_S = 0.5  # who has said nothing for longer begins anew from there
Limited = Callable[[FloatArray, FloatArray, float], FloatArray]  # last command, wanted one, seconds between them -> what the robot can do


def motion_time_s(node: Node) -> float:
    """Seconds of the time that the robot moves in: simulated time, where there is one, may run slower than ours."""
    clock = node.get_clock()
    return clock.now().nanoseconds / NANOSECONDS if clock.ros_time_is_active else time.monotonic()


def motion_time_of(node: Node, stamp_ns: int) -> float:
    """A stamp in the time of `motion_time_s`."""
    clock = node.get_clock()
    if clock.ros_time_is_active:
        return stamp_ns / NANOSECONDS
    return time.monotonic() - (clock.now().nanoseconds - stamp_ns) / NANOSECONDS


class Commands:
    """One publisher. `stop` is at once: it is asked for, or nothing is known well enough to drive by. Who has arrived brakes."""

    def __init__(self, node: LifecycleNode, stamped: bool, limited: Limited | None = None) -> None:
        self._node = node
        self._stamped = stamped
        self._limited = limited
        self._last, self._last_s = STOP, 0.0
        self._lock = threading.Lock()  # the last word is STOP: `halt` may come from another thread
        self._halted = False
        self._publisher = node.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", QUEUE)

    def drive(self, wanted: FloatArray, frame: str) -> None:
        """One step towards (U,) forward speed, speed to the left where there is one, and turn rate. frame: the robot's."""
        with self._lock:
            now_s = motion_time_s(self._node)
            passed_s, self._last_s = min(max(0.0, now_s - self._last_s), LONGEST_S), now_s
            if self._limited is not None and not self._halted:
                last = np.zeros(len(wanted)) if len(self._last) != len(wanted) else self._last
                wanted = self._limited(last, wanted, passed_s)
            self._publish(wanted, frame)

    def brake(self, frame: str) -> bool:
        """One step towards standing; whether it still moves."""
        self.drive(np.zeros(len(self._last)), frame)
        return bool(self._last.any())

    def stop(self, frame: str) -> bool:
        """Zero, at once; that it does not move any more."""
        with self._lock:
            self._last_s = motion_time_s(self._node)
            self._publish(STOP, frame)
        return False

    def halt(self) -> None:
        """Nothing but zero from now on."""
        with self._lock:
            self._halted = True

    def wait_until_heard(self) -> None:
        self._publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED_S))

    def problem(self) -> str:
        """Why the base may not follow the commands, by the publishers and subscribers of the topic; empty if nothing is wrong."""
        node, topic = self._node, self._publisher.topic_name
        ours = "TwistStamped" if self._stamped else "Twist"
        listeners = node.get_subscriptions_info_by_topic(topic)
        others = sorted({one.node_name for one in listeners if not one.topic_type.endswith(f"/{ours}")})
        if others and len(others) == len({one.node_name for one in listeners}):
            fix = f"set controller.stamped to {str(not self._stamped).lower()}"
            return f"{', '.join(others)} takes another type on {topic} than {ours}: {fix}"
        if not listeners:
            return f"nobody listens to {topic}: is the base's driver running, and cmd_vel remapped to what it takes?"
        return crowded(node, topic)

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)

    def _publish(self, command: FloatArray, frame: str) -> None:
        self._last = STOP if self._halted else command
        forward, *left, turn = self._last.tolist()
        twist = Twist(linear=Vector3(x=forward, y=left[0] if left else 0.0), angular=Vector3(z=turn))
        if self._stamped:
            stamped = TwistStamped(twist=twist)
            stamped.header.frame_id, stamped.header.stamp = frame, self._node.get_clock().now().to_msg()
            self._publisher.publish(stamped)
        else:
            self._publisher.publish(twist)
