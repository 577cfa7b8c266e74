"""How recorded people move: `python -m experiments.pedestrians.motion --data ETH_UCY`. The source of some hand-set numbers.

* How do the speeds of walking people change over the next 4.8 s? (the speeds of `forecast.constant_velocity`)
* With `--bag` (simulated, with markers): how exact are tracked velocities and their directions? (`FACING_FROM_MPS`)
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_left
from itertools import pairwise
from pathlib import Path

import numpy as np

from jepa_ros.objects.detection import DetectionConfig, PersonDetector
from jepa_ros.objects.time_steps import STEP_S
from jepa_ros.objects.tracking import PeopleTracker
from jepa_ros.sensing import open_bag
from jepa_ros.training.detection_score import truth_from_markers
from jepa_ros.training.forecaster.data import TrackTable, joined, read_recordings, table_of
from jepa_ros.types import NANOSECONDS, FloatArray

SPEEDS_MPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0, 3.0)  # edges of bins
NEAR_M = 0.5
WALKS_MPS = 0.5
RATIOS = (0.0, 0.3, 0.9, 1.1, 3.0)  # of the speed: comes to a stop, slower, as now, faster


def tracked_headings(bag: Path) -> list[dict[str, float]]:
    """True speed -> root mean square error of the tracked velocity, and median error of its direction, over people of a simulated bag."""
    truths = truth_from_markers(bag)
    stamps = sorted(truths)
    detector, tracker = PersonDetector(DetectionConfig()), PeopleTracker()
    speeds, errors, angles = [], [], []
    for observation in open_bag(bag):
        told = tracker.follow(observation.stamp_ns, detector.detect_in(observation), observation.odom_from_anchor)
        here = bisect_left(stamps, observation.stamp_ns)
        if not 0 < here < len(stamps) - 1 or stamps[here] != observation.stamp_ns:
            continue
        before, after = (
            dict(zip(truths[at].ids.tolist(), truths[at].positions_m, strict=True)) for at in (stamps[here - 1], stamps[here + 1])
        )
        passed_s = (stamps[here + 1] - stamps[here - 1]) / NANOSECONDS
        for own, place in zip(truths[stamps[here]].ids.tolist(), truths[stamps[here]].positions_m, strict=True):
            off = np.hypot(*(told.positions_m.reshape(-1, 2) - place).T)
            if own in before and own in after and off.size and off.min() < NEAR_M:
                true, found = (after[own] - before[own]) / passed_s, told.velocities_mps[off.argmin()]
                speeds.append(np.hypot(*true))
                errors.append(np.hypot(*(found - true)))
                angles.append(np.degrees(np.abs(np.angle(_complex(found) * np.conj(_complex(true))))))
    rows, (speed, error, angle) = [], map(np.array, (speeds, errors, angles))
    for low, high in pairwise(SPEEDS_MPS):
        own = (speed >= low) & (speed < high)
        if own.any():
            deviation = float(np.sqrt(np.mean(error[own] ** 2) / 2))
            row = {
                "from_mps": low,
                "to_mps": high,
                "deviation_mps": round(deviation, 2),
                "angle_deg": round(float(np.median(angle[own])), 1),
            }
            rows.append(row | {"instants": int(own.sum())})
    return rows


def speed_ratios(table: TrackTable) -> list[dict[str, float]]:
    """Shares of walking people by the ratio of their mean speed over the next 4.8 s to that of now, and the mean ratio of each."""
    steps = np.diff(np.concatenate((table.history_m[:, -1:], table.future_m), axis=1), axis=1)
    mean_mps = np.hypot(steps[..., 0], steps[..., 1]).mean(axis=1) / STEP_S
    own = (_speeds(table) > WALKS_MPS) & table.complete & table.seen[:, -2]
    ratio = np.clip(mean_mps[own] / _speeds(table)[own], 0.0, RATIOS[-1] - 1e-6)
    rows = []
    for low, high in pairwise(RATIOS):
        inside = (ratio >= low) & (ratio < high)
        rows.append({"from": low, "to": high, "share": round(float(inside.mean()), 3), "mean": round(float(ratio[inside].mean()), 2)})
    return rows


def _last_steps(table: TrackTable) -> FloatArray:
    return np.asarray(table.history_m[:, -1] - table.history_m[:, -2])


def _speeds(table: TrackTable) -> FloatArray:
    last = _last_steps(table)
    return np.asarray(np.hypot(last[:, 0], last[:, 1]) / STEP_S)


def _complex(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors[..., 0] + 1j * vectors[..., 1])


def main() -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the recordings of ETH/UCY")
    parser.add_argument("--bag", type=Path, help="simulated bag, for the exactness of tracked velocities")
    args = parser.parse_args()
    table = joined([table_of(recording, source) for source, recording in enumerate(read_recordings(args.data).values())])
    found = {"speed ratios": speed_ratios(table)} | ({"tracked headings": tracked_headings(args.bag)} if args.bag else {})
    for rows in found.values():
        print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
        print("\n".join("| " + " | ".join(f"{value:g}" for value in row.values()) + " |" for row in rows) + "\n")
    print(json.dumps({"bench": "how people move"} | found))


if __name__ == "__main__":
    main()
