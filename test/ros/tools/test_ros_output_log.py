"""What a demo says of itself: how it ran, why surprise was not scored, why it failed; and that a long bag does not fill the memory."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402

from jepa_ros.msg import (  # noqa: E402
    LatentState,
    ObjectForecast,
    ObjectForecastArray,
    OccupancyForecast,
    PedestrianForecast,
    PedestrianForecastArray,
    PlanningStatus,
)
from jepa_ros.pipeline import WorldModelPipeline  # noqa: E402
from jepa_ros.ros.stamps import header_message, time_message  # noqa: E402
from jepa_ros.ros.tools.demo_report import failure  # noqa: E402
from jepa_ros.ros.tools.output_log import DIAGNOSTICS, KEPT, LATENT, OBJECTS, OCCUPANCY, PEDESTRIANS, OutputLog  # noqa: E402
from jepa_ros.ros.tools.run_report import SIDE_BY_SIDE, picture_note, run_report, surprise_note  # noqa: E402
from jepa_ros.srv import PlanPath  # noqa: E402
from jepa_ros.types import EgoState, LidarSweep, Observation, PlanStatus  # noqa: E402

START_NS, STEP_NS = 1_700_000_000_000_000_000, 100_000_000


def say(log: OutputLog, stamp_ns: int, surprise: float = float("nan"), people: int = 0, rows: int = 2) -> None:
    """What one processed frame puts on the topics."""
    header = header_message(stamp_ns, "base_link")
    grid = OccupancyForecast(header=header, rows=rows, columns=rows, times_s=[0.0], probability=bytes(rows * rows))
    persons = [PedestrianForecast(id=number) for number in range(people)]
    log.on_message(LATENT, serialize_message(LatentState(header=header, surprise=surprise)))
    log.on_message(OCCUPANCY, serialize_message(grid))
    log.on_message(PEDESTRIANS, serialize_message(PedestrianForecastArray(header=header, pedestrians=persons)))


def answer(log: OutputLog, status: PlanStatus, message: str, stamp_ns: int) -> None:
    response = PlanPath.Response(status=PlanningStatus(code=int(status), message=message), forecast_stamp=time_message(stamp_ns))
    log.answered(response)


def played(processed_every: int, period_ns: int = STEP_NS, frames: int = 30) -> OutputLog:
    log = OutputLog("/points")
    for frame in range(frames):
        stamp_ns = START_NS + frame * period_ns
        log.on_message("/points", serialize_message(LatentState(header=header_message(stamp_ns, "lidar"))))
        if frame % processed_every == 0:
            say(log, stamp_ns)
    log.measured_ms = {"decode": [20.0], "predict": [180.0], "publish": [30.0], "end_to_end": [400.0]}
    return log


def test_a_machine_that_is_too_slow_is_told_so_and_what_to_do():
    report = run_report(played(processed_every=2))
    assert report["frames_dropped"] == 15
    assert report["slowest_stage"] == "predict"
    assert report["frames_per_second_possible"] == 5.0, "decode and predict, one after the other; publishing has a thread of its own"
    assert report["gap_between_frames_s"] == {"p50": 0.2, "longest": 0.2}
    assert "15 of 30" in report["advice"]
    assert "make replay" in report["advice"]
    assert "keeps up" in run_report(played(processed_every=1))["advice"]
    assert "15 dropped" in picture_note(played(processed_every=2))


def test_of_stages_that_run_side_by_side_the_longer_counts():
    log = played(processed_every=1)
    log.measured_ms = {"decode": [5.0], "encode": [30.0], "predict": [20.0], "people": [60.0], "forecast": [10.0]}
    log.measured_ms |= {"occupancy": [10.0], "surprise": [25.0], "publish": [20.0]}
    assert run_report(log)["frames_per_second_possible"] == 10.0, "decode, people and forecast, surprise: 5 + 70 + 25 ms"


def test_what_runs_side_by_side_are_the_stages_of_the_pipeline():
    sweep = LidarSweep(0, np.ones((100, 3), np.float32), None, None, None, np.eye(4))
    state = WorldModelPipeline.load("persistence", device="cpu").step(Observation(0, EgoState(0, np.eye(4), np.zeros(2)), sweep))
    assert {stage for pair in SIDE_BY_SIDE for stages in pair for stage in stages} == set(state.timings_ms)


def test_too_slow_a_rate_for_surprise_is_named():
    assert "1.00 s apart" in surprise_note(played(1, period_ns=10 * STEP_NS))
    assert "10 judged predictions" in surprise_note(played(1))
    log = played(1)
    say(log, START_NS + 100 * STEP_NS, surprise=0.5)
    assert surprise_note(log) is None


def test_a_failure_says_what_was_asked_and_counts_answers_that_differ_in_figures_only():
    log = played(1)
    for step in range(5):
        answer(log, PlanStatus.STALE_SENSORS, f"the newest forecast is {step}.27 s old, more than 0.60 s", START_NS)
    text = failure(log, 12.0)
    assert "12 m straight ahead" in text
    assert "5 x such as STALE_SENSORS" in text
    answer(log, PlanStatus.OK, "", START_NS)
    assert failure(log, 12.0) is None


def test_what_is_wrong_with_the_inputs_is_told_with_its_count_unless_it_is_that_the_bag_is_over():
    log = OutputLog("/points")
    lost = DiagnosticStatus(name="world_model: input /points", level=DiagnosticStatus.ERROR, message="lost")
    lost.values = [KeyValue(key="malformed.missing_pose", value="20"), KeyValue(key="received", value="20")]
    log.on_message(DIAGNOSTICS, serialize_message(DiagnosticArray(status=[lost])))
    log.over()
    late = DiagnosticStatus(name="world_model: sensors", level=DiagnosticStatus.ERROR, message="all sensors lost")
    log.on_message(DIAGNOSTICS, serialize_message(DiagnosticArray(status=[late])))
    assert log.complaints() == ["world_model: input /points: lost (20 x missing_pose)"]
    assert "20 x missing_pose" in failure(log, 12.0)


def test_a_model_without_occupancy_cannot_have_an_ok_plan_and_no_frame_is_a_failure():
    log = OutputLog("/image")
    assert "no forecast came out" in failure(log, 12.0)
    say(log, START_NS, rows=0)
    answer(log, PlanStatus.UNSUPPORTED, "no occupancy", START_NS)
    assert failure(log, 12.0) is None


def test_a_long_bag_keeps_the_newest_forecasts_and_that_of_the_best_plan():
    log = OutputLog("/points")
    for frame in range(4 * KEPT):
        say(log, START_NS + frame * STEP_NS, people=5 if frame == 3 else 1)
        if frame in (3, 10):
            answer(log, PlanStatus.OK, "", START_NS + frame * STEP_NS)
    assert len(log.occupancy) <= KEPT
    assert START_NS + 3 * STEP_NS in log.occupancy
    assert log.frames_processed == 4 * KEPT


def test_the_moment_that_is_drawn_has_its_surprise_and_the_most_around():
    log = OutputLog("/points")
    for frame, (surprise, people, vehicles) in enumerate([(float("nan"), 9, 0), (0.5, 2, 0), (0.5, 1, 3), (0.5, 1, 0)]):
        stamp_ns = START_NS + frame * STEP_NS
        say(log, stamp_ns, surprise, people)
        objects = [ObjectForecast(id=number) for number in range(people + vehicles)]
        log.on_message(OBJECTS, serialize_message(ObjectForecastArray(header=header_message(stamp_ns, "base_link"), objects=objects)))
        answer(log, PlanStatus.OK, "", stamp_ns)
    assert log._best_plan().forecast_ns == START_NS + 2 * STEP_NS
