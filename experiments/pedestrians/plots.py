"""Pictures of the pedestrian bench: are the predicted probabilities right, and what do forecasts look like?"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from experiments.pedestrians.metrics import RANK_SAMPLES
from jepa_ros.protocols import Forecaster
from jepa_ros.training.forecaster.data import RECORDINGS_OF_SCENE, SCENES, Recording, TrackTable, table_of
from jepa_ros.training.forecaster.worlds import CELL_M, World
from jepa_ros.types import PedestrianForecast, Tracks

matplotlib.use("Agg")  # there may be no display
import matplotlib.pyplot as plt

HALF_WIDTH_M = 8.0


def draw_reliability(ranks: dict[float, dict[str, np.ndarray]], path: Path) -> None:
    """Share of steps whose truth lies in the highest-density region of each nominal mass, by scene; one panel per jitter."""
    levels = np.arange(1, RANK_SAMPLES + 1) / (RANK_SAMPLES + 1)  # where the estimate from that many draws is unbiased
    figure, axes = plt.subplots(1, len(ranks), figsize=(5 * len(ranks), 4.6), sharey=True, squeeze=False)
    for axis, (noise, scenes) in zip(axes[0], ranks.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
        for scene, values in scenes.items():
            axis.plot(levels, [(values <= level).mean() for level in levels], label=scene)
        axis.set(title=f"{100 * noise:g} cm jitter", xlabel="mass of the predicted region", xlim=(0, 1), ylim=(0, 1))
        axis.set_aspect("equal")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("share of truths inside")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_examples(recordings: dict[str, Recording], learned: dict[str, Forecaster], path: Path, per_scene: int = 2) -> None:
    """The busiest windows of each scene, forecast by the network that has not seen the scene."""
    figure, axes = plt.subplots(per_scene, len(SCENES), figsize=(4 * len(SCENES), 4 * per_scene), squeeze=False)
    for column, scene in enumerate(SCENES):
        table = table_of(recordings[RECORDINGS_OF_SCENE[scene][0]], complete_only=True)
        instants, counts = np.unique(table.instant[table.complete], return_counts=True)
        third = np.array_split(np.arange(len(instants)), per_scene)
        for row in range(per_scene):
            part = third[row]
            instant = instants[part][counts[part].argmax()]
            rows = np.flatnonzero(table.instant == instant)
            forecast = learned[scene].predict(Tracks(table.history_m[rows].astype(float), table.seen[rows], 0.4))
            _draw_instant(axes[row, column], table, rows, forecast)
            axes[row, column].set_title(f"{scene}, instant {instant}")
    figure.suptitle("black: seen, blue: what they then did, red: most likely, orange: the other modes by their probability")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_instant(axis: plt.Axes, table: TrackTable, rows: np.ndarray, forecast: PedestrianForecast) -> None:
    centre = np.median(table.history_m[rows, -1], axis=0)
    best = forecast.most_likely()
    for person, row in enumerate(rows):
        seen, known = table.seen[row], table.known[row]
        now = table.history_m[row, -1:]
        for mode, probability in zip(forecast.modes_m[person], forecast.probabilities[person], strict=True):
            strength = float(np.clip(4 * probability, 0.05, 0.9))
            axis.plot(*np.concatenate((now, mode)).T, color="tab:orange", alpha=strength, linewidth=0.5 + 3 * probability)
        axis.plot(*np.concatenate((now, best[person])).T, color="tab:red", linewidth=1.4)
        axis.plot(*table.history_m[row][seen].T, color="black", linewidth=1.2)
        axis.plot(*np.concatenate((now, table.future_m[row][known])).T, color="tab:blue", linewidth=1.2)
        axis.plot(*now[0], "o", color="black", markersize=3)
    axis.set(xlim=(centre[0] - HALF_WIDTH_M, centre[0] + HALF_WIDTH_M), ylim=(centre[1] - HALF_WIDTH_M, centre[1] + HALF_WIDTH_M))
    axis.set_aspect("equal")


def draw_scenes(cases: list[tuple[World, int]], learned: Forecaster, path: Path) -> None:
    """An instant of each simulated place, forecast from tracks alone (above) and with scene latents; obstacles are grey."""
    figure, axes = plt.subplots(2, len(cases), figsize=(4.5 * len(cases), 9.4), squeeze=False)
    for column, (world, instant) in enumerate(cases):
        table = world.table(0)
        rows = np.flatnonzero(table.instant == instant)
        tracks = Tracks(table.history_m[rows].astype(float), table.seen[rows], 0.4)
        high = world.origin_m + CELL_M * np.array(world.distance_cm.shape[::-1])
        for row, scene in enumerate((None, world.scene(instant))):
            axis = axes[row, column]
            extent = (world.origin_m[0], high[0], world.origin_m[1], high[1])
            axis.imshow(world.distance_cm <= 0, cmap="Greys", vmin=0, vmax=2.2, origin="lower", extent=extent, interpolation="nearest")
            _draw_instant(axis, table, rows, learned.predict(tracks, scene))
            axis.set_title(f"{world.name}: {'tracks alone' if scene is None else 'scene latents'}")
    figure.suptitle("black: seen, blue: what they then did, red: most likely, orange: the other modes by their probability")
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)
