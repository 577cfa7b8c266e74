"""What is known of a scene, drawn into the camera's own pixels: for a live image topic, so with OpenCV and in milliseconds."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib.colors import to_rgb

from jepa_ros.objects.scene.objects import objects_of
from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing import anchor_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import CameraImage, FloatArray, Observation, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import OUTLINE_STEPS
from jepa_ros.viz.boxes import colour_of, edges_3d, is_moving, label_of
from jepa_ros.viz.camera import Projection, camera_view, on_ground

PLAN_SHARE = 0.45  # of the plan's colour over the ground
NEAREST_M = 0.5  # from the camera: what is nearer is not drawn
SPACING_M = 0.1  # of the plan's outline: a straight line on the ground may bend in the image
MOST_POINTS = 20_000  # that the ground is estimated from


def annotated(
    observation: Observation, state: SceneState, way_odom: FloatArray | None, robot: Footprint | float
) -> tuple[CameraImage, np.ndarray] | None:
    """The image of the camera that looks ahead and its annotated copy, (height, width, 3) rgb; None without a camera.

    way_odom: (L, 3) x m, y m, yaw rad of the plan; None = none. robot: its shape; a number is the radius of a disc, m.
    """
    if not observation.cameras:
        return None
    points_m = anchor_points(observation)
    ground = Terrain.fit(points_m[:: max(1, len(points_m) // MOST_POINTS)], observation.ground_height_m)
    camera, _, to_pixels = camera_view(observation, state, ground)
    assert camera is not None
    picture = np.ascontiguousarray(camera.rgb.copy())
    if way_odom is not None and len(way_odom) > 1:
        footprint = Footprint.of(robot)
        _plan(picture, theme.to_anchor(way_odom[:, :2], state), footprint.beside_m, ground, to_pixels)
        if not footprint.is_round:
            _outlines(picture, [theme.to_anchor(shape, state) for shape in footprint.placed(way_odom[::-OUTLINE_STEPS])], ground, to_pixels)
    _ways(picture, state, ground, to_pixels)
    for told in objects_of(state):
        here = theme.to_anchor(told.box[:2], state)[None]
        edges = edges_3d(told, state, float(ground.at(here)[0]))
        pixels, depth = to_pixels(edges.reshape(-1, 3))
        if depth.min() < NEAREST_M:
            continue
        colour = _rgb(colour_of(told))
        _lines(picture, pixels.reshape(-1, 2, 2), colour, 2 if is_moving(told) else 1)
        left, top = (int(value) for value in np.clip(pixels.min(axis=0), -1e4, 1e4))
        cv2.putText(picture, label_of(told), (left, top - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return camera, picture


def _plan(picture: np.ndarray, way_m: FloatArray, radius_m: float, ground: Terrain, to_pixels: Projection) -> None:
    """The strip that the robot sweeps, below everything else."""
    lengths = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(way_m, axis=0), axis=1))))
    if lengths[-1] < SPACING_M:
        return
    at = np.arange(0.0, lengths[-1], SPACING_M)
    centre = np.stack([np.interp(at, lengths, way_m[:, axis]) for axis in (0, 1)], axis=1)
    heading = np.gradient(centre, axis=0)
    side = radius_m * np.stack([-heading[:, 1], heading[:, 0]], axis=1) / np.linalg.norm(heading, axis=1, keepdims=True).clip(1e-6)
    (left, left_m), (right, right_m) = (to_pixels(on_ground(centre + turn * side, ground)) for turn in (1.0, -1.0))
    ahead = (left_m > NEAREST_M) & (right_m > NEAREST_M)
    if ahead.sum() < 2:
        return
    outline = np.concatenate([left[ahead], right[ahead][::-1]])
    painted = picture.copy()
    cv2.fillPoly(painted, [_int(outline)], _rgb(theme.PLAN), cv2.LINE_AA)
    cv2.addWeighted(painted, PLAN_SHARE, picture, 1.0 - PLAN_SHARE, 0.0, dst=picture)


def _outlines(picture: np.ndarray, shapes: list[FloatArray], ground: Terrain, to_pixels: Projection) -> None:
    """The footprint along the plan."""
    for shape in shapes:
        pixels, depth = to_pixels(on_ground(shape, ground))
        if depth.min() > NEAREST_M:
            cv2.polylines(picture, [_int(pixels)], True, _rgb(theme.PLAN), 1, cv2.LINE_AA)


def _ways(picture: np.ndarray, state: SceneState, ground: Terrain, to_pixels: Projection) -> None:
    """The likeliest way of everybody who walks, at the height of the ground where they are."""
    places = theme.to_anchor(state.people.positions_m, state)
    ways = state.pedestrians.most_likely() if len(places) else np.empty((0, 0, 2))
    for i in np.flatnonzero(theme.moving(state)):
        way = np.concatenate([places[i : i + 1], theme.to_anchor(ways[i], state)])
        height = float(ground.at(places[i : i + 1])[0])
        pixels, depth = to_pixels(np.column_stack([way, np.full(len(way), height)]))
        if (depth > NEAREST_M).sum() > 1:
            line = _int(pixels[depth > NEAREST_M])
            cv2.polylines(picture, [line], False, _rgb(theme.colour_of(int(state.people.ids[i]))), 2, cv2.LINE_AA)


def _lines(picture: np.ndarray, ends_px: FloatArray, colour: tuple[int, int, int], width: int) -> None:
    for line in _int(ends_px):
        cv2.polylines(picture, [line], False, colour, width, cv2.LINE_AA)


def _int(pixels: FloatArray) -> np.ndarray:
    """OpenCV draws whole pixels, and overflows far outside of the image."""
    return np.clip(np.round(pixels), -10_000, 10_000).astype(np.int32)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue
