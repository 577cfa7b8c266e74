"""The simulated gripper: physics that answers to what can be seen, motions that decide, episodes that depend on their number alone."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from jepa_ros.sim.arm.arm import OPEN_M, SPRING_N_M
from jepa_ros.sim.arm.camera import WRIST, render
from jepa_ros.sim.carry.arm import Arm, Box
from jepa_ros.sim.carry.episodes import GRIP_FRAME, NO_GRIP, episode, generate, grip_of, held_from, load_episodes

BOX = Box(np.array([0.016, 0.026, 0.026]), np.zeros(2), 0.0, 0.5)


def gripped(squeeze: float, box: Box = BOX, across_m: float = 0.0) -> Arm:
    """The box in the middle of the table, held so many times as hard as it takes."""
    arm = Arm(box, np.array([0.0, across_m, 0.03]))
    arm.step(np.array([0, 0, 0, 0, 0, 0, 1 - (box.half_m[0] - squeeze * box.least_squeeze_n / SPRING_N_M) / OPEN_M]))
    return arm


def slip(arm: Arm, moves: list[list[float]]) -> float:
    """How far the box moves in the hand, m."""
    begin = arm.box_in_hand_m
    for x, y, z, tilt in moves:
        arm.step(np.array([x, y, z, 0, tilt, 0, 0]))
    return float(np.linalg.norm(arm.box_in_hand_m - begin))


def test_the_same_grip_keeps_when_moved_gently_what_it_loses_when_moved_fast():
    gentle = [[0, 0, 0.01, 0]] * 6
    assert slip(gripped(1.3), gentle) < 0.002
    assert slip(gripped(1.3), [[0, 0, 0.06, 0]]) > 0.01
    assert slip(gripped(3.0), [[0, 0, 0.06, 0]]) < 0.003
    assert slip(gripped(0.8), gentle) > 0.01, "too loose to be lifted at all"
    assert slip(gripped(1.3, across_m=0.05), [[0, 0, 0.01, 0]] * 4) > 0.01, "beside the box"
    assert slip(gripped(1.3), [[0.06, 0, 0, 0]] * 2) < 0.004, "along the fingers it costs little"


def test_the_hand_tilts_with_what_it_holds():
    for box in (BOX, replace(BOX, round=True)):
        arm = gripped(1.6, box)
        assert slip(arm, [[0, 0, 0.02, 0], [0, 0, 0, 0.3]]) < 0.004
        assert arm.tilt_rad == pytest.approx(0.3, abs=0.02)


def test_what_decides_can_be_seen():
    looks = []
    for box, squeeze in ((BOX, 1.0), (BOX, 3.0), (replace(BOX, friction=0.25), 1.0), (replace(BOX, density_kg_m3=800.0), 1.0)):
        arm = gripped(squeeze, box)
        looks.append(arm.look().astype(int))
    for other in looks[1:]:  # the squeeze by the motors' place, friction and density by the colour
        assert np.abs(looks[0] - other).max() > 40


def test_what_is_held_stands_still_before_the_wrist_camera_and_what_slips_moves():
    def thing(arm: Arm) -> tuple[float, float]:
        red, green, blue = render(arm.model, arm.data, WRIST).astype(int).transpose(2, 0, 1)
        return tuple(float(place.mean()) for place in np.nonzero((red > green + 25) & (blue > green + 15)))

    for squeeze, way, least, most in ((3.0, [0.03, 0, 0.04, 0.2], 0.0, 1.0), (1.2, [0, 0, 0.05, 0], 3.0, 60.0)):
        arm = gripped(squeeze)
        begin = thing(arm)
        slip(arm, [way])
        assert least <= np.hypot(*np.subtract(thing(arm), begin)) <= most


def test_the_hand_follows_and_stays_within_reach():
    arm = Arm(replace(BOX, place_m=np.array([0.05, 0.05])), np.array([-0.05, -0.05, 0.10]))
    done = arm.step(np.array([0.03, -0.02, 0.04, 0, 0, 0, 0]))
    np.testing.assert_allclose(arm.hand_m, [-0.02, -0.07, 0.14], atol=0.003)
    np.testing.assert_allclose(done[:3], [0.03, -0.02, 0.04])
    for _ in range(3):
        done = arm.step(np.array([1.0, 0, 1.0, 0, 1.0, 0, 0]))
    np.testing.assert_allclose(arm.hand_m, [0.08, -0.07, 0.16], atol=0.003)
    np.testing.assert_allclose(done[[0, 2, 4]], [0, 0, 0], atol=0.05)
    with pytest.raises(ValueError, match=r"shape \(7,\)"):
        arm.step(np.zeros(3))


def test_what_has_slipped_is_not_held_again():
    in_hand = np.zeros((6, 3))
    in_hand[4, 2] = -0.02
    assert list(held_from(in_hand)) == [False, False, True, True, False, False]


def test_episodes_depend_on_their_number_alone_and_go_on(tmp_path):
    generate(tmp_path, 3, 2)
    (shard,) = tmp_path.glob("*.npz")
    written = shard.stat().st_mtime_ns
    generate(tmp_path, 3, 2)
    assert shard.stat().st_mtime_ns == written
    episodes = load_episodes(tmp_path)
    again = episode(3)
    np.testing.assert_array_equal(episodes.images[0], again.images)
    np.testing.assert_array_equal(episodes.actions[0], again.actions)
    assert list(episodes.grip) == [2, NO_GRIP]
    assert [grip_of(number, 4) for number in range(5, 10)] == [5, 5, 5, 5, NO_GRIP]
    twin = episode(2)
    np.testing.assert_array_equal(twin.images[: GRIP_FRAME + 1], again.images[: GRIP_FRAME + 1])
    assert not np.array_equal(twin.actions[GRIP_FRAME:], again.actions[GRIP_FRAME:]), "another motion follows from the same grip"
    with pytest.raises(ValueError, match=r"carry.report generate"):
        load_episodes(tmp_path / "nothing")
