"""The simulated gripper: physics that answers to what can be seen, and episodes that depend on their seed alone."""

import numpy as np
import pytest

pytest.importorskip("mujoco")

from jepa_ros.sim.arm.arm import Arm, Box
from jepa_ros.sim.arm.camera import render
from jepa_ros.sim.arm.episodes import LIFT_STEPS, NO_GRIP, episode, generate, load_episodes

HALF_M = np.array([0.016, 0.026, 0.026])


def lift(friction: float, closing: float, across_m: float = 0.0, lift_m: float = 0.025) -> tuple[Arm, np.ndarray]:
    """Grip a box in the middle of the table and lift it; also the image when the fingers have closed."""
    arm = Arm(Box(HALF_M, np.zeros(2), 0.0, friction), np.array([0.0, across_m, 0.035]))
    arm.step(np.array([0, 0, 0, 0, 0, 0, closing]))
    image = render(arm.model, arm.data)
    for _ in range(LIFT_STEPS):
        arm.step(np.array([0, 0, lift_m, 0, 0, 0, 0]))
    return arm, image


@pytest.mark.parametrize(
    ("friction", "closing", "across_m", "held"),
    [(0.9, 1.0, 0.0, True), (0.15, 0.75, 0.0, False), (0.9, 0.66, 0.0, False), (0.9, 1.0, 0.05, False)],
    ids=["firm", "slippery", "too little squeeze", "beside the box"],
)
def test_whether_a_grip_holds(friction, closing, across_m, held):
    arm, _ = lift(friction, closing, across_m)
    assert (arm.raised_m > 0.05) == held
    assert abs(arm.raised_m) < 0.005 or held


def test_what_decides_can_be_seen():
    looks = [lift(friction, closing)[1].astype(int) for friction, closing in ((0.9, 0.8), (0.9, 1.0), (0.2, 0.8))]
    assert np.abs(looks[0] - looks[1]).max() > 40  # the squeeze: motors are nearer to the middle than the pads let them
    assert np.abs(looks[0] - looks[2]).max() > 100  # the friction: another colour


def test_the_hand_follows_and_stays_within_reach():
    arm = Arm(Box(HALF_M, np.array([0.05, 0.05]), 0.0, 0.5), np.array([-0.05, -0.05, 0.10]))
    arm.step(np.array([0.03, -0.02, 0.04, 0, 0, 0, 0]))
    np.testing.assert_allclose(arm.hand_m, [-0.02, -0.07, 0.14], atol=0.003)
    for _ in range(3):
        arm.step(np.array([1.0, 0, 1.0, 0, 0, 0, 0]))
    np.testing.assert_allclose(arm.hand_m, [0.08, -0.07, 0.15], atol=0.003)
    with pytest.raises(ValueError, match=r"shape \(7,\)"):
        arm.step(np.zeros(3))


def test_episodes_depend_on_their_seed_alone_and_go_on(tmp_path):
    generate(tmp_path, 0, 3)
    (shard,) = tmp_path.glob("*.npz")
    written = shard.stat().st_mtime_ns
    generate(tmp_path, 0, 3)
    assert shard.stat().st_mtime_ns == written
    episodes = load_episodes(tmp_path)
    again = episode(1)
    np.testing.assert_array_equal(episodes.images[1], again.images)
    np.testing.assert_array_equal(episodes.actions[1], again.actions)
    assert episodes.grip[0] == NO_GRIP
    assert list(episodes.grips()) == [1]
    assert len(np.unique(episodes.images[0].reshape(13, -1), axis=0)) == 13  # it moves
    with pytest.raises(ValueError, match=r"grip.report generate"):
        load_episodes(tmp_path / "nothing")
