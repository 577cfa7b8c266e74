"""What the hand-set numbers that move occupied clusters ahead are worth: `python -m experiments.world_model.numbers --data DATA`.

The shipped weights predict the windows of a prepared data set with one number of `backends.scene_jepa.motion` after another at 0.7 and 1.4
times its value. Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from experiments.numbers import Figures, Number, measure, numbers_of, report
from jepa_ros.backends.scene_jepa.model import SceneJepa, load
from jepa_ros.training.metrics import OccupancyScore
from jepa_ros.training.world_model.augment import Augmentation
from jepa_ros.training.world_model.evaluate import near_cells
from jepa_ros.training.world_model.pretraining_loss import forward
from jepa_ros.training.world_model.shard import Shard, open_shards
from jepa_ros.training.world_model.windows import Window, Windows, WindowSpec, collate

RULES = ("jepa_ros.backends.scene_jepa.motion",)
# Read when the module is imported, or how finely it computes: changing them here would change nothing, or only rounding.
FIXED = {"FASTEST_MPS", "STEP_MPS", "SAMPLES", "BLOCK", "CELL_M"}
TIMES_S = (0.4, 1.2, 2.4)
LIMITS = {f"{metric} {time_s}": 0.005 for metric in ("AP", "IoU") for time_s in TIMES_S}


class Judge:
    """Encodes each window once, and predicts it as often as asked."""

    def __init__(self, model: SceneJepa, shards: list[Shard], every: int) -> None:
        self._model, spec = model, model.spec
        window = WindowSpec(spec.history, spec.horizon, spec.dt_s, spec.horizon, cameras=max(len(shard.cameras) for shard in shards))
        windows = Windows(shards, window, seed=0, batch=1, fixed=Augmentation())
        self._rows = [round(time_s / spec.dt_s) - 1 for time_s in TIMES_S]
        self._windows = [self._encoded(collate([windows[index]])) for index in range(0, len(windows), every)]

    @torch.inference_mode()
    def _encoded(self, batch: Window) -> tuple[Tensor, Window]:
        """(B, T, D, Y, X) the aligned history of latents, as `forward` hands it to the predictor."""
        kept: list[Tensor] = []
        handle = self._model.predictor.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].clone()))
        forward(self._model, batch)
        handle.remove()
        return kept[0], batch

    @torch.inference_mode()
    def __call__(self, number: Number | None) -> Figures:
        """Average precision and IoU at 0.5 over all windows, with the numbers as they are now."""
        scores = {row: OccupancyScore() for row in self._rows}
        for history_BTDYX, batch in self._windows:
            predicted_SDYX = self._model.predictor(history_BTDYX.clone(), batch.actions, batch.steps)[0]
            visible = batch.visible[0] * near_cells()
            for row, score in scores.items():
                read = self._model.occupancy_probe(predicted_SDYX[row][None]).sigmoid()[0]
                score.add(read, batch.occupied[0, 1 + row], visible[1 + row])
        found = list(zip(TIMES_S, scores.values(), strict=True))
        return {f"AP {time_s}": score.average_precision() for time_s, score in found} | {
            f"IoU {time_s}": score.iou(0.5) for time_s, score in found
        }


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset written by `python -m jepa_ros.training prepare`")
    parser.add_argument("--every", type=int, default=20, help="take every n-th window (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--out", type=Path, default=Path("bench_out/world_model_constants"))
    args = parser.parse_args()
    judge = Judge(load("cpu", args.weights), open_shards(args.data, (0.0, 1.0)), args.every)
    numbers = [number for number in numbers_of(RULES) if number.name not in FIXED]
    report(measure(numbers, judge, args.out / "rows.jsonl"), LIMITS, "world model constants", args.out)


if __name__ == "__main__":
    main()
