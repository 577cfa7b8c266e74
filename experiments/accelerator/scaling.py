"""How the cost of a step grows with points, cameras, pixels and people: python -m experiments.accelerator.scaling --out PICTURE.png

In units of a convolution of 1 GMAC timed beside it, in processor time of all threads, so that it holds across machines.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from experiments.accelerator.scenes import observation
from experiments.common import convolution_s
from jepa_ros.pipeline import WorldModelPipeline
from jepa_ros.types import Observation

SWEEPS: dict[str, tuple[tuple[float, ...], Callable[[int, float], Observation]]] = {
    "points, thousands": ((20, 60, 120, 190, 260), lambda step, value: observation(step, round(1000 * value), 1, 10)),
    "cameras of 1280 x 720": ((0, 1, 2, 4, 6), lambda step, value: observation(step, 60_000, int(value), 10)),
    "width of one image, pixels": (
        (640, 1280, 1920, 3840),
        lambda step, value: observation(step, 60_000, 1, 10, (int(value), int(value) * 9 // 16)),
    ),
    "people": ((1, 20, 50, 100, 200), lambda step, value: observation(step, 60_000, 1, int(value))),
}
FRAMES = 12


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--frames", type=int, default=FRAMES, help="steps of each point (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = WorldModelPipeline.load(device="cpu")
    pipeline.warm_up()
    found = {name: [(value, cost(pipeline, make, value, arguments.frames)) for value in values] for name, (values, make) in SWEEPS.items()}
    draw(found, arguments.out)
    print(json.dumps({"bench": "scaling", "unit": "1 GMAC", "found": found}))


def cost(pipeline: WorldModelPipeline, make: Callable[[int, float], Observation], value: float, frames: int) -> float:
    """Median of a step, in units."""
    pipeline.reset()
    taken = []
    for step in range(frames + 4):
        seen = make(step, value)
        unit_s = convolution_s()
        start = time.process_time()
        pipeline.step(seen)
        taken.append((time.process_time() - start) / unit_s)
    return round(float(np.median(taken[4:])), 2)


def draw(found: dict[str, list[tuple[float, float]]], out: Path) -> None:
    """One panel for each thing that grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        axes.plot(*zip(*rows, strict=True), marker="o")
        axes.set_xlabel(name)
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="a step, units of 1 GMAC", ylim=(0, 1.05 * max(cost for rows in found.values() for _, cost in rows)))
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
