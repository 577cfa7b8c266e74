"""The annotated image: the camera's own pixels, with people, their ways and the plan where they belong."""

import numpy as np
from test_viz_scene import observation, plan, state

from jepa_ros.viz import theme
from jepa_ros.viz.overlay import annotated
from jepa_ros.viz.rrd import _rgba


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(before.astype(int) - after).max(axis=-1) > 8


def test_people_and_the_plan_are_drawn_where_they_are() -> None:
    seen = observation(size=(400, 160))
    drawn = annotated(seen, state(1), plan().path, 0.4)
    assert drawn is not None
    camera, picture = drawn
    assert camera is seen.cameras[0]
    assert picture.shape == camera.rgb.shape
    assert (seen.cameras[0].rgb == 90).all(), "the sensor's own image is left alone"
    # The person is 8 m ahead and 2 m to the left: left of the middle, in their colour.
    person = np.abs(picture.astype(int) - np.array(_rgba(theme.colour_of(0))[:3])).max(axis=-1) < 40
    assert person.sum() > 20
    assert np.median(np.nonzero(person)[1]) < 180
    green = picture[..., 1].astype(int) - picture[..., 0]
    rows, _ = np.nonzero(green > 20)
    assert len(rows) > 50
    assert rows.min() > 60, "on the ground"


def test_without_a_plan_or_people_nothing_is_changed() -> None:
    seen = observation(size=(400, 160))
    drawn = annotated(seen, state(0), None, 0.4)
    assert drawn is not None
    assert not changed(seen.cameras[0].rgb, drawn[1]).any()


def test_without_a_camera_there_is_none() -> None:
    assert annotated(observation(size=None), state(2), None, 0.4) is None
