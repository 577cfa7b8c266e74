"""A film of a bag: the camera's view and the map, with predicted occupancy, people and their forecasts, and a plan, frame by frame.

    python -m jepa_ros.viz.film BAG film.gif

A new plan is made in every frame, to where the robot really was some seconds later: the film shows what would have been driven.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from tqdm import tqdm

from jepa_ros.objects.scene.cells import with_movers
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.planning import Planner
from jepa_ros.planning.footprint import Footprint
from jepa_ros.sensing import anchor_points, open_bag
from jepa_ros.sensing.terrain import Terrain
from jepa_ros.types import NANOSECONDS, FloatArray, Observation, Plan, SceneState
from jepa_ros.viz import theme
from jepa_ros.viz.birdseye import draw_birdseye
from jepa_ros.viz.camera import VIRTUAL, draw_camera

WIDTH_PX, HEIGHT_PX, DPI = 720, 330, 54
LOOK_AHEAD_S = 4.0  # how much later the robot's recorded place is the goal
PLANNING_S = 30.0  # as long as it takes: nobody waits
COLOURS = 56  # of the GIF, beside those that mean something
NOISE = 12  # of 255: a pixel that changes less stays as it is


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m jepa_ros.viz.film", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("bag", type=Path, help="MCAP or SQLite3 bag with a lidar or a camera, and odometry")
    parser.add_argument("out", type=Path, help="the film: .gif")
    parser.add_argument("--model", default="scene_jepa", help="back-end (default: %(default)s)")
    parser.add_argument("--skip", type=float, default=2.0, help="seconds at the beginning that are not shown (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=5.0, help="most frames a second (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        frames = list(film(list(open_bag(args.bag)), args.model, args.skip, args.seconds, args.rate))
    except ValueError as error:
        print(f"film: {error}", file=sys.stderr)
        return 2
    save_gif(frames, args.out, args.rate)
    print(f"{args.out}: {len(frames)} frames, {args.out.stat().st_size / 1e6:.2f} MB")
    return 0


def film(observations: Sequence[Observation], model: str, skip_s: float, seconds: float, rate_hz: float) -> Iterable[Image.Image]:
    """Steps through all observations and yields a picture of those within the film. Raises ValueError where none is."""
    begin_ns = observations[0].stamp_ns + round(skip_s * NANOSECONDS) if observations else 0
    last_ns = begin_ns + round(seconds * NANOSECONDS)
    shown = [observation for observation in observations if begin_ns <= observation.stamp_ns <= last_ns]
    if not shown:
        raise ValueError(f"the bag has no observation later than {skip_s} s after its beginning; give a smaller --skip")
    pipeline, planner = WorldModelPipeline.load(model), Planner()
    next_ns = begin_ns
    for observation in tqdm([each for each in observations if each.stamp_ns <= last_ns], unit="frame"):
        state = pipeline.step(observation)
        if observation.stamp_ns < next_ns:
            continue
        next_ns = observation.stamp_ns + round(0.95 * NANOSECONDS / rate_hz)
        plan = planner.plan(state, recorded_goal(observations, observation), PLANNING_S) if state.occupancy.probability.size else None
        yield draw_frame(observation, with_movers(state), plan)


def recorded_goal(observations: Sequence[Observation], now: Observation) -> FloatArray:
    """(x m, y m, NaN) in odom: where the robot was LOOK_AHEAD_S later, or at the end of the bag."""
    wanted_ns = now.stamp_ns + round(LOOK_AHEAD_S * NANOSECONDS)
    later = min(observations, key=lambda observation: abs(observation.stamp_ns - wanted_ns))
    return np.array([*later.ego.odom_from_base[:2, 3], np.nan])


def draw_frame(observation: Observation, state: SceneState, plan: Plan | None, robot: Footprint | float = 0.4) -> Image.Image:
    """One picture, 720 x 330: the camera on the left, the map on the right."""
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor=theme.PAPER)
    canvas = FigureCanvasAgg(figure)
    points_m = anchor_points(observation)
    ground = Terrain.fit(points_m, observation.ground_height_m)
    draw_birdseye(figure.add_axes((0.575, 0.02, 0.415, 0.96)), points_m, ground, state, plan, robot)
    models = [camera.model for camera in observation.cameras] or [VIRTUAL]
    width = 0.55
    height = width * WIDTH_PX / HEIGHT_PX * max(model.height / model.width for model in models)
    room = 0.74  # between the words and the legend
    height = min(height, room)
    camera = figure.add_axes((0.012, 0.16 + 0.5 * (room - height), width, height))
    draw_camera(camera, observation, points_m, ground, state, plan, robot)
    _words(figure, observation, state, plan)
    _legend(figure.add_axes((0.012, 0.02, width, 0.13)), state)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _words(figure: Figure, observation: Observation, state: SceneState, plan: Plan | None) -> None:
    figure.text(0.012, 0.945, "jepa_ros", fontsize=16, fontweight="bold", color=theme.INK, va="center")
    status = "no plan" if plan is None else f"plan: {plan.status.name}"
    surprise = "" if np.isnan(state.surprise) else f"surprise {state.surprise:.2f}     "
    text = f"{len(state.people.ids)} people     {surprise}{status}"
    figure.text(0.562, 0.945, text, fontsize=11, color=theme.MUTED, va="center", ha="right")


def _legend(axes: Axes, state: SceneState) -> None:
    axes.axis("off")
    times_s = state.occupancy.times_s
    entries: list[Line2D | Patch] = []
    for step, colour in zip(theme.horizon_steps(times_s), theme.HORIZON_COLOURS, strict=False):
        name = "occupied now" if step == 0 else f"in {times_s[step]:.1f} s"
        entries.append(Patch(facecolor=to_rgba(colour, 0.2), edgecolor=colour, label=name))
    entries.append(Line2D([], [], color=theme.PEOPLE[0], marker="o", lw=1.5, mec="white", label="person, forecasts"))
    entries.append(Line2D([], [], color=theme.PLAN, lw=3, label="plan"))
    axes.legend(handles=entries, loc="center", ncol=6, fontsize=9.5, frameon=False, columnspacing=1.2, handlelength=1.4, borderpad=0)


def save_gif(frames: Sequence[Image.Image], path: Path, rate_hz: float) -> None:
    """Small enough for a front page: one palette, no dithering, and pixels that change less than noise does keep their colour."""
    palette = _palette(frames)
    shown, images = np.asarray(frames[0]).astype(np.int16), []
    for frame in frames:
        pixels = np.asarray(frame).astype(np.int16)
        shown = np.where(np.abs(pixels - shown).max(axis=-1, keepdims=True) < NOISE, shown, pixels)
        images.append(Image.fromarray(shown.astype(np.uint8)).quantize(palette=palette, dither=Image.Dither.NONE))
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / rate_hz), loop=0, optimize=False)


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """The colours that mean something, exactly; beside them the most frequent ones of a few frames."""
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, min(len(frames), 6)).astype(int)]
    sample = Image.fromarray(np.concatenate([np.asarray(frame) for frame in chosen])).quantize(COLOURS, Image.Quantize.MEDIANCUT)
    frequent = (sample.getpalette() or [])[: 3 * COLOURS]
    meant = [to_rgb(colour) for colour in (theme.PLAN, theme.BRAKING, theme.PAPER, theme.PANEL, *theme.HORIZON_COLOURS, *theme.PEOPLE)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([round(255 * part) for colour in meant for part in colour] + frequent)
    return palette


if __name__ == "__main__":
    sys.exit(main())
