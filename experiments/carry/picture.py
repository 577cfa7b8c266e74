"""Film strips of grips, with what was imagined of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.carry.hold import Told
from jepa_ros.sim.carry.arm import VIEWS
from jepa_ros.sim.carry.episodes import GRIP_FRAME, MOTION_STEPS, NO_GRIP, Episodes
from jepa_ros.viz import theme


def draw_grips(test: Episodes, told: Told, path: Path, rows: int = 3) -> None:
    """The first grips that some motions keep and others lose: of each a motion that keeps it and one that does not.

    Above each image the probability, imagined when the fingers had closed, that the grip holds so far.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    chosen = np.flatnonzero(test.grip != NO_GRIP)
    decided = [name for name in np.unique(told.grip) if 0 < told.held[told.grip == name].mean() < 1][:rows]
    cases = [int(np.flatnonzero((told.grip == name) & (told.held == held))[0]) for name in decided for held in (True, False)]
    figure, grid = plt.subplots(
        len(cases), MOTION_STEPS + 1, figsize=(7.7, (1.05 * len(VIEWS) + 0.2) * len(cases)), squeeze=False, layout="constrained"
    )
    for row, case in zip(grid, cases, strict=True):
        for k, axes in enumerate(row):
            words = f"{told.steps_KL[case, k - 1]:.2f}" if k else "held" if told.held[case] else "lost"
            axes.imshow(np.concatenate(test.images[chosen[case], GRIP_FRAME + k], axis=0))
            axes.set_title(words, fontsize=7.5, color=theme.INK, pad=2)
            axes.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)
