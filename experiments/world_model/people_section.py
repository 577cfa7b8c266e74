"""Average precision of the people that the pipeline detects, in simulated sweeps of a 32-ring lidar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments.world_model.table import Row, Section, table
from jepa_ros.objects.detection import PersonDetector
from jepa_ros.sensing import bag_info, open_bag
from jepa_ros.training.detection_score import VISIBLE_RETURNS, evaluate, returns_on, truth_from_markers, truth_from_table
from jepa_ros.types import FloatArray

MATCH_M = 0.5
RANGE_M = 20.0
WANTED = 0.8
LABELS = "gt_tracks.csv"  # table of labelled tracks beside a recording


@dataclass
class AveragePrecision:
    """Detections of many sweeps, matched sweep by sweep: the surest first, each to the nearest person nobody took."""

    people: int = 0
    scores: list[float] = field(default_factory=list)
    correct: list[bool] = field(default_factory=list)

    def add(self, truth_m: FloatArray, wanted: np.ndarray, found_m: FloatArray, scores: FloatArray) -> None:
        """truth_m: (G, 2); wanted: (G,) who counts as missed when not found, the others may be found without harm; found_m: (M, 2)."""
        self.people += int(wanted.sum())
        free = np.ones(len(truth_m), bool)
        for m in np.argsort(-scores, kind="stable"):
            distance = np.where(free, np.hypot(*(truth_m - found_m[m]).T), np.inf)
            nearest = int(distance.argmin()) if len(distance) else -1
            hit = nearest >= 0 and distance[nearest] <= MATCH_M
            if hit:
                free[nearest] = False
            if not hit or wanted[nearest]:
                self.scores.append(float(scores[m]))
                self.correct.append(hit)

    def value(self) -> float:
        """Area under the precision-recall curve, precision made monotonous; NaN without people."""
        if not self.people:
            return float("nan")
        hits = np.cumsum(np.array(self.correct)[np.argsort(-np.array(self.scores), kind="stable")])
        precision = hits / np.arange(1, len(hits) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return float((precision * np.diff(hits, prepend=0)).sum() / self.people)


def section(simulated: Iterable[Path], recordings: Iterable[Path]) -> Section:
    """AP in simulation; recall and inventions on recordings that have a table of labels."""
    result, score = Section("People"), AveragePrecision()
    detector = PersonDetector()
    bags = list(simulated)
    for bag in tqdm(bags, desc="people", unit="bag"):
        _add_bag(bag, detector, score)
    if bags:
        value = score.value()
        result.figures["average_precision"] = value
        reached = f"{value:.3f} over {score.people} people in sight"
        result.rows.append(Row("People, simulated", f"AP at 0.5 m within 20 m, 32 rings, at least {WANTED}", reached, value >= WANTED))
    for bag in recordings:
        labels = bag.parent / LABELS
        if labels.is_file():
            figures = evaluate(bag, truth_from_table(labels), RANGE_M).result()
            result.figures[bag.parent.name] = figures
            shown = ("detection_recall", "tracking_recall", "unmatched_detections_per_frame", "unmatched_tracks_per_frame")
            result.text.append(table(("", *shown), [[bag.parent.name, *(float(figures[name]) for name in shown)]]))
            reached = f"recall {figures['detection_recall']:.2f}, {figures['unmatched_detections_per_frame']:.2f} unmatched per frame"
            result.rows.append(Row(f"People, {bag.parent.name}", "as it is; not everyone is labelled", reached, True))
    return result


def _add_bag(bag: Path, detector: PersonDetector, score: AveragePrecision) -> None:
    truths = truth_from_markers(bag)
    topics = [topic.name for topic in bag_info(bag).topics if not topic.name.startswith("/ground_truth")]
    for observation in open_bag(bag, topics):
        truth = truths.get(observation.stamp_ns)
        if truth is None:
            continue
        pose = observation.odom_from_anchor
        found = detector.detect_in(observation)
        places = (truth.positions_m - pose[:2, 3]) @ pose[:2, :2]
        near = np.hypot(*places.T) < RANGE_M
        wanted = near & (returns_on(truth.positions_m, observation.flattened_m, pose, observation.ground_height_m) >= VISIBLE_RETURNS)
        kept = np.hypot(*found.positions_m.T) < RANGE_M
        score.add(places, wanted, found.positions_m[kept], found.scores[kept])
