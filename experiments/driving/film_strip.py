"""Film strips: the same episode driven by two methods, moment by moment, from above."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from matplotlib.transforms import Affine2D

from experiments.driving.drive import Outcome, Trace
from experiments.driving.methods import TICK_S
from experiments.driving.worlds import ROBOT_RADIUS_M, Episode, World, make_world
from jepa_ros.sim.people.social_force import RADIUS_M
from jepa_ros.sim.people.traffic import KINDS

FRAMES = 6
TRAIL_TICKS = 10
ROBOT, PERSON, PLAN, WALL = "#1d4ed8", "#b45309", "#60a5fa", "#334155"


def draw_film(episode: Episode, tracks: Path | None, traces: dict[str, Trace], results: dict[str, Outcome], path: Path) -> None:
    """One row a method; the moments are spread over its drive, the last one is its end (or its first contact)."""
    world = make_world(episode, tracks)
    figure, rows = plt.subplots(len(traces), FRAMES, figsize=(3.0 * FRAMES, 3.2 * len(traces)), squeeze=False)
    for axes_row, (method, trace) in zip(rows, traces.items(), strict=True):
        end = trace.contacts[0][0] if trace.contacts else len(trace.robot) - 1
        for axes, tick in zip(axes_row, np.linspace(0, end, FRAMES).astype(int), strict=True):
            _draw_moment(axes, world, trace, int(tick))
            axes.set_title(f"{tick * TICK_S:.1f} s", fontsize=9)
        outcome = results[method]
        said = "arrived" if outcome.reached else "did not arrive"
        faults = f"\nran into: {', '.join(outcome.at_fault_with)}" if outcome.at_fault else ""
        axes_row[0].set_ylabel(f"{method}\n{said} after {outcome.time_s:.1f} s{faults}", fontsize=8)
    figure.suptitle(f"{episode.place}, {episode.density} density, seed {episode.seed}", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_moment(axes: Axes, world: World, trace: Trace, tick: int) -> None:
    obstacles = world.simulation.layout.obstacles
    for start, end in obstacles.segments_m:
        axes.plot(*zip(start, end, strict=True), color=WALL, lw=1.4)
    for x, y, radius in obstacles.discs_m:
        axes.add_patch(Circle((x, y), radius, color=WALL))
    for name, (x, y, yaw) in trace.vehicles[tick]:
        kind = KINDS[name]
        box = Rectangle((-kind.half_length_m, -kind.half_width_m), 2 * kind.half_length_m, 2 * kind.half_width_m, fc="#94a3b8", ec=WALL)
        box.set_transform(Affine2D().rotate(yaw).translate(x, y) + axes.transData)
        axes.add_patch(box)
    for place in trace.people[tick]:
        axes.add_patch(Circle(tuple(place), RADIUS_M, color=PERSON))
    trail = np.array(trace.robot[max(0, tick - TRAIL_TICKS) : tick + 1])
    axes.plot(trail[:, 0], trail[:, 1], color=ROBOT, lw=1.2)
    if len(trace.plans[tick]):
        axes.plot(*trace.plans[tick].T, color=PLAN, lw=1.8)
    axes.add_patch(Circle(tuple(trail[-1, :2]), ROBOT_RADIUS_M, color=ROBOT))
    axes.plot(*world.goal_m, marker="*", ms=11, color="#16a34a")
    start = trace.robot[0][:2]
    middle, half = 0.5 * (start + world.goal_m), 0.5 * np.linalg.norm(world.goal_m - start) + 3.0
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
