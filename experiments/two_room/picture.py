"""Pictures of the two-room JEPA: paths taken, and the learned distance of every place from one goal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments.two_room.data import Frames
from experiments.two_room.environment import REACHED_PX, ROOM_PX, Images, Outcome, Trials
from experiments.two_room.model import TwoRoomModel
from experiments.two_room.train import encode_all
from jepa_ros.types import FloatArray
from jepa_ros.viz import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PATHS = 8
WALL_X_PX = 112.0


def draw(model: TwoRoomModel, seen: Frames, trials: Trials, learned: Outcome, plain: Outcome, path: Path) -> None:
    """Above: paths of both costs, those through the door first. Below: every frame of `seen`, coloured by its distance to one goal."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    through = (trials.start_px[:, 0] < WALL_X_PX) != (trials.goal_px[:, 0] < WALL_X_PX)
    shown = np.argsort(~through, kind="stable")[:PATHS]
    goal = int(shown[0])
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 8.8), layout="constrained")
    for axis, outcome, name in ((axes[0, 0], learned, "learned distance"), (axes[0, 1], plain, "plain latent L2")):
        _room(axis, trials.start_images[goal], f"{name}: {outcome.success.sum()} of {len(trials)} reached; {PATHS} of them shown")
        for k, colour in zip(shown, theme.PEOPLE * 2, strict=False):
            _path(axis, trials, outcome, k, colour)
    latents, goal_D = encode_all(model, seen), model.encode(torch.from_numpy(trials.goal_images[goal : goal + 1]))
    with torch.no_grad():
        steps = torch.expm1(model.log_steps(latents, goal_D.expand_as(latents)))
    distances = {"learned steps to the goal": steps, "latent L2 to the goal": (latents - goal_D).norm(dim=1)}
    for axis, (name, distance) in zip(axes[1], distances.items(), strict=True):
        _room(axis, trials.goal_images[goal], name)
        dots = axis.scatter(*seen.positions_px.T, c=distance.numpy(), s=5, cmap="viridis", linewidths=0)
        axis.plot(*trials.goal_px[goal], "*", color=theme.BRAKING, markersize=13, markeredgecolor="white")
        figure.colorbar(dots, ax=axis, shrink=0.8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _room(axis: Axes, image: Images, title: str) -> None:
    """The image without its dot: the colours of the dot are taken for white."""
    red = image[..., 0].astype(int) - image[..., 1] > 8
    axis.imshow(np.where(red[..., None], 255, image), extent=(0, ROOM_PX, ROOM_PX, 0), cmap="gray")
    axis.set_title(title, fontsize=9, color=theme.INK)
    axis.axis("off")


def _path(axis: Axes, trials: Trials, outcome: Outcome, trial: int, colour: str) -> None:
    from matplotlib.patches import Circle

    way: FloatArray = outcome.paths_px[trial]
    axis.plot(*way.T, "-", color=colour, linewidth=1.4)
    axis.plot(*trials.start_px[trial], "o", color=colour, markersize=5)
    axis.add_patch(Circle(tuple(trials.goal_px[trial]), REACHED_PX, color=colour, alpha=0.18, linewidth=0))
    axis.plot(*trials.goal_px[trial], "*", color=colour, markersize=9)
    if not outcome.success[trial]:
        axis.plot(*way[-1], "x", color=theme.BRAKING, markersize=9)
