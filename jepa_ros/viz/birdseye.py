"""The bird's-eye view: lidar, occupancy now and later, people with their forecasts, the plan. Anchor frame, forward up."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Circle, FancyArrow, Polygon
from scipy import ndimage

from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import FloatArray, OccupancyForecast, Plan, PlanStatus, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.boxes import draw_above, spread_ellipse

BEHIND_M, AHEAD_M = 9.0, 25.0  # what is shown along x; across, as much as the panel's shape leaves room for
OUTLINE_STEPS = 4  # of a plan, from one drawn footprint to the next
SMOOTHING = 3  # contours are drawn on a grid this much finer


def draw_birdseye(
    axes: Axes, points_m: FloatArray, ground: Terrain, state: SceneState, plan: Plan | None, robot: Footprint | float
) -> None:
    """`points_m`: (N, 3) anchor frame, may be empty. robot: a number is the radius of a disc, m."""
    footprint, box = Footprint.of(robot), axes.get_window_extent()
    half = 0.5 * (BEHIND_M + AHEAD_M) * box.width / box.height
    axes.set_facecolor(theme.PANEL)
    axes.set_xlim(-half, half)
    axes.set_ylim(-BEHIND_M, AHEAD_M)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(theme.GRID)
    _range_rings(axes)
    _points(axes, points_m, ground)
    _occupancy(axes, state.occupancy)
    if plan is not None and len(plan.path) > 1:
        _plan(axes, plan, state, footprint)
    _people(axes, state)
    draw_above(axes, state)
    _robot(axes, footprint)
    _scale_bar(axes)


def _range_rings(axes: Axes) -> None:
    for radius in (5, 10, 15, 20):
        axes.add_patch(Circle((0, 0), radius, fill=False, color=theme.GRID, lw=0.7, ls=(0, (4, 4)), zorder=1))
        angle = np.radians(-38)
        spot = (radius * np.sin(angle), radius * np.cos(angle))
        axes.text(
            *spot, f"{radius} m", color=theme.MUTED, fontsize=7, ha="center", va="center", zorder=6, path_effects=theme.HALO, clip_on=True
        )


def _points(axes: Axes, points_m: FloatArray, ground: Terrain) -> None:
    height = points_m[:, 2] - ground.at(points_m[:, :2])
    visible = (height > 0.15) & (height < 4.0)
    place = theme.upwards(points_m[visible, :2])
    axes.scatter(
        place[:, 0],
        place[:, 1],
        c=height[visible],
        s=1.4,
        cmap=theme.HEIGHT,
        vmin=0.0,
        vmax=2.6,
        alpha=0.7,
        linewidths=0,
        zorder=3,
        rasterized=True,
    )


def _occupancy(axes: Axes, occupancy: OccupancyForecast) -> None:
    """Outlines at even odds: where all four coincide nothing moves; what moves leaves its colours behind."""
    if occupancy.probability.size == 0:
        return
    grid = occupancy.grid
    fine = grid.resolution_m / SMOOTHING
    x = grid.origin_m[0] + fine * (np.arange(grid.columns * SMOOTHING) + 0.5)
    y = grid.origin_m[1] + fine * (np.arange(grid.rows * SMOOTHING) + 0.5)
    moments = list(zip(theme.horizon_steps(occupancy.times_s), theme.HORIZON_COLOURS, strict=False))
    for order, (step, colour) in enumerate(reversed(moments)):  # now on top: later colours show only where something changed
        smooth = ndimage.zoom(occupancy.probability[step], SMOOTHING, order=1, mode="nearest", grid_mode=True)
        if smooth.max() <= 0.5:
            continue
        across, up, value = -y, x, smooth.T
        axes.contourf(across, up, value, levels=[0.5, 1.01], colors=[colour], alpha=0.13, zorder=2.2 + 0.1 * order)
        axes.contour(across, up, value, levels=[0.5], colors=[colour], linewidths=1.0, alpha=0.9, zorder=4 + 0.1 * order)


def _people(axes: Axes, state: SceneState) -> None:
    """Each person as a disc with a label; who walks with forecast and velocity."""
    people = state.people
    places = theme.upwards(theme.to_anchor(people.positions_m, state))
    velocities = theme.upwards(people.velocities_mps @ state.anchor_pose[:2, :2])
    walking = theme.moving(state)
    for i, person in enumerate(people.ids):
        colour = theme.colour_of(int(person))
        belief, speed = float(people.existence[i]), np.hypot(*people.velocities_mps[i])
        if walking[i]:
            _forecast(axes, state, i, colour)
            _arrow(axes, places[i], velocities[i], colour)
            _disc(axes, places[i], people.radii_m[i], colour, belief)
            _label(axes, places[i], f"{person}  {speed:.1f} m/s", colour, size=8.5, weight="bold")
        else:
            _disc(axes, places[i], people.radii_m[i], colour, 0.45 * belief)
            _label(axes, places[i], f"{person}", colour, size=7, weight="normal")


def _arrow(axes: Axes, place: Any, velocity: FloatArray, colour: str) -> None:
    shape: dict[str, Any] = {"width": 0.05, "head_width": 0.45, "head_length": 0.5, "length_includes_head": True}
    axes.add_patch(FancyArrow(*place, *velocity, **shape, color=colour, zorder=9))


def _disc(axes: Axes, place: Any, radius_m: float, colour: str, alpha: float) -> None:
    axes.add_patch(Circle(place, radius_m, facecolor=colour, edgecolor="white", lw=0.8, alpha=alpha, zorder=10))
    axes.add_patch(Circle(place, radius_m, fill=False, edgecolor=colour, lw=1.1, zorder=11))


def _label(axes: Axes, place: Any, text: str, colour: str, size: float, weight: str) -> None:
    look: dict[str, Any] = {"fontsize": size, "fontweight": weight, "color": colour, "path_effects": theme.HALO, "zorder": 13}
    axes.annotate(text, place, xytext=(7, -9), textcoords="offset points", **look, annotation_clip=True, clip_on=True)


def _forecast(axes: Axes, state: SceneState, i: int, colour: str) -> None:
    forecast = state.pedestrians
    now = theme.to_anchor(state.people.positions_m[i], state)
    modes = theme.to_anchor(forecast.modes_m[i], state)  # (K, H, 2)
    share = forecast.probabilities[i] / forecast.probabilities[i].max()
    lines = theme.upwards(np.concatenate([np.broadcast_to(now, (len(modes), 1, 2)), modes], axis=1))
    rgba = np.tile(np.array(to_rgba(colour)), (len(modes), 1))
    rgba[:, 3] = 0.06 + 0.84 * share**1.2
    order = np.argsort(share)
    axes.add_collection(
        LineCollection(list(lines[order]), colors=rgba[order], linewidths=0.7 + 1.5 * share[order], capstyle="round", zorder=7)
    )
    steps = [k - 1 for k in theme.horizon_steps(np.append(0.0, forecast.times_s)) if k]
    for mode in order[::-1][:3]:
        for step in steps:
            fade = float(share[mode])
            ellipse = spread_ellipse(forecast.covariances_m2[i, mode, step], state)
            ellipse.set(
                center=theme.upwards(modes[mode, step]), facecolor=to_rgba(colour, 0.16 * fade), edgecolor=to_rgba(colour, 0.5 * fade)
            )
            axes.add_patch(ellipse)


def plan_outlines(plan: Plan, state: SceneState, footprint: Footprint) -> list[FloatArray]:
    """(N, 2) the footprint, closed, at some places of the plan and at its end, anchor frame; none for a disc, which the ribbon shows."""
    if footprint.is_round:
        return []
    placed_LN2 = footprint.placed(plan.path[::-OUTLINE_STEPS])
    return [theme.to_anchor(np.concatenate((outline, outline[:1])), state) for outline in placed_LN2]


def plan_ribbon(plan: Plan, state: SceneState, half_width_m: float) -> FloatArray:
    """(2 (L + 1), 2) outline of the strip that the robot sweeps, anchor frame."""
    centre = theme.to_anchor(plan.path[:, :2], state)
    yaw = plan.path[:, 2] - np.arctan2(state.anchor_pose[1, 0], state.anchor_pose[0, 0])
    side = half_width_m * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1)
    return np.concatenate([centre + side, (centre - side)[::-1]])


def _plan(axes: Axes, plan: Plan, state: SceneState, footprint: Footprint) -> None:
    colour = theme.BRAKING if plan.fallback or plan.status != PlanStatus.OK else theme.PLAN
    axes.add_patch(
        Polygon(theme.upwards(plan_ribbon(plan, state, footprint.beside_m)), facecolor=colour, edgecolor="none", alpha=0.22, zorder=5)
    )
    for outline in plan_outlines(plan, state, footprint):
        axes.plot(*theme.upwards(outline).T, color=colour, lw=0.8, alpha=0.7, zorder=6)
    centre = theme.upwards(theme.to_anchor(plan.path[:, :2], state))
    axes.plot(*centre.T, color="white", lw=5, zorder=8, solid_capstyle="round")
    axes.plot(*centre.T, color=colour, lw=3, zorder=8, solid_capstyle="round")
    axes.plot(*centre[-1], marker="o", ms=8, mfc="white", mec=colour, mew=2.4, zorder=8)


def _robot(axes: Axes, footprint: Footprint) -> None:
    """The footprint that was planned for, under an arrow that is large enough to be seen."""
    shape = Circle((0, 0), footprint.radius_m) if footprint.is_round else Polygon(theme.upwards(footprint.outline_N2))
    shape.set(facecolor=to_rgba(theme.INK, 0.15), edgecolor=theme.INK, lw=1.2, zorder=12)
    axes.add_patch(shape)
    arrow = np.array([(0.0, 1.0), (0.62, -0.72), (0.0, -0.38), (-0.62, -0.72)])
    axes.add_patch(Polygon(arrow, facecolor=theme.INK, edgecolor="white", lw=1.4, joinstyle="round", zorder=13))


def _scale_bar(axes: Axes, length_m: float = 5.0) -> None:
    left, bottom = axes.get_xlim()[0] + 1.0, axes.get_ylim()[0] + 1.1
    axes.plot([left, left + length_m], [bottom, bottom], color=theme.INK, lw=2.5, solid_capstyle="butt", zorder=14)
    axes.text(
        left + length_m / 2,
        bottom + 0.35,
        f"{length_m:.0f} m",
        ha="center",
        va="bottom",
        fontsize=8,
        color=theme.INK,
        path_effects=theme.HALO,
        zorder=14,
    )
