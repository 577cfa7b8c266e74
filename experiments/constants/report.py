"""What each hand-set number is worth: `make bench-constants ARGS="BAG ... [--ground-truth CSV]"`.

Detection and tracking run over the bags as they are, then with one number after another at 0.7 and 1.4 times its value. A number that can
be changed so without harm needs no more source than the sentence beside it; this table is the source of the others. Finished rows are kept
in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.numbers import Figures, measure, numbers_of, report
from jepa_ros.training.detection_score import Truth, evaluate, truth_from_markers, truth_from_table

LIMITS = {"recall": 0.02, "wrong": 0.02}  # wrong tracks per person who should be found

Bags = list[tuple[Path, dict[int, Truth]]]


def main(argv: list[str] | None = None) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.constants.report", description=__doc__)
    parser.add_argument("bags", nargs="+", type=Path, help="bags with lidar, odometry and the simulator's markers")
    parser.add_argument("--ground-truth", type=Path, help="table of labelled tracks, for the last of the bags")
    parser.add_argument("--range", type=float, default=20.0, help="score people up to this distance, m (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("bench_out/constants"))
    arguments = parser.parse_args(argv)
    bags = [(bag, truth_from_markers(bag)) for bag in arguments.bags]
    if arguments.ground_truth:
        bags[-1] = (arguments.bags[-1], truth_from_table(arguments.ground_truth))
    for bag, truths in bags:
        if not truths:
            parser.error(f"{bag} has no /ground_truth/markers; give --ground-truth, and the bag last")
    rows = measure(numbers_of(), lambda number: figures(bags, arguments.range), arguments.out / "rows.jsonl")
    report(rows, LIMITS, "constants", arguments.out)


def figures(bags: Bags, range_m: float) -> Figures:
    """Recall of tracking, and wrong tracks per person who should be found, over all bags."""
    scores = [evaluate(bag, truths, range_m) for bag, truths in bags]
    people = max(sum(score.true for score in scores), 1)
    return {
        "recall": sum(score.tracked for score in scores) / people,
        "wrong": sum(score.unmatched_tracks for score in scores) / people,
    }


if __name__ == "__main__":
    main()
