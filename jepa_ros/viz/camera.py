"""The camera's view with what is known of the scene drawn into it by calibrated projection; without a camera, the lidar's own view."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch, Polygon

from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing import project
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import CameraImage, CameraModel, FloatArray, Observation, Plan, PlanStatus, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import plan_outlines, plan_ribbon
from jepa_ros.viz.boxes import boxed, colour_of, edges_3d, is_moving, label_of

PERSON_HEIGHT_M = 1.75  # of the drawn box
VIRTUAL = CameraModel(960, 400, np.array([[480.0, 0, 480.0], [0, 480.0, 190.0], [0, 0, 1]]), np.empty(0))
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # base from an optical frame that looks forward


def draw_camera(
    axes: Axes,
    observation: Observation,
    points_m: FloatArray,
    ground: Terrain,
    state: SceneState,
    plan: Plan | None,
    robot: Footprint | float,
) -> None:
    """`points_m`: (N, 3) anchor frame, may be empty. robot: a number is the radius of a disc, m."""
    camera, model, to_pixels = camera_view(observation, state, ground)
    if camera is None:
        _lidar_view(axes, points_m, ground, to_pixels)
    else:
        axes.imshow(camera.rgb, interpolation="lanczos", extent=(-0.5, model.width - 0.5, model.height - 0.5, -0.5), zorder=0)
    axes.set_xlim(-0.5, model.width - 0.5)
    axes.set_ylim(model.height - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.GRID)
    if plan is not None and len(plan.path) > 1:
        _plan(axes, plan, state, ground, to_pixels, Footprint.of(robot))
    _people(axes, model, state, ground, to_pixels)
    _boxes(axes, state, ground, to_pixels)


Projection = Callable[[FloatArray], tuple[FloatArray, FloatArray]]  # (N, 3) anchor frame -> (N, 2) pixels, (N,) depth m


def camera_view(observation: Observation, state: SceneState, ground: Terrain) -> tuple[CameraImage | None, CameraModel, Projection]:
    """The camera that looks ahead, its model, and where points of the anchor frame are in its image; without one, a synthetic view."""
    camera = _forward_camera(observation)
    anchor_from_base = np.linalg.inv(state.anchor_pose) @ observation.ego.odom_from_base
    if camera is None:
        lifted = OPTICAL.copy()
        lifted[2, 3] = float(ground.at(np.zeros((1, 2)))[0]) + 1.9
        model, anchor_from_camera = VIRTUAL, lifted
    else:
        model, anchor_from_camera = camera.model, anchor_from_base @ camera.base_from_camera
    camera_from_anchor = np.linalg.inv(anchor_from_camera)

    def to_pixels(points_anchor_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        points = points_anchor_m @ camera_from_anchor[:3, :3].T + camera_from_anchor[:3, 3]
        pixels, _ = project(points, model)
        return pixels, points[:, 2]

    return camera, model, to_pixels


def _forward_camera(observation: Observation) -> CameraImage | None:
    """The camera whose optical axis points most forward."""
    return max(observation.cameras, key=lambda camera: camera.base_from_camera[0, 2], default=None)


def _lidar_view(axes: Axes, points_m: FloatArray, ground: Terrain, to_pixels: Projection) -> None:
    axes.set_facecolor(theme.INK)
    pixels, depth = to_pixels(points_m)
    ahead = depth > 0.5
    height = points_m[:, 2] - ground.at(points_m[:, :2])
    order = np.argsort(-depth[ahead])
    axes.scatter(
        pixels[ahead][order, 0],
        pixels[ahead][order, 1],
        c=height[ahead][order],
        cmap="cividis",
        vmin=0,
        vmax=3,
        s=2,
        linewidths=0,
        zorder=0,
    )


def on_ground(xy: FloatArray, ground: Terrain, above_m: float = 0.02) -> FloatArray:
    """(N, 3) points on the ground below (N, 2) places."""
    return np.column_stack([xy, ground.at(xy) + above_m])


def _plan(axes: Axes, plan: Plan, state: SceneState, ground: Terrain, to_pixels: Projection, footprint: Footprint) -> None:
    colour = theme.BRAKING if plan.fallback or plan.status != PlanStatus.OK else theme.PLAN
    outline = plan_ribbon(plan, state, footprint.beside_m)
    half = len(outline) // 2
    left, right = _dense(outline[:half]), _dense(outline[half:][::-1])
    left_px, left_depth = to_pixels(on_ground(left, ground))
    right_px, right_depth = to_pixels(on_ground(right, ground))
    ahead = (left_depth > 0.5) & (right_depth > 0.5)
    if ahead.sum() < 2:
        return
    axes.add_patch(
        Polygon(np.concatenate([left_px[ahead], right_px[ahead][::-1]]), facecolor=colour, edgecolor="white", lw=0.8, alpha=0.5, zorder=3)
    )
    for shape in plan_outlines(plan, state, footprint):
        pixels, depth = to_pixels(on_ground(_dense(shape), ground))
        if depth.min() > 0.5:
            axes.plot(*pixels.T, color="white", lw=0.6, alpha=0.8, zorder=3)


def _dense(line: FloatArray, factor: int = 8) -> FloatArray:
    """The same line with `factor` times the points: a straight line on the ground may bend in the image."""
    at = np.linspace(0, len(line) - 1, factor * (len(line) - 1) + 1)
    return np.stack([np.interp(at, np.arange(len(line)), line[:, axis]) for axis in (0, 1)], axis=1)


def _people(axes: Axes, model: CameraModel, state: SceneState, ground: Terrain, to_pixels: Projection) -> None:
    places = theme.to_anchor(state.people.positions_m, state)
    walking = theme.moving(state)
    for i in np.argsort(-np.hypot(*places.T)):  # the nearest last, on top
        colour = theme.colour_of(int(state.people.ids[i]))
        box = person_box(places[i], float(state.people.radii_m[i]), ground, to_pixels)
        if box is None or box[0] > model.width - 1 or box[2] < 0 or box[1] > model.height - 1 or box[3] < 0:
            continue
        if walking[i]:
            _walk(axes, state, i, colour, ground, to_pixels)
        line = {"lw": 1.8, "alpha": 1.0} if walking[i] else {"lw": 0.9, "alpha": 0.75}
        corner, size = (box[0], box[1]), (box[2] - box[0], box[3] - box[1])
        axes.add_patch(
            FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=1.5", fill=False, edgecolor=colour, zorder=5, **line)
        )
        if walking[i]:
            label = {"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.15", "alpha": 0.9}
            axes.text(
                box[0],
                box[1],
                f"{state.people.ids[i]}",
                color="white",
                fontsize=8,
                fontweight="bold",
                va="bottom",
                bbox=label,
                zorder=6,
                clip_on=True,
            )


def _boxes(axes: Axes, state: SceneState, ground: Terrain, to_pixels: Projection) -> None:
    """Vehicles as upright boxes; those whose corners are not all ahead of the camera are left out."""
    for told in boxed(state):
        if told.kind != "vehicle":
            continue
        here = theme.to_anchor(told.box[:2], state)[None]
        edges = edges_3d(told, state, float(ground.at(here)[0]))
        pixels, depth = to_pixels(edges.reshape(-1, 3))
        if depth.min() < 0.5:
            continue
        colour, lines = colour_of(told), pixels.reshape(-1, 2, 2)
        axes.add_collection(LineCollection(list(lines), colors=[colour], linewidths=1.6 if is_moving(told) else 0.9, zorder=5))
        label = {"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.15", "alpha": 0.9}
        left, top = pixels.min(axis=0)
        axes.text(left, top, label_of(told), color="white", fontsize=7, va="bottom", bbox=label, zorder=6, clip_on=True)


def person_box(place: FloatArray, radius_m: float, ground: Terrain, to_pixels: Projection) -> tuple[float, float, float, float] | None:
    """left, top, right, bottom in pixels of an upright cylinder; None behind the camera."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    rim = place + radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    low = on_ground(rim, ground, 0.0)
    pixels, depth = to_pixels(np.concatenate([low, low + np.array([0, 0, PERSON_HEIGHT_M])]))
    if depth.min() < 0.5:
        return None
    return (*pixels.min(axis=0), *pixels.max(axis=0))


def _walk(axes: Axes, state: SceneState, i: int, colour: str, ground: Terrain, to_pixels: Projection) -> None:
    """The likeliest ways, at the height of the ground where the person is: far ground is seen too sparsely to follow."""
    forecast = state.pedestrians
    here = theme.to_anchor(state.people.positions_m[i], state)[None]
    height_m = float(ground.at(here)[0])
    share = forecast.probabilities[i] / forecast.probabilities[i].max()
    for mode in np.argsort(share)[-5:]:
        way = np.concatenate([here, theme.to_anchor(forecast.modes_m[i, mode], state)])
        way = _dense(way)
        pixels, depth = to_pixels(np.column_stack([way, np.full(len(way), height_m)]))
        ahead = depth > 0.5
        if ahead.sum() > 1:
            axes.plot(
                *pixels[ahead].T,
                color=colour,
                lw=2.4 * share[mode],
                alpha=0.25 + 0.7 * float(share[mode]),
                zorder=4,
                solid_capstyle="round",
            )
