"""The doctor's checks that need no robot: facts of a machine, variables, and what was heard, made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")

from ros_harness import transform

from jepa_ros.planning.footprint import Footprint
from jepa_ros.ros.tools.doctor.body import body_findings
from jepa_ros.ros.tools.doctor.findings import Finding, Level
from jepa_ros.ros.tools.doctor.heard import Heard
from jepa_ros.ros.tools.doctor.machine import MachineFacts, discovery_findings, machine_findings
from jepa_ros.ros.tools.doctor.sensors import mount_findings
from jepa_ros.types import EgoState, LidarSweep, Observation

WELL = MachineFacts(middleware="rmw_test", load=0.5, cores=2, free_memory_bytes=8 << 30)
X, Y = (axis.ravel() for axis in np.meshgrid(np.linspace(-15, 15, 41), np.linspace(-15, 15, 41)))
ROOM = np.concatenate([np.stack([X, Y, 0 * X - 0.5], 1), np.stack([8 + 0 * X, Y, 1 + X / 20], 1)])


def wrong(page: list[Finding]) -> list[Finding]:
    return [finding for finding in page if finding.level is not Level.OK]


def transform_of(x_m: float) -> Any:
    edge = transform("odom", "base_link")
    edge.transform.translation.x = x_m
    return edge.transform


@pytest.mark.parametrize(
    ("facts", "elsewhere", "text", "fix"),
    [
        (MachineFacts(middleware="rmw_fastrtps_cpp", cores=2), False, "no Fast DDS profile", "export FASTDDS_DEFAULT_PROFILES_FILE"),
        (MachineFacts(middleware="rmw_cyclonedds_cpp", receive_buffer_bytes=212_992), True, "a socket may hold", "net.core.rmem_max"),
        (MachineFacts(load=5.5, cores=2), False, "5.5 processes", "taskset"),
        (MachineFacts(free_memory_bytes=100 << 20), False, "100 MB are free", "end what is not needed"),
        (MachineFacts(has_gpu=True), False, "torch cannot use it", "--gpus all"),
    ],
)
def test_each_fault_of_the_machine_is_found(facts: MachineFacts, elsewhere: bool, text: str, fix: str) -> None:
    found = list(machine_findings(facts, 2 << 20, elsewhere))
    assert [f for f in wrong(found) if text in f.text and fix in f.fix], found


@pytest.mark.parametrize(
    ("environment", "hears", "text"),
    [
        ({"ROS_LOCALHOST_ONLY": "1", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, True, "counts for nothing"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, False, "no other machine is heard"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, True, None),
        ({}, False, None),
    ],
)
def test_variables_that_keep_other_machines_away(environment: dict[str, str], hears: bool, text: str | None) -> None:
    found = list(discovery_findings(environment, hears))
    assert [text in finding.text and "ROS_LOCALHOST_ONLY" in finding.fix for finding in found] == [True] * bool(text), found


def test_two_who_place_a_frame_are_told_from_one_who_drives() -> None:
    def swings_m(*xs: float) -> float | None:
        heard = Heard()
        for x in xs:
            heard.note_place(transform_of(x))
        return heard.swings_m

    driven = [0.3 * tick for tick in range(30)]
    assert swings_m(*driven) is None
    assert swings_m(*driven[:15], *(x + 4.0 for x in driven[15:])) is None, "a localisation that corrects itself"
    assert swings_m(*(x + 0.5 * (tick % 3 == 0) for tick, x in enumerate(driven))) == pytest.approx(0.5, abs=0.2)


def test_a_lidar_under_a_ceiling_hangs_upright() -> None:
    """A hall has a floor, too; a robot before a high shelf sees little of either."""
    ceiling = np.stack([X, Y, 0 * X + 3.0], 1)
    for points_m, is_wrong in ((ROOM, False), (np.concatenate([ROOM, ceiling]), False), (ROOM * [1, -1, -1], True), (ceiling[:30], False)):
        sweep = LidarSweep(0, points_m.astype(np.float32), None, None, None, np.eye(4))
        assert bool(list(mount_findings([sweep], "/lidar"))) == is_wrong


def test_a_machine_that_is_well_is_told_nothing() -> None:
    assert wrong(list(machine_findings(WELL, 2 << 20, from_elsewhere=True))) == []


def test_little_shared_memory(tmp_path: Path) -> None:
    (profile := tmp_path / "profile.xml").write_text(f"<dds><segment_size>{1 << 60}</segment_size></dds>")
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    found = machine_findings(MachineFacts("rmw_fastrtps_cpp", environment, tmp_path), 0, from_elsewhere=False)
    assert any("--shm-size" in finding.fix for finding in found)


CAR = Footprint.parse("[[3.6, 0.9], [3.6, -0.9], [-0.9, -0.9], [-0.9, 0.9]]")


@pytest.mark.parametrize(
    ("robot", "box", "lidar_height_m", "told"),
    [
        (Footprint.of(0.4), (-0.5, -0.5, 0.5, 0.5), 0.6, []),
        (Footprint.of(0.4), None, 0.6, []),  # guessed, and about right
        (Footprint.of(0.4), None, 1.7, ["nothing is seen within 2.1 m of its"]),  # a robot with a mast, taken for a car
        (Footprint.of(0.4), (-0.5, -0.5, 1.6, 0.5), 0.6, ["within 1.2 m of its front"]),
        (CAR, (-0.9, -1.1, 3.6, 1.1), 1.7, []),
        (CAR, None, 1.7, ["within 1.6 m of its back", "sees of its front, up to 1.1 m"]),
        (CAR, (-0.9, -0.9, 0.9, 0.9), 1.7, ["sees of its front, up to 2.7 m"]),
        (None, (-2.5, -2.0, 2.5, 2.0), 0.6, []),  # nobody says how large the robot is
    ],
)
def test_what_is_left_out_as_the_robot_must_be_as_large_as_the_robot(robot, box, lidar_height_m: float, told: list[str]) -> None:
    mount = np.eye(4)
    mount[2, 3] = lidar_height_m
    seen = Observation(0, EgoState(0, np.eye(4), np.zeros(2)), LidarSweep(0, ROOM.astype(np.float32), None, None, None, mount), ())
    found = wrong(list(body_findings(robot, box, seen)))
    assert [text in finding.text for text, finding in zip(told, found, strict=True)] == [True] * len(told), found
    assert all("sensing.own_body_m: [-" in finding.fix for finding in found)
    assert list(body_findings(robot, None, None)) == []
