"""Film strips of what moves: the truth, and who predicted it."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from experiments.world_model.prediction import Example
from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.viz.theme import INK, MUTED, PAPER

matplotlib.use("Agg")  # there may be no display
import matplotlib.pyplot as plt

TIMES_S = (0.4, 1.2, 2.4, 4.8)
SHOWN_M = 16.0
METHODS = ("model", "flow", "persistence")
ENTERED, LEFT = "#d1495b", "#0072b2"


def draw_strip(example: Example, dt_s: float, path: Path, title: str) -> None:
    """One row per method, one column per time: probability in grey; true entered cells in red, left ones in blue."""
    rows = ("truth", *METHODS)
    figure, axes = plt.subplots(len(rows), len(TIMES_S), figsize=(2.7 * len(TIMES_S), 2.75 * len(rows)), facecolor=PAPER)
    half = BEV_GRID.rows * BEV_GRID.resolution_m / 2
    for column, time_s in enumerate(TIMES_S):
        step = round(time_s / dt_s)
        moving, occupied = example.moving[step].numpy(), example.occupied[step].numpy() > 0
        for row, name in enumerate(rows):
            axis = axes[row, column]
            shown = occupied.astype(float) if name == "truth" else example.predicted[name][step].numpy()
            axis.imshow(shown.T, cmap="Greys", vmin=0, vmax=1, extent=(-half, half, -half, half), origin="lower", interpolation="nearest")
            for cells, colour in ((moving & occupied, ENTERED), (moving & ~occupied, LEFT)):
                y, x = np.nonzero(cells)
                place = [BEV_GRID.resolution_m * (index + 0.5) - half for index in (y, x)]
                axis.scatter(*place, s=16, marker="s", facecolors="none", edgecolors=colour, linewidths=0.9)
            axis.plot(0, 0, marker="^", color=INK, markersize=6)
            axis.set(xlim=(SHOWN_M, -SHOWN_M), ylim=(-SHOWN_M, SHOWN_M), xticks=[], yticks=[])
            if column == 0:
                axis.set_ylabel(name, color=INK, fontsize=12)
            if row == 0:
                axis.set_title(f"in {time_s:g} s", color=INK, fontsize=12)
    figure.suptitle(title, color=MUTED, fontsize=11)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)
