"""Film strips: how a goal was reached, and grips with what was imagined of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.grip.reach import FIRST_SEED, Reached, draw_trial
from jepa_ros.sim.arm.episodes import LIFT_STEPS, Episodes
from jepa_ros.types import FloatArray
from jepa_ros.viz import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_IN = 1.1  # width of a picture on paper


def draw_reach(trials: list[Reached], path: Path, rows: int = 3) -> None:
    """The first trials, whatever came of them: the goal, then what the camera saw."""
    grid = FilmStrip(rows, trials[0].images.shape[0] + 1)
    for row, (axes, trial) in enumerate(zip(grid.axes, trials, strict=False)):
        _show(axes[0], draw_trial(FIRST_SEED + row).goal_image, "goal image")
        for k, image in enumerate(trial.images):
            _show(axes[k + 1], image, f"{100 * trial.distance_m[k]:.1f} cm")
    grid.save(path)


def draw_grips(test: Episodes, probability: FloatArray, path: Path, rows: int = 3) -> None:
    """The first grips that held and the first that slipped, from the image that the question is asked about to the end of the lift."""
    chosen = test.grips()
    held = test.held[chosen]
    cases = [*np.flatnonzero(held)[:rows], *np.flatnonzero(~held)[:rows]]
    grid = FilmStrip(len(cases), LIFT_STEPS + 1)
    for axes, case in zip(grid.axes, cases, strict=True):
        episode, frame = chosen[case], int(test.grip[chosen[case]])
        for k in range(LIFT_STEPS + 1):
            words = ""
            if k == 0:
                words = f"P(hold) = {probability[case]:.2f}"
            elif k == LIFT_STEPS:
                words = "held" if held[case] else "slipped"
            _show(axes[k], test.images[episode, frame + k], words)
    grid.save(path)


class FilmStrip:
    """Rows of pictures."""

    def __init__(self, rows: int, columns: int) -> None:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        self._plt = plt
        self._figure, self.axes = plt.subplots(
            rows, columns, figsize=(FRAME_IN * columns, (FRAME_IN + 0.22) * rows), squeeze=False, layout="constrained"
        )

    def save(self, path: Path) -> None:
        self._figure.savefig(path, dpi=110)
        self._plt.close(self._figure)


def _show(axes: Axes, image: np.ndarray, words: str) -> None:
    axes.imshow(image)
    axes.set_title(words, fontsize=7.5, color=theme.INK, pad=2)
    axes.axis("off")
