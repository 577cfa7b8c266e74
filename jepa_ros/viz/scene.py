"""scene.png: the camera's view and the bird's-eye view of one moment, with all that is predicted and planned."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing import anchor_points
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import Observation, Plan, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import draw_birdseye
from jepa_ros.viz.boxes import LARGEST_M, VEHICLE, is_capped
from jepa_ros.viz.camera import VIRTUAL, draw_camera
from jepa_ros.viz.strip import draw_moment, draw_timings, summary

WIDTH_PX, HEIGHT_PX, DPI = 1920, 1080, 120
LEFT, RIGHT, GAP = 0.018, 0.985, 0.016
TOP, BOTTOM = 0.875, 0.135  # of the camera's view and the moments, in figure units
HEADROOM = 0.085  # above the moments, for their titles


def draw_scene(
    observation: Observation, state: SceneState, plan: Plan | None, path: str | Path, robot: Footprint | float = 0.4, note: str = ""
) -> None:
    """Write the picture of one moment to `path` (PNG, 1920 x 1080).

    `state` belongs to `observation`; a plan, a camera, a lidar sweep and people may each be missing.
    `robot`: the footprint that the plan was made for; a number is the radius of a disc, m. `note`: said in the head, such as how many
    frames were dropped.
    """
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor=theme.PAPER)
    FigureCanvasAgg(figure)
    points_m = anchor_points(observation)
    ground = Terrain.fit(points_m, observation.ground_height_m)

    models = [camera.model for camera in observation.cameras] or [VIRTUAL]
    aspect = max(model.width / model.height for model in models)
    # The left half is as wide as lets the camera's view and four square moments fill its height.
    width = (TOP - BOTTOM - HEADROOM) * HEIGHT_PX / WIDTH_PX / (1 / aspect + 1 / 4)
    width = min(max(width, 0.40), 0.57)
    birdseye = figure.add_axes((LEFT + width + GAP, 0.03, RIGHT - LEFT - width - GAP, 0.94))
    draw_birdseye(birdseye, points_m, ground, state, plan, robot)
    _legend(birdseye, state, plan)
    camera = figure.add_axes((LEFT, TOP - 0.1, width, 0.1))
    draw_camera(camera, observation, points_m, ground, state, plan, robot)
    ceiling = _fit(camera, width)
    _moments(figure, state, width, ceiling)
    if state.timings_ms:
        draw_timings(figure.add_axes((LEFT, 0.03, width, 0.08)), state)
    _headline(figure, state, plan, note, LEFT + width)
    figure.savefig(path, dpi=DPI, facecolor=theme.PAPER)


def _fit(camera: Axes, width: float) -> float:
    """Give the camera's axes the shape of its image, at the top of the left half; returns the lower edge in figure units."""
    aspect = abs(np.diff(camera.get_xlim())[0] / np.diff(camera.get_ylim())[0])
    height = width * WIDTH_PX / HEIGHT_PX / aspect
    shrink = min(1.0, 0.47 / height)
    camera.set_position((LEFT + 0.5 * width * (1 - shrink), TOP - shrink * height, shrink * width, shrink * height))
    return TOP - shrink * height


def _moments(figure: Figure, state: SceneState, width: float, ceiling: float) -> None:
    """The strip of occupancy panels between the camera's view and the timings."""
    steps = theme.horizon_steps(state.occupancy.times_s)
    side = min((width - 0.008 * (len(steps) - 1)) / len(steps), (ceiling - HEADROOM - BOTTOM) * HEIGHT_PX / WIDTH_PX)
    height = side * WIDTH_PX / HEIGHT_PX
    bottom = BOTTOM + 0.5 * (ceiling - HEADROOM - BOTTOM - height)
    spread = (width - side * len(steps)) / max(len(steps) - 1, 1)
    for k, (step, colour) in enumerate(zip(steps, theme.HORIZON_COLOURS, strict=False)):
        axes = figure.add_axes((LEFT + k * (side + spread), bottom, side, height))
        draw_moment(axes, state, step, colour)
    figure.text(LEFT, bottom + height + 0.035, "Predicted occupancy", fontsize=10, fontweight="bold", color=theme.INK, va="bottom")


def _headline(figure: Figure, state: SceneState, plan: Plan | None, note: str, right: float) -> None:
    """right: where the map begins, in figure units."""
    moment = datetime.fromtimestamp(state.stamp_s, tz=timezone.utc)
    figure.text(LEFT, 0.965, "jepa_ros", fontsize=17, fontweight="bold", color=theme.INK, va="center")
    words = f"{' + '.join(state.sensors)}     {moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 100000} UTC"
    words += f"     {note}" if note else ""
    _say(figure, LEFT + 0.085, 0.963, words, right, theme.MUTED)
    for line, height in zip(summary(state, plan), (0.928, 0.9), strict=True):
        _say(figure, LEFT, height, line, right, theme.INK)


def _say(figure: Figure, x: float, y: float, words: str, right: float, colour: str) -> Text:
    """One line, in smaller letters where it would reach beyond `right`."""
    text = figure.text(x, y, words, fontsize=9.5, color=colour, va="center")
    room, needed = (right - x) * figure.bbox.width, text.get_window_extent().width
    if needed > room:
        text.set_fontsize(9.5 * room / needed)
    return text


def _cap(state: SceneState) -> str:
    return f", drawn up to {LARGEST_M:.0f} m" if is_capped(state) else ""


def _legend(axes: Axes, state: SceneState, plan: Plan | None) -> None:
    times = state.occupancy.times_s
    entries: list[Line2D | Patch] = []
    for step, colour in zip(theme.horizon_steps(times), theme.HORIZON_COLOURS, strict=False):
        name = "occupied now" if step == 0 else f"occupied in {times[step]:.1f} s"
        entries.append(Patch(facecolor=to_rgba(colour, 0.2), edgecolor=colour, label=name))
    person = theme.PEOPLE[0]
    later = ", ".join(f"{times[step]:.1f}" for step in theme.horizon_steps(times)[1:]) + " s"
    entries.append(Line2D([], [], color=person, marker="o", lw=1.5, mec="white", label="person, forecast modes"))
    entries.append(Line2D([], [], color=person, marker="o", lw=0, mfc="none", alpha=0.6, ms=9, label=f"1 sigma at {later}{_cap(state)}"))
    if len(state.vehicles):
        entries.append(Patch(facecolor=to_rgba(VEHICLE, 0.4), edgecolor=VEHICLE, label="vehicle; its front is marked when it moves"))
    if plan is not None and len(plan.path) > 1:
        entries.append(
            Line2D([], [], color=theme.BRAKING if plan.fallback else theme.PLAN, lw=3, label="braking" if plan.fallback else "plan")
        )
    legend = axes.legend(
        handles=entries,
        loc="upper left",
        fontsize=8,
        frameon=True,
        framealpha=0.9,
        edgecolor=theme.GRID,
        borderpad=0.7,
        labelcolor=theme.INK,
    )
    legend.set_zorder(20)
