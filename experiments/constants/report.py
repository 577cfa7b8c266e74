"""What each hand-set number is worth: `make bench-constants ARGS="BAG ... [--ground-truth CSV]"`.

Detection and tracking run over the bags as they are, then with one number after another at 0.7 and 1.4 times its value. A number that can
be changed so without harm needs no more source than the sentence beside it; this table is the source of the others. Finished rows are kept
in OUT/rows.jsonl: a run that is broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tqdm import tqdm

from experiments.numbers import Number, changed, numbers_of
from jepa_ros.training.detection_score import Truth, evaluate, truth_from_markers, truth_from_table

FACTORS = (0.7, 1.4)
MATTERS = 0.02  # of recall, or of wrong tracks per person who should be found

Bags = list[tuple[Path, dict[int, Truth]]]
Figures = dict[str, float]


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
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = measure(bags, numbers_of(), arguments.range, arguments.out / "rows.jsonl")
    text = table(rows)
    (arguments.out / "constants.md").write_text(text)
    print(text)
    print(json.dumps({"bench": "constants", "numbers": len(rows) - 1, "matter": [name for name in rows if matters(rows, name)]}))


def measure(bags: Bags, numbers: list[Number], range_m: float, kept: Path) -> dict[str, dict[str, Figures]]:
    """Label -> factor -> figures; the row "as it is" first."""
    rows: dict[str, dict[str, Figures]] = {}
    for line in kept.read_text().splitlines() if kept.exists() else []:
        row = json.loads(line)
        rows[row.pop("label")] = row
    with kept.open("a") as file:
        for number in tqdm([None, *numbers], unit="number"):
            label = number.label if number else "as it is"
            if label in rows:
                continue
            if number is None:
                rows[label] = {"1": figures(bags, range_m)}
            else:
                rows[label] = {"value": {"value": float(number.value)}}
                for factor in FACTORS:
                    with changed(number, number.times(factor)):
                        rows[label][str(factor)] = figures(bags, range_m)
            file.write(json.dumps({"label": label, **rows[label]}) + "\n")
            file.flush()
    return rows


def figures(bags: Bags, range_m: float) -> Figures:
    """Recall of tracking, and wrong tracks per person who should be found, over all bags."""
    scores = [evaluate(bag, truths, range_m) for bag, truths in bags]
    people = max(sum(score.true for score in scores), 1)
    return {
        "recall": sum(score.tracked for score in scores) / people,
        "wrong": sum(score.unmatched_tracks for score in scores) / people,
    }


def matters(rows: dict[str, dict[str, Figures]], label: str) -> bool:
    """Whether a third more or less changes what is found."""
    base = rows["as it is"]["1"]
    return any(abs(rows[label][str(factor)][key] - base[key]) > MATTERS for factor in FACTORS if str(factor) in rows[label] for key in base)


def table(rows: dict[str, dict[str, Figures]]) -> str:
    """Markdown; those that matter first, the strongest at the top."""
    base = rows["as it is"]["1"]
    lines = [
        f"As it is: recall {base['recall']:.3f}, {base['wrong']:.3f} wrong tracks per person.",
        "Below: the change of both at 0.7 and at 1.4 times the value.",
        "",
        "| number | value | x 0.7: recall, wrong | x 1.4: recall, wrong |",
        "|---|---|---|---|",
    ]
    strength = {
        label: max(abs(row[str(factor)][key] - base[key]) for factor in FACTORS for key in base)
        for label, row in rows.items()
        if label != "as it is"
    }
    for label in sorted(strength, key=lambda name: -strength[name]):
        changes = [
            f"{row['recall'] - base['recall']:+.3f}, {row['wrong'] - base['wrong']:+.3f}" for row in (rows[label][str(f)] for f in FACTORS)
        ]
        bold = "**" if matters(rows, label) else ""
        lines.append(f"| {bold}`{label}`{bold} | {rows[label]['value']['value']:g} | {changes[0]} | {changes[1]} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
