"""The streaming memory and the assumed ego motion, with a tiny fake model."""

import numpy as np
import pytest
import torch

from jepa_ros.memory import LatentMemory, steady_motion
from jepa_ros.protocols import ModelSpec
from jepa_ros.types import NANOSECONDS, EgoState


class FakeModel:
    """A latent is the position that it was made at; aligning it moves that position into the new frame."""

    spec = ModelSpec("fake", "1", dt_s=0.4, history=4, horizon=2, latent_shape=(1, 2), action_dim=3, inputs=("lidar",))

    def align(self, latents_BND, new_from_old):
        moved = np.asarray(new_from_old)[:, :2, :2] @ latents_BND.numpy()[:, 0, :, None]
        return torch.as_tensor(moved[:, None, :, 0] + np.asarray(new_from_old)[:, None, :2, 3])


def pose(x_m: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x_m
    return matrix


def filled_memory(stamps_s: list[float]) -> LatentMemory:
    memory = LatentMemory(FakeModel())
    for stamp_s in stamps_s:
        memory.add(round(stamp_s * NANOSECONDS), pose(stamp_s), torch.zeros(1, 2, dtype=torch.float64))
    return memory


def test_history_is_one_model_step_apart_and_in_the_newest_frame():
    memory = filled_memory([0.1 * k for k in range(31)])  # 10 Hz, moving at 1 m/s
    history_BTND = memory.history()
    assert history_BTND.shape == (1, 4, 1, 2)
    np.testing.assert_allclose(history_BTND[0, :, 0, 0], [-1.2, -0.8, -0.4, 0.0], atol=1e-9)
    assert len(memory) <= 17  # bounded: four steps of 0.4 s at 10 Hz


def test_short_past_is_padded_with_the_oldest_latent():
    history_BTND = filled_memory([0.0, 0.4]).history()
    np.testing.assert_allclose(history_BTND[0, :, 0, 0], [-0.4, -0.4, -0.4, 0.0], atol=1e-9)


def test_stamps_that_do_not_rise_are_refused():
    memory = filled_memory([1.0])
    with pytest.raises(ValueError, match="1000000000 ns"):
        memory.add(NANOSECONDS, pose(0.0), torch.zeros(1, 2))


@pytest.mark.parametrize(("speed_mps", "yaw_rate_radps"), [(2.0, 0.0), (2.0, 0.5), (-1.0, -0.3)])
def test_steady_motion_is_the_exact_arc(speed_mps, yaw_rate_radps):
    ego = EgoState(0, np.eye(4), np.array([speed_mps, 0.0]), yaw_rate_radps)
    poses = steady_motion(ego, horizon=12, dt_s=0.4)
    fine_dt_s, x, y, yaw = 1e-4, 0.0, 0.0, 0.0
    for _ in range(round(4.8 / fine_dt_s)):
        x += speed_mps * np.cos(yaw) * fine_dt_s
        y += speed_mps * np.sin(yaw) * fine_dt_s
        yaw += yaw_rate_radps * fine_dt_s
    np.testing.assert_allclose(poses[-1], [x, y, yaw], atol=2e-3)
