"""The two shares of the published occupancy: that of the world model, and the forecasts of tracked objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planning_scenes import make_scene

pytest.importorskip("rclpy", reason="needs ROS 2: run `make build`, then tests through scripts/env.sh")
pytest.importorskip("jepa_ros.msg", reason="needs the built interfaces: run `make build`, then tests through scripts/env.sh")
pytestmark = pytest.mark.ros

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

from jepa_ros.objects.scene.cells import with_movers  # noqa: E402
from jepa_ros.ros import conversions, readers  # noqa: E402

FRAMES = conversions.Frames("base_link", "odom")
WALKER = ((3.0, -2.0, 0.0, 1.0),)


def test_both_shares_travel() -> None:
    state = with_movers(make_scene(people=WALKER))
    message = conversions.occupancy_message(state, FRAMES)
    back = readers.occupancy_of(deserialize_message(serialize_message(message), type(message)))
    assert (back.probability != back.from_latents).any(), "somebody walks through this scene"
    np.testing.assert_allclose(back.probability, state.occupancy.probability, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(back.from_latents, state.occupancy.from_latents, atol=0.5 / 255 + 1e-6)


def test_nothing_is_sent_twice_and_a_wrong_size_is_refused() -> None:
    message = conversions.occupancy_message(make_scene(), FRAMES)
    assert len(message.from_latents) == 0
    message.from_latents = message.probability[:-1]
    with pytest.raises(ValueError, match="`from_latents`"):
        readers.occupancy_of(message)


def test_a_grid_for_costmaps_shows_who_comes() -> None:
    state = replace(make_scene(people=WALKER), anchor_pose=np.eye(4))
    there = replace(state, pedestrians=replace(state.pedestrians, modes_m=np.tile([3.0, 0.4], (1, 1, 12, 1))))
    empty, busy = (conversions.occupancy_grid_message(each, 2.4, FRAMES) for each in (there, with_movers(there)))
    assert max(empty.data) == 0
    row, column = np.divmod(int(np.argmax(busy.data)), busy.info.width)
    x_m = busy.info.origin.position.x + (column + 0.5) * busy.info.resolution
    y_m = busy.info.origin.position.y + (row + 0.5) * busy.info.resolution
    assert max(busy.data) >= 25
    assert (x_m, y_m) == pytest.approx((3.0, 0.4), abs=0.5)
