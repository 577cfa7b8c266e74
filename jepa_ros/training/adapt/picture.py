"""The report as one picture: figures by step above, one held-out instant below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jepa_ros.backends.bev import BEV_GRID
from jepa_ros.backends.scene_jepa.model import SceneJepa
from jepa_ros.training.adapt.judge import Scores, predict
from jepa_ros.training.adapt.report import Report
from jepa_ros.training.world_model import distillation_data
from jepa_ros.types import FloatArray
from jepa_ros.viz.theme import GRID, INK, MUTED, PAPER

BEFORE, AFTER = "#0284c7", "#be123c"
EXAMPLE_S = 2.4
Maps = dict[str, FloatArray]  # title -> (Y, X)


@torch.inference_mode()
def example(models: dict[str, SceneJepa], files: list[Path], dt_s: float) -> Maps:
    """Maps of the held-out window of which most is known `EXAMPLE_S` later, or as late as the recording reaches."""
    windows = [distillation_data.read(file) for file in files]
    wanted = min(round(EXAMPLE_S / dt_s), windows[0].visible_BSYX.shape[1] - 1)
    step, window = max(
        ((step, window) for window in windows for step in range(1, wanted + 1) if window.visible_BSYX[0, step].any()),
        key=lambda found: (found[0], int(found[1].visible_BSYX[0, found[0]].sum())),
    )
    came = window.occupied_BSYX[0, step].float()
    shown = torch.where(window.visible_BSYX[0, step] > 0, came, 0.25 + 0 * came)
    maps = {"now": window.occupied_BSYX[0, 0].float().numpy(), f"{step * dt_s:.1f} s later (grey: not seen)": shown.numpy()}
    for name, model in models.items():
        _, logits = predict(model, window)
        maps[f"predicted {name}"] = logits[0, step - 1].sigmoid().numpy()
    return maps


def draw(report: Report, maps: Maps, path: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(15, 8), facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4)
    old, new = report.before.held, report.after.held
    _by_step(axes[0, 0], old, "average precision", old.average_precision, new.average_precision, old.average_precision_persistence)
    _by_step(axes[0, 1], old, "IoU at probability 0.5", old.iou, new.iou, old.iou_persistence)
    _by_step(axes[0, 2], old, "latent error", old.latent_error, new.latent_error, old.latent_error_persistence)
    _reliability(axes[0, 3], old, new)
    axes[0, 0].legend(frameon=False, fontsize=9)
    half = BEV_GRID.rows * BEV_GRID.resolution_m / 2
    for axis, (title, map_YX) in zip(axes[1], maps.items(), strict=True):
        # Forward up, left to the left.
        axis.imshow(np.asarray(map_YX).T, cmap="Greys", vmin=0, vmax=1, extent=(-half, half, -half, half), origin="lower")
        axis.plot(0, 0, marker="^", color=AFTER, markersize=6)
        axis.set(xlim=(half, -half), ylim=(-half, half), xticks=[], yticks=[])
        axis.set_title(title, color=INK, fontsize=11)
    verdict = "NOT BETTER, not kept" if report.objections else "better"
    title = f"held-out part, {old.windows} windows: {verdict}"
    figure.suptitle(title + (f"; worse in other worlds: {'; '.join(report.forgotten)}" if report.forgotten else ""), color=INK, fontsize=13)
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def _by_step(axis: Axes, scores: Scores, title: str, before: list[float], after: list[float], persistence: list[float]) -> None:
    for label, values, colour, style in (
        ("persistence", persistence, MUTED, ":"),
        ("before", before, BEFORE, "--"),
        ("after", after, AFTER, "-"),
    ):
        axis.plot(scores.times_s, values, style, color=colour, label=label, marker=".")
    axis.set_title(title, color=INK, fontsize=11)
    axis.set_xlabel("seconds ahead", color=MUTED)
    axis.grid(color=GRID, linewidth=0.5)


def _reliability(axis: Axes, before: Scores, after: Scores) -> None:
    axis.plot([0, 1], [0, 1], ":", color=MUTED)
    for scores, colour, style in ((before, BEFORE, "--"), (after, AFTER, "-")):
        filled = [k for k, count in enumerate(scores.cells) if count]
        axis.plot([scores.said[k] for k in filled], [scores.found[k] for k in filled], style, color=colour, marker=".")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.set_title("share that was occupied, by probability", color=INK, fontsize=11)
    axis.set_xlabel("probability said", color=MUTED)
    axis.grid(color=GRID, linewidth=0.5)
