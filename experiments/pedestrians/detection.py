"""How well people are detected and tracked: `make bench-people ARGS="BAG [--ground-truth CSV]"`. Prints a table, then one JSON line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from jepa_ros.training.detection_score import evaluate, truth_from_markers, truth_from_table


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description="Score detection and tracking of people on a bag.")
    parser.add_argument("bag", type=Path, help="a bag with lidar and odometry")
    parser.add_argument("--ground-truth", type=Path, help="table of labelled tracks; default: the simulator's markers in the bag")
    parser.add_argument("--range", type=float, default=20.0, help="score people up to this distance, m (default: %(default)s)")
    arguments = parser.parse_args()
    truths = truth_from_table(arguments.ground_truth) if arguments.ground_truth else truth_from_markers(arguments.bag)
    if not truths:
        parser.error(f"{arguments.bag} has no /ground_truth/markers; give --ground-truth")
    result = evaluate(arguments.bag, truths, arguments.range).result()
    for name, value in result.items():
        print(f"{name:32} {value:10.3f}" if isinstance(value, float) else f"{name:32} {value:10d}")
    print(json.dumps({"bench": "people", "bag": arguments.bag.name, "range_m": arguments.range, **result}))


if __name__ == "__main__":
    main()
