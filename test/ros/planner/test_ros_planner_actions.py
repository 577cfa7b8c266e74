"""Image in, goal image in, end-effector deltas out: world_model and planner run a tiny random V-JEPA 2-AC over DDS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import checkpoint_maker as maker
import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'jepa_ros[hub]'")
pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from ros_harness import Robot, image  # noqa: E402

from jepa_ros.backends import load_world_model  # noqa: E402
from jepa_ros.backends.convert import convert_vjepa2_ac  # noqa: E402
from jepa_ros.backends.vjepa2_ac.rollout import Imagination  # noqa: E402
from jepa_ros.ros import readers  # noqa: E402
from jepa_ros.ros.conversions import byte_array  # noqa: E402
from jepa_ros.ros.planner.services import image_observation  # noqa: E402
from jepa_ros.srv import Imagine, PlanActions, PlanPath  # noqa: E402
from jepa_ros.types import PlanStatus  # noqa: E402

STATE = [0.3, -0.1, 0.4, 3.0, 0.2, -1.0, 0.6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("vjepa2_ac")
    convert_vjepa2_ac(maker.save_vjepa2_ac(out / "ac.pt"), out, heads=maker.HEADS)
    return out


@pytest.fixture(scope="module")
def robot(folder):
    robot = Robot()
    try:
        robot.start_node(autostart="true", model="vjepa2_ac", pipeline__weights=folder)
        robot.start_node("planner", autostart="true", model="vjepa2_ac", model_at_start="true", weights=folder, inputs__max_age_s=5.0)
        robot.wait_until_heard_by("/cam/image_raw", timeout_s=110.0)  # importing transformers takes seconds on a busy machine
        yield robot
    finally:
        robot.close()


def goal_image() -> Any:
    message = image(0)
    message.data = byte_array((127 + 127 * maker.wave((48, 64, 3), 2.0)).numpy().astype(np.uint8))
    return message


def ask(robot: Robot, **fields: Any) -> PlanActions.Response:
    robot.drive(2, start_ns=time.time_ns(), lidar=False)
    request = PlanActions.Request(**{"deadline": 3.0, "state": STATE, **fields})
    return robot.call(PlanActions, "/planner/plan_actions", request)


def test_a_goal_image_is_answered_with_actions_and_their_energy(robot, folder):
    assert robot.spin_until(lambda: robot.drive(1, start_ns=time.time_ns(), lidar=False) and bool(robot.heard["latent"]), 60.0)
    answer = ask(robot, goal_image=goal_image(), horizon=2)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    assert list(answer.shape) == [2, 7]
    actions = np.array(answer.actions, np.float32).reshape(2, 7)
    assert np.abs(actions[:, :3]).max() <= 0.05 + 1e-6
    assert not actions[:, 3:6].any(), "the published search leaves rotations alone"

    model = load_world_model("vjepa2_ac", device="cpu", weights=str(folder))
    seen = torch.from_numpy(readers.latents_of(robot.heard["latent"][-1]).astype(np.float32))
    goal = goal_latent(model)
    imagination = Imagination(model._predictor, seen[None], torch.tensor([STATE]))
    with torch.inference_mode():
        energy, still = imagination.energy(torch.stack([torch.from_numpy(actions), torch.zeros(2, 7)]), goal).tolist()
    assert answer.energy == pytest.approx(energy, abs=1e-4)
    assert answer.energy < still, "better than to do nothing"


def test_candidates_are_answered_with_what_will_be_seen(robot, folder):
    robot.drive(2, start_ns=time.time_ns(), lidar=False)
    actions = np.zeros((2, 3, 7))
    actions[1, :, 2] = 0.05
    request = Imagine.Request(candidates=2, steps=3, actions=actions.ravel().tolist(), state=STATE, return_latents=True, deadline=3.0)
    answer = robot.call(Imagine, "/planner/imagine", request)
    assert answer.status.code == PlanStatus.OK, answer.status.message
    latents = np.frombuffer(bytes(answer.latents), np.float16).reshape(answer.latent_shape)
    model = load_world_model("vjepa2_ac", device="cpu", weights=str(folder))
    seen = torch.from_numpy(readers.latents_of(robot.heard["latent"][-1]).astype(np.float32))
    with torch.inference_mode():
        expected = Imagination(model._predictor, seen[None], torch.tensor([STATE])).rollout(torch.from_numpy(actions).float())
    np.testing.assert_allclose(latents, expected, atol=4e-3)
    assert np.abs(latents[0].astype(np.float32) - latents[1]).max() > 4e-3, "a motion changes what is seen"
    assert not answer.hold_probability, "it knows nothing of grips"
    assert not answer.cost


def goal_latent(model: Any) -> torch.Tensor:
    """The goal image's latent as the planner must have computed it."""
    with torch.inference_mode():
        return model.encode(image_observation(PlanActions.Request(goal_image=goal_image()), 0))[0]


def test_what_cannot_be_answered_says_why(robot):
    answer = ask(robot, goal_image=goal_image(), state=[])
    assert answer.status.code == PlanStatus.INVALID_REQUEST
    assert "x, y, z, three Euler angles, gripper" in answer.status.message
    assert ask(robot, goal_image=goal_image(), horizon=9).status.code == PlanStatus.INVALID_REQUEST
    assert ask(robot, goal_image=goal_image(), deadline=0.006).status.code == PlanStatus.TIMEOUT
    assert ask(robot, goal_latent=robot.heard["latent"][-1]).status.code == PlanStatus.OK
    path = robot.call(PlanPath, "/planner/plan_path", PlanPath.Request(deadline=2.0))
    assert path.status.code not in (PlanStatus.OK, PlanStatus.INTERNAL_ERROR)
    assert path.status.message
