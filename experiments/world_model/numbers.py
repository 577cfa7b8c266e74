"""What the hand-set numbers that move occupied clusters ahead are worth: `python -m experiments.world_model.numbers --data DATA`.

The shipped weights predict the windows of a prepared data set with one number of `backends.scene_jepa.motion` after another at 0.7 and 1.4
times its value. Finished rows are kept in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from experiments.numbers import AS_IT_IS, Figures, Number, measure, numbers_of, strength, table
from jepa_ros.backends.scene_jepa.model import load
from jepa_ros.training.world_model.evaluate import evaluate
from jepa_ros.training.world_model.shard import open_shards

RULES = ("jepa_ros.backends.scene_jepa.motion",)
# Read when the module is imported, or how finely it computes: changing them here would change nothing, or only rounding.
FIXED = {"FASTEST_MPS", "STEP_MPS", "SAMPLES", "BLOCK"}
TIMES_S = (0.4, 1.2, 2.4)
LIMITS = {f"{metric} {time_s}": 0.005 for metric in ("AP", "IoU") for time_s in TIMES_S}


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset written by `python -m jepa_ros.training prepare`")
    parser.add_argument("--every", type=int, default=20, help="take every n-th window (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="default: the shipped ones")
    parser.add_argument("--out", type=Path, default=Path("bench_out/world_model_constants"))
    args = parser.parse_args()
    model, shards = load("cpu", args.weights), open_shards(args.data, (0.0, 1.0))

    def judge(number: Number | None) -> Figures:
        result = evaluate(model, shards, every=args.every)
        rows = [1 + result.times_s.index(time_s) for time_s in TIMES_S]
        scores = result.occupancy["model"]
        names = (("AP", "average_precision"), ("IoU", "iou"))
        return {f"{name} {time_s}": scores[key][row] for name, key in names for time_s, row in zip(TIMES_S, rows, strict=True)}

    numbers = [number for number in numbers_of(RULES) if number.name not in FIXED]
    rows = measure(numbers, judge, args.out / "rows.jsonl")
    text = table(rows, LIMITS)
    (args.out / "constants.md").write_text(text)
    print(text)
    matter = [name for name in rows if name != AS_IT_IS and strength(rows, name, LIMITS) >= 1]
    print(json.dumps({"bench": "world model constants", "numbers": len(rows) - 1, "matter": matter}))


if __name__ == "__main__":
    main()
