"""Vehicles and cyclists as oriented boxes: seen from above, and in the camera's image."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Ellipse, Polygon

from jepa_ros.objects.scene.objects import SceneObject, objects_of
from jepa_ros.objects.vehicles.boxes import corners, moved
from jepa_ros.types import FloatArray, SceneState
from jepa_ros.viz import theme

VEHICLE = "#a16207"  # people have colours of their own, by id
LARGEST_M = 3.0  # a larger half axis of a 1-sigma ellipse is drawn so long, and the legend says so
LIKELY = 0.05  # modes that are less likely are not drawn
FLIP = np.array([[0.0, -1.0], [1.0, 0.0]])  # from the anchor frame to a panel that shows forward up
_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))


def boxed(state: SceneState) -> list[SceneObject]:
    """The objects that have a front: vehicles and cyclists."""
    return [told for told in objects_of(state) if told.kind != "person"]


def is_moving(told: SceneObject) -> bool:
    """Whether it is drawn with its forecast."""
    return bool(np.hypot(*told.velocity_mps) >= theme.STANDING_MPS)


def colour_of(told: SceneObject) -> str:
    """Vehicles look alike, a cyclist has the colour of its id."""
    return VEHICLE if told.kind == "vehicle" else theme.colour_of(told.id)


def label_of(told: SceneObject) -> str:
    """The label of a vehicle."""
    speed = float(np.hypot(*told.velocity_mps))
    return f"{told.kind}  {speed:.1f} m/s" if is_moving(told) else told.kind


def draw_above(axes: Axes, state: SceneState) -> None:
    """Boxes with their fronts marked, in a panel that shows forward up; vehicles also with what is said of them, and their forecasts."""
    inverse = np.linalg.inv(state.anchor_pose)
    for told in boxed(state):
        colour, moves = colour_of(told), is_moving(told)
        box = moved(told.box[None], inverse)
        outline = theme.upwards(corners(box)[0])
        alpha = (0.55 if moves else 0.3) * told.existence
        axes.add_patch(Polygon(outline, facecolor=to_rgba(colour, alpha), edgecolor=colour, lw=1.5, zorder=9))
        front = 0.5 * (outline[0] + outline[3])
        if moves:
            axes.add_patch(
                Polygon([outline[0], outline[3], 0.45 * front + 0.55 * outline.mean(axis=0)], facecolor=colour, lw=0, zorder=9.5)
            )
        if told.kind == "vehicle":
            if moves:
                draw_forecast(axes, told, state, colour)
            axes.annotate(
                label_of(told),
                outline.mean(axis=0),
                xytext=(9, 7),
                textcoords="offset points",
                fontsize=8,
                color=colour,
                path_effects=theme.HALO,
                zorder=13,
                annotation_clip=True,
                clip_on=True,
            )


def draw_forecast(axes: Axes, told: SceneObject, state: SceneState, colour: str) -> None:
    """Its likely ways, and ellipses where it may be at the moments that the panels show."""
    share = told.probabilities / told.probabilities.max()
    modes = theme.to_anchor(told.poses[..., :2], state)
    here = np.broadcast_to(theme.to_anchor(told.box[:2], state), (len(modes), 1, 2))
    lines = theme.upwards(np.concatenate([here, modes], axis=1))
    shown = [mode for mode in np.argsort(share) if told.probabilities[mode] >= LIKELY]
    colours = [to_rgba(colour, 0.15 + 0.75 * float(share[mode])) for mode in shown]
    axes.add_collection(LineCollection([lines[mode] for mode in shown], colors=colours, linewidths=1.8, zorder=7))
    for step in (k - 1 for k in theme.horizon_steps(np.append(0.0, told.times_s)) if k):
        for mode in shown:
            ellipse = spread_ellipse(told.covariances_m2[mode, step], state)
            ellipse.set(center=theme.upwards(modes[mode, step]), facecolor=to_rgba(colour, 0.1 * share[mode]))
            ellipse.set_edgecolor(to_rgba(colour, 0.5 * float(share[mode])))
            axes.add_patch(ellipse)


def spread_ellipse(covariance_m2: FloatArray, state: SceneState) -> Ellipse:
    """The 1-sigma ellipse of a covariance in odom around the middle of a panel that shows forward up; no half axis above LARGEST_M."""
    rotation = state.anchor_pose[:2, :2]
    values, vectors = np.linalg.eigh(FLIP @ rotation.T @ covariance_m2 @ rotation @ FLIP.T)
    width, height = 2 * np.minimum(np.sqrt(np.maximum(values, 0.0)), LARGEST_M)
    return Ellipse((0.0, 0.0), width, height, angle=float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))), lw=0.6, zorder=6)


def is_capped(state: SceneState) -> bool:
    """Whether any ellipse of what moves is larger than it is drawn."""
    moments = [np.asarray(part.covariances_m2) for part in (state.pedestrians, state.vehicle_forecast)]
    return any(part.size > 0 and float(np.linalg.eigvalsh(part)[..., -1].max()) > LARGEST_M**2 for part in moments)


def edges_3d(told: SceneObject, state: SceneState, ground_m: float) -> FloatArray:
    """(12, 2, 3) edges of the upright box in the anchor frame, on ground of that height."""
    flat = corners(moved(told.box[None], np.linalg.inv(state.anchor_pose)))[0]
    low = np.column_stack((flat, np.full(4, ground_m)))
    both = np.concatenate((low, low + np.array([0.0, 0.0, told.height_m])))
    return both[np.array(_EDGES)]
