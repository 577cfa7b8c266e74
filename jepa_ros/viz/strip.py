"""Small panels: the occupancy forecast moment by moment, what each stage cost, and the numbers of the scene."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle

from jepa_ros.types import Plan, PlanStatus, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import AHEAD_M, BEHIND_M

PROBABILITY = LinearSegmentedColormap.from_list("probability", ["#ffffff", "#dbeafe", "#60a5fa", "#1d4ed8", "#172554"])
STAGES = ("#0284c7", "#0d9488", "#65a30d", "#d97706", "#be123c", "#7c3aed", "#64748b")


def draw_moment(axes: Axes, state: SceneState, step: int, colour: str) -> None:
    """Occupancy probability at one step, forward up, with where the people most likely are then."""
    occupancy = state.occupancy
    moment_s = float(occupancy.times_s[step])
    axes.set_title("now" if step == 0 else f"+{moment_s:.1f} s", color=colour, fontsize=10, fontweight="bold", pad=4)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.6)
    grid = occupancy.grid
    if occupancy.probability.size == 0:
        axes.text(
            0.5, 0.5, "this model has\nno occupancy", ha="center", va="center", transform=axes.transAxes, color=theme.MUTED, fontsize=8
        )
        return
    x0, y0 = grid.origin_m
    x1, y1 = x0 + grid.columns * grid.resolution_m, y0 + grid.rows * grid.resolution_m
    # Rows run to the left and columns forward: transposed and mirrored, forward is up.
    axes.imshow(
        occupancy.probability[step].T[:, ::-1],
        cmap=PROBABILITY,
        vmin=0,
        vmax=1,
        origin="lower",
        extent=(-y1, -y0, x0, x1),
        interpolation="nearest",
    )
    where = state.people.positions_m if step == 0 else _positions_at(state, moment_s)
    for place, person, walks in zip(theme.upwards(theme.to_anchor(where, state)), state.people.ids, theme.moving(state), strict=True):
        if walks:
            axes.plot(*place, marker="o", ms=4, mfc=theme.colour_of(int(person)), mec="white", mew=0.6, clip_on=True)
    axes.plot(0, 0, marker="^", ms=5, color=theme.INK, mec="white", mew=0.6)
    half = 0.5 * (BEHIND_M + AHEAD_M)
    axes.set_xlim(-half, half)
    axes.set_ylim(-BEHIND_M, AHEAD_M)


def _positions_at(state: SceneState, moment_s: float) -> np.ndarray:
    if not len(state.people.ids):  # a message without people does not say the times either
        return state.people.positions_m
    step = int(np.abs(state.pedestrians.times_s - moment_s).argmin())
    return state.pedestrians.most_likely()[:, step]


def draw_timings(axes: Axes, state: SceneState) -> None:
    """One bar of all the work of a step, cut by stages. Some of them run at the same time."""
    axes.axis("off")
    total = sum(state.timings_ms.values())
    axes.set_xlim(0, max(total, 1e-3))
    axes.set_ylim(-1.25, 1.05)
    left = 0.0
    shown = [(name, spent) for name, spent in state.timings_ms.items() if spent > 0]
    colours = STAGES * (1 + len(shown) // len(STAGES))
    for (_, spent), colour in zip(shown, colours, strict=False):
        axes.add_patch(Rectangle((left, 0), spent, 0.55, facecolor=colour, edgecolor="white", lw=1))
        if spent > 0.1 * total:
            axes.text(left + spent / 2, 0.27, f"{spent:.0f}", ha="center", va="center", color="white", fontsize=8, fontweight="bold")
        left += spent
    axes.text(0, 0.72, f"work of a step: {total:.0f} ms", fontsize=9, fontweight="bold", color=theme.INK, va="bottom")
    labels = [
        axes.text(0, -0.45, f"{name} {spent:.1f}", fontsize=7.5, color=colour, va="center")
        for (name, spent), colour in zip(shown, colours, strict=False)
    ]
    widths = [label.get_window_extent().width / axes.bbox.width * max(total, 1e-3) for label in labels]
    gap = (max(total, 1e-3) - sum(widths)) / max(len(labels) - 1, 1)
    for k, label in enumerate(labels):
        label.set_x(sum(widths[:k]) + k * gap)


def summary(state: SceneState, plan: Plan | None) -> tuple[str, str]:
    """The numbers in words: people and surprise; the plan."""
    walking = int(theme.moving(state).sum())
    surprise = "surprise: no prediction came due" if np.isnan(state.surprise) else f"surprise {state.surprise:.2f}"
    scene = f"{len(state.people.ids)} people tracked, {walking} of them moving"
    if len(state.vehicles):
        driving = int((np.hypot(*state.vehicles.velocities_mps.T) >= theme.STANDING_MPS).sum())
        scene += f"   ·   {len(state.vehicles)} vehicles, {driving} moving"
    scene += f"   ·   {surprise}"
    if plan is None:
        return scene, "no plan for this moment"
    kind = "braking" if plan.fallback else "plan"
    words = f"{kind}: {PlanStatus(plan.status).name}"
    if np.isfinite(plan.planning_time_s):
        words += f", planned in {1e3 * plan.planning_time_s:.0f} ms"
    return scene, f"{words}   ·   collision probability {plan.collision_probability:.3f}"
