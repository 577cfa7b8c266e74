"""A machine that is too busy to plan in time: what the robot does, and what its operator is told."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from geometry_msgs.msg import PoseStamped, Twist  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode  # noqa: E402

from jepa_ros.planning.outcome import refusal  # noqa: E402
from jepa_ros.ros.conversions import Frames  # noqa: E402
from jepa_ros.ros.planner.controller import Controller, ControllerConfig, Planned  # noqa: E402
from jepa_ros.ros.planner.diagnostics import planner_statuses  # noqa: E402
from jepa_ros.ros.planner.worker import DeadlineWorker, Misses, PlanningTime  # noqa: E402
from jepa_ros.types import Plan, PlanStatus  # noqa: E402

MAX_AGE_S = 0.8
GOOD = Plan(PlanStatus.OK, "the plan reaches the goal", np.zeros((25, 3)), np.full((24, 2), 0.5), 0.2, 1.0, 0.0, 0.01)
LATE = refusal(PlanStatus.TIMEOUT, "the deadline of 0.080 s came before the search", 0.2)


class Drive:
    """A controller whose plans are given to it, and what it commands."""

    def __init__(self) -> None:
        self.answer = GOOD
        self.odometry_age_s = 0.0
        self.given_s: list[float] = []  # time that each planning was given
        self.commands: list[tuple[float, float]] = []
        self._context = Context()
        rclpy.init(context=self._context, domain_id=99)
        self.node = LifecycleNode("busy", context=self._context)
        self.node.create_subscription(Twist, "cmd_vel", lambda twist: self.commands.append((time.monotonic(), twist.linear.x)), 20)
        config = ControllerConfig(enabled=True, max_age_s=MAX_AGE_S)
        self.worker = DeadlineWorker(lambda: None)
        self.controller = Controller(self.node, lambda: config, lambda: True, self.worker, self._plan, lambda: None)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def _plan(self, goal, left_s, max_age_s, max_speed_mps) -> Planned:
        self.given_s.append(left_s)
        stamp_ns = self.node.get_clock().now().nanoseconds - int(1e9 * self.odometry_age_s)
        scene = SimpleNamespace(sensors=("lidar",), stamp_ns=stamp_ns, ego=SimpleNamespace(stamp_ns=stamp_ns))
        return Planned(self.answer, False, scene, Frames())

    def spin(self, seconds: float, until=lambda: False) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s and not until():
            self._executor.spin_once(timeout_sec=0.02)

    def status(self) -> DiagnosticStatus:
        heard = SimpleNamespace(occupancy=None, pedestrians=None, odometry=None, latents=())
        inputs = SimpleNamespace(heard=lambda: heard, explain=lambda: "")
        services = SimpleNamespace(times_s=[0.1], statuses={"INTERNAL_ERROR": 0})
        services.statuses = type("Counts", (dict,), {"total": lambda self: 0, "__missing__": lambda self, key: 0})()
        lateness = SimpleNamespace(percentiles_ms=dict)
        session = SimpleNamespace(
            inputs=inputs,
            max_age_s=1.0,
            services=services,
            lateness=lateness,
            misses=Misses(),
            controller=self.controller,
            rivals=lambda: "",
        )
        return next(one for one in planner_statuses("active", session) if one.name == "planner: controller")

    def close(self) -> None:
        self.controller.close()
        self.worker.close()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)


@pytest.fixture
def drive():
    drive = Drive()
    drive.controller._on_goal(PoseStamped())
    drive.spin(10.0, lambda: any(speed > 0.0 for _, speed in drive.commands))
    assert drive.commands[-1][1] == 0.5
    yield drive
    drive.close()


def test_a_plan_that_was_not_ready_leaves_the_last_one_in_force_until_that_is_too_old(drive) -> None:
    drive.answer, since_s = LATE, time.monotonic()
    drive.spin(0.4 * MAX_AGE_S)
    assert drive.commands[-1][1] == 0.5, "one late plan does not stop the robot"
    drive.spin(10.0, lambda: drive.commands[-1][1] == 0.0)
    assert drive.commands[-1] == (pytest.approx(since_s + MAX_AGE_S, abs=0.5), 0.0), "nor is an old plan driven by"
    assert drive.controller.state == "stopped: planning is late"


def test_it_takes_more_time_says_so_and_takes_less_again(drive) -> None:
    assert max(drive.given_s) <= 0.08
    assert drive.status().level == DiagnosticStatus.OK
    drive.answer = LATE
    drive.spin(2.5)
    status = drive.status()
    assert status.level == DiagnosticStatus.WARN
    assert "were not ready within 0.32 s" in status.message, status.message
    assert "free a core" in status.message
    assert max(drive.given_s) == pytest.approx(0.4 * MAX_AGE_S, abs=0.02)
    drive.answer = GOOD
    drive.spin(20.0, lambda: drive.given_s[-1] <= 0.08)
    assert drive.given_s[-1] <= 0.08
    assert drive.commands[-1][1] == 0.5
    assert not drive.status().message.startswith("stopped")


def test_a_refusal_that_is_not_for_want_of_time_stops_at_once(drive) -> None:
    drive.answer = refusal(PlanStatus.UNSUPPORTED, "no forecast", 0.2)
    drive.spin(5.0, lambda: drive.commands[-1][1] == 0.0)
    assert drive.controller.state == "stopped: UNSUPPORTED: no forecast"


def test_a_plan_begins_with_the_state_that_it_was_made_from(drive) -> None:
    """Of a plan from odometry half a second ago, what it meant for that half second is not driven now."""
    speeds = np.arange(24) * 0.1
    drive.answer = Plan(PlanStatus.OK, "", np.zeros((25, 3)), np.stack((speeds, 0.0 * speeds), axis=1), 0.2, 1.0, 0.0, 0.01)
    drive.odometry_age_s = 0.5
    drive.spin(5.0, lambda: drive.commands[-1][1] == pytest.approx(0.2))
    assert drive.commands[-1][1] == pytest.approx(0.2)
    drive.odometry_age_s = -3.0  # a clock that is ahead
    drive.spin(5.0, lambda: drive.commands[-1][1] == 0.0)
    assert drive.commands[-1][1] == 0.0, "nothing begins in the future"
    drive.odometry_age_s = 100.0  # one that is behind, of a base that is heard all the same
    drive.spin(5.0, lambda: drive.commands[-1][1] >= 0.4 - 1e-9)
    assert drive.commands[-1][1] == pytest.approx(0.1 * (MAX_AGE_S // 0.2), abs=0.11)


def test_misses_are_told_while_they_are_many_and_new() -> None:
    now_s = 0.0
    misses = Misses(lambda: now_s)
    for _ in range(5):
        misses.note(True)
    assert misses.told() is None, "a handful"
    for missed in (True, True, False, False, False, False):
        misses.note(missed)
    assert misses.told() == (7, 11)
    for _ in range(30):
        misses.note(False)
    assert misses.told() is None, "a tenth"
    for _ in range(20):
        misses.note(True)
    assert misses.told() == (20, 40)
    now_s = 11.0
    assert misses.told() is None, "long ago"


def test_the_time_for_a_plan_stays_within_its_bounds() -> None:
    pace = PlanningTime()
    assert pace.seconds(0.08, 0.4) == 0.08
    for _ in range(50):
        pace.note(ready=False)
    assert pace.seconds(0.08, 0.4) == pytest.approx(0.16)
    assert pace.seconds(0.3, 0.4) == 0.3, "who asks for more gets it"
    for _ in range(200):
        pace.note(ready=True)
    assert pace.seconds(0.08, 0.4) == 0.08
