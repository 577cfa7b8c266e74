"""A flame graph of the steps of the pipeline, from stacks sampled by py-spy (`pip install py-spy`).

    py-spy record --rate 250 --format raw --output STACKS -- python -m experiments.accelerator.flame run BAG
    python -m experiments.accelerator.flame draw STACKS --rate 250 --steps N --out PICTURE.png

`run` takes every observation of the bag through the pipeline, eager, one torch thread, three times, and says how many steps that were.
`draw` shows both threads of a step: the caller's, and what moves beside it. Width: wall time a step. Waiting counts too.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from jepa_ros.pipeline import PipelineConfig, WorldModelPipeline
from jepa_ros.sensing import open_bag

ROUNDS = 3
THREADS = {"the caller's thread": "WorldModelPipeline._step", "what moves, beside it": "_with_torch_threads"}  # by their outermost frame
DEPTH, LEAST_SHARE = 7, 0.004  # rows that are drawn, and what is too narrow to draw


@dataclass
class Frame:
    """A function, under those that called it."""

    samples: int = 0
    inner: dict[str, Frame] = field(default_factory=dict)


def under(stacks: Iterable[str], outermost: str) -> Frame:
    """The tree of all samples below a function, of this package's functions alone.

    stacks: lines of py-spy's raw format, `caller (file:line);...;callee (file:line) count`."""
    root = Frame()
    for line in stacks:
        path, count = line.rsplit(" ", 1)
        names = [part.split(" (", 1)[0] for part in path.split(";") if " (jepa_ros/" in part and not part.startswith("<")]
        if outermost not in names:
            continue
        node = root
        for name in names[names.index(outermost) :]:
            node.samples += int(count)
            node = node.inner.setdefault(name, Frame())
        node.samples += int(count)
    return root


def short(name: str) -> str:
    """Of a method its own name; of a network's `forward` the network's."""
    *owner, last = name.split(".")
    return owner[-1] if owner and last in ("forward", "of") else last


def draw(stacks: list[str], rate: float, steps: int, out: Path) -> None:
    """One panel for each thread."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import colormaps
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(len(THREADS), 1, figsize=(16, 9), layout="constrained", sharex=True)
    for axes, (title, outermost) in zip(panels, THREADS.items(), strict=True):
        root = under(stacks, outermost)
        least = max(1.0, LEAST_SHARE * root.samples)
        ms = 1e3 / rate / max(steps, 1)

        def place(node: Frame, left: float, depth: int, axes: plt.Axes = axes, least: float = least, ms: float = ms) -> None:
            for name, inner in sorted(node.inner.items(), key=lambda item: -item[1].samples):
                if inner.samples < least or depth >= DEPTH:
                    continue
                width = ms * inner.samples
                colour = colormaps["YlOrBr"](0.15 + 0.5 * (zlib.crc32(name.encode()) % 97) / 97)
                axes.barh(-depth, width, 0.94, left, color=colour, edgecolor="white", linewidth=0.6)
                text = axes.text(left + 0.1, -depth, f"{short(name)} {width:.1f}", va="center", fontsize=7.5, clip_on=True)
                text.set_clip_path(axes.patches[-1])
                place(inner, left, depth + 1)
                left += width

        place(root, 0.0, 0)
        axes.set_title(f"{title}: {ms * root.samples:.1f} ms a step", loc="left")
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
    panels[-1].set_xlabel("wall time, ms a step")
    figure.savefig(out, dpi=110)


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("path", type=Path, help="a bag to run, or the stacks to draw")
    parser.add_argument("--rate", type=float, default=250.0, help="samples per second (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="steps that were sampled")
    parser.add_argument("--out", type=Path, default=Path("flame.png"))
    args = parser.parse_args()
    if args.what == "run":
        torch.set_num_threads(1)
        pipeline = WorldModelPipeline.load(device="cpu", config=PipelineConfig(engine="eager"))
        observations = list(open_bag(args.path))
        for _ in range(ROUNDS):
            for observation in observations:
                pipeline.step(observation)
        print(f"{ROUNDS * len(observations)} steps")
    else:
        if not args.steps:
            parser.error("--steps: how many were sampled, as `run` said")
        draw(args.path.read_text().splitlines(), args.rate, args.steps, args.out)


if __name__ == "__main__":
    main()
